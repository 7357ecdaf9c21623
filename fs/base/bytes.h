#pragma once
// Views of bytes and the casts that are needed around them, in one place.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace warifu {

using bytes_view = std::span<const std::byte>;
using bytes_span = std::span<std::byte>;
using byte_vector = std::vector<std::byte>;

inline bytes_view as_bytes_view(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(bytes_view bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline const unsigned char* as_uchar(const std::byte* p) {
    return reinterpret_cast<const unsigned char*>(p);
}
inline unsigned char* as_uchar(std::byte* p) {
    return reinterpret_cast<unsigned char*>(p);
}

/// The least multiple of `step` that is >= `value`; `step` is any positive number.
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t step) {
    return (value + step - 1) / step * step;
}
constexpr std::uint64_t divide_up(std::uint64_t value, std::uint64_t step) {
    return (value + step - 1) / step;
}

/// Lower-case hexadecimal, two digits a byte.
std::string to_hex(bytes_view bytes);

/// Compares in a time that depends on the sizes only.
bool equal_constant_time(bytes_view a, bytes_view b);

/// Overwrites with zeros in a way that the compiler keeps.
void wipe(bytes_span bytes);

}  // namespace warifu
