#pragma once
// The superblock: what a store is and where its log begins. Four copies; a state counts once two of them carry it.

#include <array>
#include <span>

#include "backends/block/layout.h"
#include "fs/base/error.h"
#include "fs/base/ids.h"

namespace warifu {

using store_uuid =
    uuid_of<struct store_tag>;  // never leaves the site: nobody else can forge a share head or a log batch

inline constexpr std::uint16_t store_version = 1;

struct superblock {
    store_uuid uuid;
    incarnation_id incarnation;
    std::uint64_t sequence = 1;          // grows with every update
    std::uint64_t sector_count = 0;      // of the device, when it was formatted
    std::uint32_t segment_sectors = 0;   // of a log segment
    bool free_is_clean = false;          // closed in order, and every free sector below zeroed_end holds zeros
    std::uint64_t log_sector = 0;        // first segment of the log
    std::uint64_t log_segment = 0;       // its number
    std::uint64_t log_batch = 0;         // sequence number of the first batch in it
    std::uint64_t checkpoint_batch = 0;  // batches up to here are known to be flushed
    std::uint64_t zeroed_end = 0;        // sectors from here on were never written
    bool operator==(const superblock&) const = default;
};

inline constexpr std::size_t superblock_size_used = 112;

/// One sector.
byte_vector encode_superblock(const superblock& block, unsigned copy);

/// Errors: not_found (all zeros: no store), bad_format (not a store), bad_version, bad_checksum.
result<superblock> decode_superblock(bytes_view sector, unsigned copy);

/// Sector of copy `copy`.
constexpr std::uint64_t superblock_sector(unsigned copy) {
    return copy * superblock_spacing;
}

/// The state that at least two copies carry, the newest if there are several. Errors: that of the copies when none is
/// good, bad_checksum when no two good ones agree.
result<superblock> choose_superblock(std::span<const result<superblock>> copies);

}  // namespace warifu
