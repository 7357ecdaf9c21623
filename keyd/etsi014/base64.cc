#include "keyd/etsi014/base64.h"

#include <array>
#include <bit>

#include "fs/base/assert.h"

namespace warifu {
namespace {

// 16 characters or 12 bytes at a time, by the compiler's vectors; comparisons give masks of all ones. A CPU without
// wide registers gets the same code in pieces.
using u8x16 = std::uint8_t __attribute__((ext_vector_type(16)));
using u32x4 = std::uint32_t __attribute__((ext_vector_type(4)));

[[gnu::always_inline]] inline u8x16 in_range(u8x16 c, std::uint8_t first, std::uint8_t last) {
    return __builtin_convertvector((c - first) <= u8x16(static_cast<std::uint8_t>(last - first)), u8x16);
}

/// The 6-bit value of each character, and in `bad` all ones where there is none.
struct sextets {
    u8x16 values;
    u8x16 bad;
};
[[gnu::always_inline]] inline sextets values_of(u8x16 c) {
    const u8x16 upper = in_range(c, 'A', 'Z'), lower = in_range(c, 'a', 'z'), digit = in_range(c, '0', '9');
    const u8x16 plus = in_range(c, '+', '+'), slash = in_range(c, '/', '/');
    const u8x16 values = (upper & (c - 'A')) | (lower & (c - static_cast<std::uint8_t>('a' - 26))) |
                         (digit & (c + static_cast<std::uint8_t>(52 - '0'))) | (plus & 62) | (slash & 63);
    return {values, static_cast<u8x16>(~(upper | lower | digit | plus | slash))};
}

[[gnu::always_inline]] inline u8x16 characters_of(u8x16 v) {
    const u8x16 upper = in_range(v, 0, 25), lower = in_range(v, 26, 51), digit = in_range(v, 52, 61);
    const u8x16 plus = in_range(v, 62, 62), slash = in_range(v, 63, 63);
    return (upper & (v + 'A')) | (lower & (v + static_cast<std::uint8_t>('a' - 26))) |
           (digit & (v - static_cast<std::uint8_t>(52 - '0'))) | (plus & '+') | (slash & '/');
}

/// 16 characters to 12 bytes, which come first in the result. What is bad is added to `bad`.
[[gnu::always_inline]] inline u8x16 decode_16(u8x16 characters, u8x16& bad) {
    const sextets s = values_of(characters);
    bad |= s.bad;
    const auto x = std::bit_cast<u32x4>(s.values);  // little endian: the first character lowest
    const u32x4 y = ((x & 0x3fU) << 18U) | ((x & 0x3f00U) << 4U) | ((x & 0x3f0000U) >> 10U) | (x >> 24U);
    const auto b = std::bit_cast<u8x16>(y);
    return __builtin_shufflevector(b, b, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 3, 7, 11, 15);
}

[[gnu::always_inline]] inline u8x16 encode_12(u8x16 bytes) {
    const u8x16 b = __builtin_shufflevector(bytes, bytes, 2, 1, 0, 12, 5, 4, 3, 12, 8, 7, 6, 12, 11, 10, 9, 12);
    const auto y = std::bit_cast<u32x4>(b);  // each: the three bytes as a number of 24 bits
    const u32x4 x = ((y >> 18U) & 0x3fU) | ((y >> 4U) & 0x3f00U) | ((y << 10U) & 0x3f0000U) | ((y & 0x3fU) << 24U);
    return characters_of(std::bit_cast<u8x16>(x));
}

/// Encodes whole blocks of 12 bytes while 16 can be read. How many bytes that were.
[[gnu::always_inline]] inline std::size_t encode_blocks(bytes_view bytes, char* to) {
    std::size_t at = 0;
    for (; bytes.size() - at >= 16; at += 12, to += 16) {
        u8x16 block;
        std::memcpy(&block, bytes.data() + at, 16);
        const u8x16 text = encode_12(block);
        std::memcpy(to, &text, 16);
    }
    return at;
}

/// Decodes whole blocks of 16 characters while 16 bytes, of which 12 count, can be written. How many characters.
[[gnu::always_inline]] inline std::size_t decode_blocks(std::string_view text, std::byte* to, u8x16& bad) {
    std::size_t at = 0;
    for (; text.size() - at >= 24; at += 16, to += 12) {
        u8x16 block;
        std::memcpy(&block, text.data() + at, 16);
        const u8x16 bytes = decode_16(block, bad);
        std::memcpy(to, &bytes, 16);
    }
    return at;
}

#if defined(__x86_64__)
// The same with AVX2's instructions: the baseline has none that moves bytes about in a register.
__attribute__((target("avx2"))) std::size_t encode_blocks_avx2(bytes_view bytes, char* to) {
    return encode_blocks(bytes, to);
}
__attribute__((target("avx2"))) std::size_t decode_blocks_avx2(std::string_view text, std::byte* to, u8x16& bad) {
    return decode_blocks(text, to, bad);
}
const bool has_avx2 = __builtin_cpu_supports("avx2");
#endif

std::size_t encode_most(bytes_view bytes, char* to) {
#if defined(__x86_64__)
    if (has_avx2) return encode_blocks_avx2(bytes, to);
#endif
    return encode_blocks(bytes, to);
}

std::size_t decode_most(std::string_view text, std::byte* to, u8x16& bad) {
#if defined(__x86_64__)
    if (has_avx2) return decode_blocks_avx2(text, to, bad);
#endif
    return decode_blocks(text, to, bad);
}

bool any(u8x16 v) {
    const auto halves = std::bit_cast<std::array<std::uint64_t, 2>>(v);
    return (halves[0] | halves[1]) != 0;
}

std::size_t padding_of(std::string_view text) {
    if (text.empty() || text.back() != '=') return 0;
    return text[text.size() - 2] == '=' ? 2 : 1;
}

}  // namespace

void base64_encode_into(bytes_view bytes, std::span<char> out) {
    WARIFU_ASSERT(out.size() == base64_size(bytes.size()));
    const std::byte* in = bytes.data();
    std::size_t left = bytes.size();
    char* to = out.data();
    const std::size_t whole = encode_most(bytes, to);
    left -= whole;
    in += whole;
    to += whole / 12 * 16;
    while (left > 0) {
        const std::size_t step = left < 12 ? left : 12;
        u8x16 block{};
        std::memcpy(&block, in, step);
        const u8x16 text = encode_12(block);
        const std::size_t size = base64_size(step);
        std::memcpy(to, &text, size);
        for (std::size_t i = (step * 4 + 2) / 3; i < size; ++i) to[i] = '=';
        wipe(std::as_writable_bytes(std::span(&block, 1)));
        left -= step;
        in += step;
        to += size;
    }
}

std::string base64_encode(bytes_view bytes) {
    std::string text(base64_size(bytes.size()), '\0');
    base64_encode_into(bytes, text);
    return text;
}

result<std::size_t> base64_decoded_size(std::string_view text) {
    if (text.size() % 4 != 0) return fail(errc::bad_format, "not base64: the length is no multiple of 4");
    return text.size() / 4 * 3 - padding_of(text);
}

bool base64_decode_into(std::string_view text, bytes_span out) {
    const std::size_t padding = padding_of(text);
    WARIFU_ASSERT(text.size() % 4 == 0 && out.size() == text.size() / 4 * 3 - padding);
    const char* in = text.data();
    std::size_t left = text.size();
    std::byte* to = out.data();
    u8x16 bad{};
    const std::size_t whole = decode_most(text, to, bad);
    left -= whole;
    in += whole;
    to += whole / 16 * 12;
    std::size_t room = out.size() - static_cast<std::size_t>(to - out.data());
    bool rest_ok = true;
    while (left > 0) {
        const std::size_t step = left < 16 ? left : 16;
        std::array<char, 16> tail;
        tail.fill('A');
        const bool last = step == left;
        const std::size_t characters = last ? step - padding : step;
        std::memcpy(tail.data(), in, characters);
        u8x16 bytes = decode_16(std::bit_cast<u8x16>(tail), bad);
        const std::size_t size = step / 4 * 3 - (last ? padding : 0);
        WARIFU_ASSERT(size <= room);
        std::memcpy(to, &bytes, size);
        // What the padding stands for must be zero: one text for each value.
        for (std::size_t i = size; last && i < 12; ++i) rest_ok = rest_ok && bytes[static_cast<int>(i)] == 0;
        wipe(std::as_writable_bytes(std::span(tail)));
        wipe(std::as_writable_bytes(std::span(&bytes, 1)));
        left -= step;
        in += step;
        to += size;
        room -= size;
    }
    if (!any(bad) && rest_ok) return true;
    wipe(out);
    return false;
}

}  // namespace warifu
