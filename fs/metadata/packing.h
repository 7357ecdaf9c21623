#pragma once
// Numbers of variable size: varints for values, ordered numbers for keys (fs/metadata/FORMAT.md).

#include <bit>
#include <cstdint>

#include "fs/base/codec.h"

namespace warifu {

inline std::string text_of(const writer& out) {
    return std::string(as_text(out.view()));
}

/// LEB128: seven bits a byte, the low ones first; 1 to 10 bytes.
inline void put_varint(writer& out, std::uint64_t value) {
    while (value >= 0x80) {
        out.put_be(static_cast<std::uint8_t>(value | 0x80U));
        value >>= 7U;
    }
    out.put_be(static_cast<std::uint8_t>(value));
}

inline result<std::uint64_t> take_varint(reader& in) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        TRY(const auto byte, in.take_be<std::uint8_t>());
        const std::uint64_t bits = byte & 0x7fU;
        if (shift == 63 && bits > 1) break;
        value |= bits << shift;
        if ((byte & 0x80U) == 0) return value;
    }
    return fail(errc::bad_format, "a number is over 64 bits");
}

/// A varint that must fit T.
template <std::unsigned_integral T>
result<T> take_varint_as(reader& in) {
    TRY(const auto value, take_varint(in));
    if (value > std::uint64_t{static_cast<T>(~T{0})}) return fail(errc::bad_format, "a number is over its range");
    return static_cast<T>(value);
}

/// Maps numbers around zero to small ones: 0, -1, 1, -2 ... to 0, 1, 2, 3 ...
constexpr std::uint64_t zigzag(std::int64_t value) {
    return (static_cast<std::uint64_t>(value) << 1U) ^ static_cast<std::uint64_t>(value >> 63);
}
constexpr std::int64_t unzigzag(std::uint64_t value) {
    return static_cast<std::int64_t>((value >> 1U) ^ (0 - (value & 1U)));
}

/// The count of significant bytes (0 to 8) and these bytes, big-endian: sorts as bytes like the numbers do.
inline void put_ordered(writer& out, std::uint64_t value) {
    const auto size = static_cast<std::uint8_t>((std::bit_width(value) + 7) / 8);
    out.put_be(size);
    for (unsigned i = size; i-- > 0;) out.put_be(static_cast<std::uint8_t>(value >> (8 * i)));
}

inline result<std::uint64_t> take_ordered(reader& in) {
    TRY(const auto size, in.take_be<std::uint8_t>());
    if (size > 8) return fail(errc::bad_format, "a number is over 64 bits");
    TRY(const auto bytes, in.take_bytes(size));
    std::uint64_t value = 0;
    for (const std::byte b : bytes) value = (value << 8U) | std::to_integer<std::uint64_t>(b);
    if ((std::bit_width(value) + 7) / 8 != size) return fail(errc::bad_format, "a number has leading zeros");
    return value;
}

}  // namespace warifu
