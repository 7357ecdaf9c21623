#pragma once
// A message: a header of fixed size, small fields, and bulk payload that is never copied into the fields.

#include <array>
#include <vector>

#include "fs/base/buffer.h"
#include "fs/base/codec.h"
#include "fs/wire/protocol.h"

namespace warifu {

/// What an encoder gives: the fields, and the payload as slices of whoever owns the bytes.
struct message_body {
    byte_vector fields;
    std::vector<slice> payload;

    std::size_t payload_size() const;
    std::size_t size() const { return fields.size() + payload_size(); }
};

/// What a decoder takes. Slices that it returns share the payload's memory.
struct body_view {
    bytes_view fields;
    slice payload;
};

/// A reader of the fields of a message that has no payload. Errors: bad_format when it has one.
result<reader> fields_only(const body_view& body);
/// Errors: bad_format when it wraps around.
result<pad_range> take_pad_range(reader& in);

struct message_header {
    verb what = verb::state;
    message_kind kind = message_kind::request;
    std::uint32_t fields_size = 0;
    std::uint32_t payload_size = 0;
    std::uint32_t answer_size_max = 0;  // of a request: fields and payload of the largest response it wants; else 0
    std::uint64_t request_id = 0;

    std::size_t body_size() const { return std::size_t{fields_size} + payload_size; }
};
inline constexpr std::size_t message_header_size = 24;

using message_header_bytes = std::array<std::byte, message_header_size>;
message_header_bytes encode_message_header(const message_header& header);
/// Errors: bad_format (unknown verb or kind, a verb of the wrong kind), too_large (over a limit: nothing may be
/// allocated).
result<message_header> decode_message_header(bytes_view bytes);

/// An error as it travels: its code and at most error_text_size_max bytes of text.
message_body encode_error(const error& e);
/// The peer's error. An unknown code becomes io_error; a malformed body is itself the error (bad_format).
error decode_error(const body_view& body);

}  // namespace warifu
