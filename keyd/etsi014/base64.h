#pragma once
// Base64 (RFC 4648 section 4, with padding) of key bytes: no table lookups and no branches that depend on them.

#include <string>

#include "fs/base/bytes.h"
#include "fs/base/error.h"

namespace warifu {

/// Characters that `size` bytes become.
constexpr std::size_t base64_size(std::size_t size) {
    return (size + 2) / 3 * 4;
}

/// Writes base64_size(bytes.size()) characters. REQUIRES: `out` has exactly that many.
void base64_encode_into(bytes_view bytes, std::span<char> out);
std::string base64_encode(bytes_view bytes);

/// Bytes that the text becomes, told by its size and padding. Errors: bad_format when no text has this size.
result<std::size_t> base64_decoded_size(std::string_view text);
/// Writes base64_decoded_size(text) bytes. False: a character that does not belong here, or unused bits that are not
/// zero; `out` is wiped then. REQUIRES: `out` has exactly that size.
bool base64_decode_into(std::string_view text, bytes_span out);

}  // namespace warifu
