#pragma once
// Bytes of the store's log: segment headers, batches and their entries. Pure functions; the tables are in FORMAT.md.

#include <variant>

#include "backends/block/superblock.h"

namespace warifu {

/// Volumes are numbered in a log to keep entries short.
using volume_number = std::uint32_t;

struct volume_entry {
    volume_number number = 0;
    volume_id volume;
    bool operator==(const volume_entry&) const = default;
};
/// A share is there (new, or revised: the greater generation replaces).
struct share_entry {
    volume_number volume = 0;
    chunk_id chunk;
    std::uint32_t generation = 0;
    std::uint32_t head_checksum = 0;
    std::uint32_t head_sectors = 0;
    extent_list extents;
    bool operator==(const share_entry&) const = default;
};
struct remove_entry {
    volume_number volume = 0;
    chunk_id chunk;
    bool operator==(const remove_entry&) const = default;
};
/// A journal record. Everything at and after its sequence goes first; everything before it too when `restart` is set.
/// The record's blob (chunk ids and share) is here, or in extents when it is large.
struct record_entry {
    volume_number volume = 0;
    std::uint64_t sequence = 0;
    ballot epoch;
    bool restart = false;
    std::uint32_t blob_size = 0;
    std::uint32_t blob_checksum = 0;
    byte_vector blob;     // empty when in extents
    extent_list extents;  // empty when here
    bool operator==(const record_entry&) const = default;
};
struct cut_entry {
    volume_number volume = 0;
    std::uint64_t first = 0;
    bool operator==(const cut_entry&) const = default;
};
struct promise_entry {
    volume_number volume = 0;
    ballot promised;
    bool operator==(const promise_entry&) const = default;
};
/// Sectors below `end` may be in use from now on.
struct zeroed_entry {
    std::uint64_t end = 0;
    bool operator==(const zeroed_entry&) const = default;
};

using log_entry =
    std::variant<volume_entry, share_entry, remove_entry, record_entry, cut_entry, promise_entry, zeroed_entry>;

/// Appends the encoded entry.
void encode_log_entry(byte_vector& out, const log_entry& entry);
std::size_t log_entry_size(const share_entry& entry);
std::size_t log_entry_size(const record_entry& entry);
inline constexpr std::size_t log_entry_size_max = record_inline_size_max + 128;  // a record here, or a list of extents
static_assert(extent_count_max * 12 <= record_inline_size_max);

struct segment_header {
    store_uuid store;
    std::uint64_t number = 0;
    std::uint64_t sector = 0;  // where it lies
    std::uint64_t next = 0;    // where number + 1 will lie
    bool operator==(const segment_header&) const = default;
};
byte_vector encode_segment_header(const segment_header& header);  // one sector
result<segment_header> decode_segment_header(bytes_view sector);

struct batch_header {
    store_uuid store;
    std::uint64_t sequence = 0;
    std::uint64_t segment = 0;
    std::uint32_t sector_count = 0;
    std::uint32_t entry_bytes = 0;
    bool operator==(const batch_header&) const = default;
};
inline constexpr std::size_t batch_header_size = 64;

/// Sectors of a batch with that many bytes of entries.
constexpr std::uint32_t batch_sectors(std::size_t entry_bytes) {
    return static_cast<std::uint32_t>(divide_up(batch_header_size + entry_bytes, sector_size));
}
/// Fills `out` (batch_sectors(entries.size()) sectors) with the batch.
void encode_batch(bytes_span out, batch_header header, bytes_view entries);

/// Reads the header only; not verified. Errors: bad_format.
result<batch_header> peek_batch(bytes_view sectors);
/// A whole batch: verifies its checksum, decodes every entry. `sectors` may be longer than the batch.
struct decoded_batch {
    batch_header header;
    std::vector<log_entry> entries;
};
result<decoded_batch> decode_batch(bytes_view sectors);

/// A record's blob: its chunk ids and its share.
byte_vector encode_record_blob(const std::vector<chunk_id>& chunks, bytes_view share);
struct record_blob {
    std::vector<chunk_id> chunks;
    bytes_view share;  // part of the blob
};
result<record_blob> decode_record_blob(bytes_view blob);
inline constexpr std::size_t record_blob_size_max = 4 + record_chunk_count_max * 24 + record_share_size_max;

}  // namespace warifu
