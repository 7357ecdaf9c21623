#pragma once
// Journal records: what a commit, a change of view, the opening of an epoch or a snapshot says. The encoding below is
// the payload of an AMD codeword (fs/sharing/amd.h), whose header carries volume, epoch and sequence; the codeword is
// split, one share a site. Byte table: fs/volume/FORMAT.md.

#include <array>
#include <optional>
#include <vector>

#include "fs/base/bytes.h"
#include "fs/base/error.h"
#include "fs/base/ids.h"

namespace warifu {

/// The sites that acknowledge every commit, each with the incarnation of its store.
struct view_member {
    share_index site;
    incarnation_id incarnation;
    bool operator==(const view_member&) const = default;
};
struct view {
    std::uint64_t number = 0;          // grows by one with each change
    std::vector<view_member> members;  // ascending by site
    bool has(share_index site) const;
    bool has(share_index site, const incarnation_id& incarnation) const;
    bool operator==(const view&) const = default;
};

/// The secret points of an epoch: data tags at `tag_point`, share hashes at `hash_point`.
struct epoch_keys {
    ballot epoch;
    std::array<std::byte, 16> tag_point{};
    std::array<std::byte, 16> hash_point{};
    bool operator==(const epoch_keys&) const = default;
};

/// What the volume is: checked against the configuration at every open.
struct volume_description {
    volume_id id;
    std::uint8_t threshold = 0;
    std::vector<std::string> sites;  // in share order; n = its size
    bool operator==(const volume_description&) const = default;
};

struct snapshot_part {
    std::uint32_t part = 0;
    std::uint32_t parts = 0;
    bool operator==(const snapshot_part&) const = default;
};

struct journal_record {
    std::uint64_t committed = 0;  // the writer knows every record up to here to be durable at the whole view
    std::optional<view> new_view;
    std::vector<epoch_keys> epochs;                 // an opening record: its own; a snapshot: all that are needed
    std::optional<volume_description> description;  // first part of a snapshot
    std::optional<snapshot_part> snapshot;          // edits are a part of the whole state, not a change of it
    byte_vector edits;                              // of the metadata files
    bool operator==(const journal_record&) const = default;
};

inline constexpr std::uint8_t record_version = 1;
inline constexpr std::size_t epoch_count_max = 16384;
inline constexpr std::size_t snapshot_part_count_max = 4096;

byte_vector encode_journal_record(const journal_record& record);
result<journal_record> decode_journal_record(bytes_view payload);

}  // namespace warifu
