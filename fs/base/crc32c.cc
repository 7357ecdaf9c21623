#include "fs/base/crc32c.h"

#include <array>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace warifu {
namespace {

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) value = (value & 1U) != 0 ? (value >> 1U) ^ 0x82f63b78U : value >> 1U;
        table[i] = value;
    }
    return table;
}
constexpr auto table = make_table();

std::uint32_t update_portable(std::uint32_t crc, bytes_view bytes) {
    for (const std::byte b : bytes) crc = (crc >> 8U) ^ table[(crc ^ std::to_integer<std::uint32_t>(b)) & 0xffU];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t update_sse42(std::uint32_t crc, bytes_view bytes) {
    std::uint64_t wide = crc;
    const std::byte* p = bytes.data();
    std::size_t left = bytes.size();
    for (; left >= 8; left -= 8, p += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, p, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = static_cast<std::uint32_t>(wide);
    for (; left > 0; --left, ++p) crc = _mm_crc32_u8(crc, std::to_integer<std::uint8_t>(*p));
    return crc;
}
#endif

using update_function = std::uint32_t (*)(std::uint32_t, bytes_view);

update_function choose() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return update_sse42;
#endif
    return update_portable;
}

}  // namespace

std::uint32_t crc32c(bytes_view bytes, std::uint32_t seed) {
    static const update_function update = choose();
    return ~update(~seed, bytes);
}

std::uint32_t crc32c_around(bytes_view bytes, std::size_t place) {
    static constexpr std::array<std::byte, 4> hole{};
    const std::uint32_t front = crc32c(hole, crc32c(bytes.first(place)));
    return crc32c(bytes.subspan(place + hole.size()), front);
}

}  // namespace warifu
