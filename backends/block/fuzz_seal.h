#pragma once
// For fuzzers: puts the right checksum into mutated bytes, so that what lies behind it is reached.

#include <algorithm>
#include <array>

#include "fs/base/bytes.h"
#include "fs/base/crc32c.h"

namespace warifu {

inline byte_vector copy_of_input(const std::uint8_t* data, std::size_t size) {
    byte_vector out(std::min<std::size_t>(size, 1U << 20U));
    if (!out.empty()) std::memcpy(out.data(), data, out.size());
    return out;
}

inline void seal(byte_vector& bytes, std::size_t checksum_offset) {
    std::memset(bytes.data() + checksum_offset, 0, 4);
    const std::uint32_t checksum = crc32c(bytes);
    for (std::size_t i = 0; i < 4; ++i)
        bytes[checksum_offset + i] = static_cast<std::byte>((checksum >> (24 - 8 * i)) & 0xffU);
}

}  // namespace warifu
