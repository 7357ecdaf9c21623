#pragma once
// Where things lie on a device: sectors, extents, the superblock area. See FORMAT.md.

#include <cstdint>
#include <vector>

#include "fs/base/bytes.h"
#include "fs/base/limits.h"

namespace warifu {

/// A run of sectors. `first` counts sectors from the start of the device.
struct sector_run {
    std::uint64_t first = 0;
    std::uint32_t count = 0;
    std::uint64_t end() const { return first + count; }
    auto operator<=>(const sector_run&) const = default;
};
using extent = sector_run;  // short name inside this folder; fs/metadata has an extent of its own
using extent_list = std::vector<extent>;

inline std::uint64_t sectors_of(const extent_list& extents) {
    std::uint64_t sum = 0;
    for (const extent& e : extents) sum += e.count;
    return sum;
}

/// The extents of `count` sectors from the `first`-th on of what `whole` lists. REQUIRES: that many are there.
extent_list part_of(const extent_list& whole, std::uint64_t first, std::uint64_t count);

/// `extents` with neighbours joined; the order stays.
extent_list joined(const extent_list& extents);

/// What lies in `whole` and not in `other`. REQUIRES: the extents of `other` do not overlap.
extent_list unshared(const extent_list& whole, extent_list other);

inline constexpr unsigned superblock_copy_count = 4;
inline constexpr std::uint64_t superblock_spacing =
    64;  // sectors between copies, so that one bad region spares the others
inline constexpr std::uint64_t data_first = superblock_copy_count * superblock_spacing;  // sector where extents begin

}  // namespace warifu
