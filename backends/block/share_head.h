#pragma once
// The head of a stored share: everything needed to read and check the share without any index, so that an index can be
// rebuilt by scanning. A share is a list of logical sectors: first the head, then each piece that is still there from a
// fresh sector on.

#include "backends/block/superblock.h"
#include "backends/share_store.h"

namespace warifu {

struct share_head {
    store_uuid store;
    volume_id volume;
    chunk_id chunk;
    std::uint32_t generation = 0;  // counts revisions (removed pieces); the greatest good one is the truth
    share_description description;
    extent_list extents;                          // of the whole share; the first of them begins with this head
    std::vector<std::uint32_t> sector_checksums;  // CRC32C of each data sector, padding included
    byte_vector side;

    /// Data sectors before piece `part`. REQUIRES: part <= piece count.
    std::uint64_t first_sector_of(std::uint32_t part) const;
    std::size_t memory_size() const;
    bool operator==(const share_head&) const = default;
};

inline constexpr std::size_t share_head_fixed_size = 128;
inline constexpr std::size_t extent_encoded_size = 12;

/// Sectors that a head of this shape takes.
std::uint32_t share_head_sectors(std::size_t extent_count, std::size_t piece_count, std::size_t data_sectors,
                                 std::size_t side_size);
inline constexpr std::uint32_t share_head_sectors_max = 192;

/// A whole number of sectors, ready to be written, and its CRC32C (which the log repeats).
struct encoded_head {
    buffer bytes;
    std::uint32_t checksum = 0;
};
encoded_head encode_share_head(const share_head& head);

/// What the first sector alone tells: enough to find the rest of the head. Nothing of it is verified.
struct share_head_outline {
    std::uint32_t head_sectors = 0;
    extent_list extents;
};
/// Errors: bad_format (no head).
result<share_head_outline> outline_share_head(bytes_view first_sector);

/// Errors: bad_format, bad_version, bad_checksum.
result<share_head> decode_share_head(bytes_view sectors);
/// The checksum field of an encoded head (bytes 12..15).
std::uint32_t share_head_checksum(bytes_view first_sector);

}  // namespace warifu
