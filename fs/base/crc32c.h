#pragma once
// CRC32C (Castagnoli, RFC 3720 appendix B.4): catches what a medium changes, not what an adversary changes.

#include "fs/base/bytes.h"

namespace warifu {

/// The CRC of `bytes` continued from `seed` (0 for a fresh start): crc32c(b, crc32c(a)) == crc32c(a || b).
std::uint32_t crc32c(bytes_view bytes, std::uint32_t seed = 0);

/// The CRC of `bytes` of which the four at `place`, where it is stored, count as zeros.
std::uint32_t crc32c_around(bytes_view bytes, std::size_t place);

}  // namespace warifu
