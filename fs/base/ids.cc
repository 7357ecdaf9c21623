#include "fs/base/ids.h"

#include <fmt/format.h>

namespace warifu {

std::string uuid_to_text(const std::array<std::byte, 16>& bytes) {
    const std::string hex = to_hex(bytes);
    return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                       hex.substr(20, 12));
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

result<std::array<std::byte, 16>> uuid_from_text(std::string_view text) {
    if (text.size() != 36) return fail(errc::bad_format, "a UUID has 36 characters");
    std::array<std::byte, 16> bytes{};
    std::size_t digit = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool dash_here = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash_here) {
            if (text[i] != '-') return fail(errc::bad_format, "a UUID has the form 8-4-4-4-12");
            continue;
        }
        const int value = hex_digit(text[i]);
        if (value < 0) return fail(errc::bad_format, "a UUID has hexadecimal digits");
        bytes[digit / 2] |= static_cast<std::byte>(digit % 2 == 0 ? value << 4 : value);
        ++digit;
    }
    return bytes;
}

std::string to_text(const ballot& b) {
    return fmt::format("{}.{:016x}", b.counter, b.nonce);
}

std::string to_text(const chunk_id& id) {
    return fmt::format("{}/{}", to_text(id.epoch), id.sequence);
}

}  // namespace warifu
