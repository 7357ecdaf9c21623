#pragma once
// What a pad consumer and its site's keyd say to each other over a local SOCK_SEQPACKET socket: one message, one
// packet. A reply carries the number of its request. Claims of windows and random bytes bring the descriptor of memory
// (lent_memory.h) that keyd fills before it replies. FORMAT.md has the byte tables.

#include <variant>

#include "keyd/pad_broker.h"

namespace warifu::keyd_protocol {

inline constexpr std::uint8_t version_current = 2;

// Requests. wait_ms: how long keyd may wait for key before it answers no_key.
struct greet {
    bool operator==(const greet&) const = default;
};
struct claim_send {
    stream_name stream;
    session_id session;
    std::uint64_t size_min = 0;
    std::uint64_t size_want = 0;
    key_use use = key_use::bulk;
    std::uint32_t wait_ms = 0;
    bool operator==(const claim_send&) const = default;
};
struct claim_receive {
    stream_name stream;
    session_id session;
    pad_range range;
    bool operator==(const claim_receive&) const = default;
};
struct skip_to {
    stream_name stream;
    std::uint64_t offset = 0;
    bool operator==(const skip_to&) const = default;
};
struct next_free {
    stream_name stream;
    std::uint64_t from = 0;
    bool operator==(const next_free&) const = default;
};
struct take_hello {
    stream_name stream;
    std::uint32_t wait_ms = 0;
    bool operator==(const take_hello&) const = default;
};
struct peek_hello {
    stream_name stream;
    std::uint64_t offset = 0;
    bool operator==(const peek_hello&) const = default;
};
struct spend_hello {
    stream_name stream;
    std::uint64_t offset = 0;
    bool operator==(const spend_hello&) const = default;
};
struct release {
    stream_name stream;
    pad_range window;
    std::uint64_t used_to = 0;
    bool operator==(const release&) const = default;
};
struct available {
    std::string peer;
    bool operator==(const available&) const = default;
};
struct take_random {
    std::uint64_t size = 0;
    std::uint32_t wait_ms = 0;
    bool operator==(const take_random&) const = default;
};
struct status {
    bool operator==(const status&) const = default;
};
/// After a restart of keyd: this consumer still has the window, handed out by the keyd before.
struct hold {
    stream_name stream;
    session_id session;
    pad_range range;
    bool operator==(const hold&) const = default;
};
/// The consumer has destroyed the window and will never say what it used of it.
struct abandon {
    stream_name stream;
    pad_range range;
    bool operator==(const abandon&) const = default;
};
/// How much key this consumer gets when it is short, compared with others.
struct weigh {
    std::uint32_t weight = 0;
    bool operator==(const weigh&) const = default;
};
/// Sets `size` bytes of a stream aside for this consumer's data.
struct reserve {
    stream_name stream;
    std::uint64_t size = 0;
    bool operator==(const reserve&) const = default;
};

using request_body = std::variant<greet, claim_send, claim_receive, skip_to, next_free, take_hello, peek_hello,
                                  spend_hello, release, available, take_random, status, hold, abandon, weigh, reserve>;
struct request {
    std::uint64_t id = 0;
    request_body body;
    bool operator==(const request&) const = default;
};

// Replies
struct done {
    bool operator==(const done&) const = default;
};
struct failed {
    errc code = errc::io_error;
    std::string text;
    bool operator==(const failed&) const = default;
};
struct greeted {
    std::string site;
    claim strength = claim::computational;
    bool operator==(const greeted&) const = default;
};
/// The lent memory begins with the range.size bytes.
struct window {
    pad_range range;
    bool operator==(const window&) const = default;
};
struct offset {
    std::uint64_t value = 0;
    bool operator==(const offset&) const = default;
};
struct hello {
    std::uint64_t offset = 0;
    std::array<std::byte, hello_slot_size> key{};
    bool operator==(const hello&) const = default;
};
struct stock {
    std::uint64_t outbound = 0;
    std::uint64_t inbound = 0;
    claim strength = claim::computational;
    bool operator==(const stock&) const = default;
};
struct text {
    std::string json;
    bool operator==(const text&) const = default;
};
struct reserved {
    std::uint64_t size = 0;
    bool operator==(const reserved&) const = default;
};

using reply_body = std::variant<done, failed, greeted, window, offset, hello, stock, text, reserved>;
struct reply {
    std::uint64_t id = 0;
    reply_body body;
    bool operator==(const reply&) const = default;
};

byte_vector encode(const request& message);
byte_vector encode(const reply& message);
/// bad_format, bad_version, too_large.
result<request> decode_request(bytes_view packet);
result<reply> decode_reply(bytes_view packet);

}  // namespace warifu::keyd_protocol
