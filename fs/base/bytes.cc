#include "fs/base/bytes.h"

#include <openssl/crypto.h>
#include <strings.h>

namespace warifu {

std::string to_hex(bytes_view bytes) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::byte b : bytes) {
        text.push_back(digits[std::to_integer<unsigned>(b) >> 4U]);
        text.push_back(digits[std::to_integer<unsigned>(b) & 15U]);
    }
    return text;
}

bool equal_constant_time(bytes_view a, bytes_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void wipe(bytes_span bytes) {
    if (!bytes.empty()) ::explicit_bzero(bytes.data(), bytes.size());  // a third less time than OPENSSL_cleanse
}

}  // namespace warifu
