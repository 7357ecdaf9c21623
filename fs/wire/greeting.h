#pragma once
// The messages that open a connection (FORMAT.md has the byte tables, fs/channel/README.md the rules):
//
//     initiator                                    responder
//     1 hello    (clear)                      ->
//                                             <-   2 hello    (clear; or a refusal)
//     3 greeting (tag under slot[0..32))      ->
//                                             <-   4 welcome  (tag under slot[32..64); or a refusal)
//     5 confirmation (tag under slot[64..96)) ->
//
// Each tag covers the whole bytes of all messages before it and its own message up to the tag. On a local Unix socket
// the exchange ends after message 2. A refusal is not authenticated: it explains, and moves nothing.

#include "fs/base/codec.h"
#include "fs/otp/mac.h"
#include "fs/wire/protocol.h"

namespace warifu {

using nonce = uuid_of<struct nonce_tag>;
/// One run of one process. A peer that comes back under another one has lost everything volatile.
using process_id = uuid_of<struct process_tag>;

enum class greeting_type : std::uint8_t {
    hello = 1,
    answer = 2,
    greeting = 3,
    welcome = 4,
    confirmation = 5,
    refusal = 6
};

/// Before each of the messages: u32 magic, u16 version, u8 type, u8 zero, u16 size of what follows.
struct greeting_prefix {
    greeting_type type = greeting_type::hello;
    std::uint16_t size = 0;
};
inline constexpr std::size_t greeting_prefix_size = 10;

/// Errors: bad_format (not this protocol), bad_version, too_large.
result<greeting_prefix> decode_greeting_prefix(bytes_view bytes);

struct hello_message {
    transport mode = transport::otp;
    session_id session;
    nonce fresh;
    process_id process;
    volume_id volume;       // all zero: none (administration, local only)
    std::string initiator;  // site names, at most site_name_size_max bytes each
    std::string responder;
};
struct answer_message {
    session_id session;
    nonce fresh;
    process_id process;
};
/// A proposed first send window, claimed durably by its sender.
struct greeting_message {
    std::uint64_t slot_offset = 0;  // in the stream from the initiator to the responder
    pad_range window;               // same stream
    mac_tag tag{};
};
/// How the initiator's greeting was taken. status 0: both windows stand; else why not, as errc.
struct welcome_message {
    std::uint16_t status = 0;
    std::uint64_t next_free = 0;  // with errc::conflict: where the responder's end may have pad
    pad_range window;             // in the stream from the responder to the initiator
    mac_tag tag{};
};
struct confirmation_message {
    std::uint16_t status = 0;
    std::uint64_t next_free = 0;
    mac_tag tag{};
};
struct refusal_message {
    errc reason = errc::denied;
};

/// Whole messages with their prefix. Those with a tag are encoded with whatever the struct holds: the last mac_tag_size
/// bytes.
byte_vector encode_hello(const hello_message& message);
byte_vector encode_answer(const answer_message& message);
byte_vector encode_greeting(const greeting_message& message);
byte_vector encode_welcome(const welcome_message& message);
byte_vector encode_confirmation(const confirmation_message& message);
byte_vector encode_refusal(const refusal_message& message);

/// What follows the prefix. Errors: bad_format, too_large.
result<hello_message> decode_hello(bytes_view body);
result<answer_message> decode_answer(bytes_view body);
result<greeting_message> decode_greeting(bytes_view body);
result<welcome_message> decode_welcome(bytes_view body);
result<confirmation_message> decode_confirmation(bytes_view body);
result<refusal_message> decode_refusal(bytes_view body);

/// status as it travels: 0 is success; a code that this program does not know becomes denied.
errc status_error(std::uint16_t status);

}  // namespace warifu
