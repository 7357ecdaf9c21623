#pragma once
// The place of a name in its directory: SipHash-2-4 (Aumasson, Bernstein, INDOCRYPT 2012) under a secret key of the
// volume, so that nobody outside can make names collide.

#include <array>
#include <cstdint>
#include <string_view>

#include "fs/base/bytes.h"

namespace warifu {

using name_hash_key = std::array<std::byte, 16>;

std::uint64_t siphash(const name_hash_key& key, bytes_view message);

/// The cookie of `name` at collision number 0: 55 bits of hash (never 0), then eight zero bits. As an off_t it is
/// positive, and 0, 1 and 2 are free for "from the start", "." and "..".
std::uint64_t first_cookie(const name_hash_key& key, std::string_view name);

}  // namespace warifu
