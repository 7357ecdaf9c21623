#pragma once
// CRC32C of each sector of a run. Several sectors at once where the processor can: one alone waits for its own last
// result.

#include <vector>

#include "backends/block/layout.h"

namespace warifu {

/// One checksum per sector of `views`, in order. REQUIRES: whole sectors.
std::vector<std::uint32_t> sector_checksums(std::span<const bytes_view> views);

/// Whether each sector of `sectors` has the checksum at its place. REQUIRES: whole sectors, at least as many checksums.
bool sectors_match(bytes_view sectors, std::span<const std::uint32_t> checksums);

}  // namespace warifu
