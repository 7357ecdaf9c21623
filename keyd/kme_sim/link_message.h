#pragma once
// What two processes say over their simulated quantum link: FORMAT.md, "Link". Nothing here is secret from the
// machine: it plays the part of photons.

#include <variant>

#include "fs/base/codec.h"
#include "keyd/kme_sim/link.h"

namespace warifu::kme_sim {

inline constexpr std::uint16_t link_version = 1;
inline constexpr std::size_t link_head_size = 4;  // the body's length before each message

/// First on each side.
struct link_hello {
    std::string from;  // KME names
    std::string to;
    bool operator==(const link_hello&) const = default;
};
/// Keys for the slaves at the receiver's KME.
struct link_keys {
    std::uint64_t sequence = 0;
    key_delivery_batch batch;
};
/// The answer: code 0 is "taken".
struct link_taken {
    std::uint64_t sequence = 0;
    std::uint16_t code = 0;  // an errc
    std::string text;
    bool operator==(const link_taken&) const = default;
};
using link_message = std::variant<link_hello, link_keys, link_taken>;

/// With the length in front.
byte_vector encode_link_hello(const link_hello& m);
byte_vector encode_link_keys(std::uint64_t sequence, const key_delivery_batch& batch);
byte_vector encode_link_taken(const link_taken& m);
/// Without the length. Errors: bad_format, bad_version, too_large.
result<link_message> decode_link_message(bytes_view body);

}  // namespace warifu::kme_sim
