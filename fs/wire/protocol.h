#pragma once
// The share protocol on one page: version, verbs and kinds of messages. Bounds are in fs/base/limits.h, byte tables in
// FORMAT.md.

#include <cstdint>
#include <string_view>

#include "fs/base/limits.h"
#include "keyd/pad_broker.h"

namespace warifu {

inline constexpr std::uint16_t protocol_version = 1;
inline constexpr std::uint32_t greeting_magic = 0x57524655;  // "WRFU"

/// What a message asks for or answers. Numbers are never reused.
enum class verb : std::uint16_t {
    // share_store
    state = 1,
    reserve = 2,
    put = 3,
    get = 4,
    describe = 5,
    remove = 6,
    list = 7,
    append = 8,
    read_journal = 9,
    cut_journal = 10,
    promise = 11,
    heartbeat = 12,
    pin = 13,
    sync = 14,
    // of a share server, over its Unix socket only
    server_status = 64,
    create_volume = 65,
    reload_access = 66,
    // of the connection itself
    offer_window = 128,    // the sender claimed a further pad window and proposes it
    confirm_window = 129,  // the receiver claimed it too: frames may be sealed in it
    refuse_window = 130,   // the receiver's end lacks or spent part of it
    end = 131,             // the sender seals nothing after this message
};
std::string_view to_string(verb v);

enum class message_kind : std::uint8_t {
    request = 1,
    response = 2,  // success
    failure = 3,   // an error as errc and text
    control = 4,   // of the connection itself; has no answer of its own
};

enum class transport : std::uint8_t {
    otp = 1,    // sealed frames under pads
    plain = 2,  // local Unix sockets with peer credentials
};
std::string_view to_string(transport t);

constexpr bool is_store_verb(verb v) {
    return v >= verb::state && v <= verb::sync;
}
constexpr bool is_admin_verb(verb v) {
    return v >= verb::server_status && v <= verb::reload_access;
}
constexpr bool is_control_verb(verb v) {
    return v >= verb::offer_window && v <= verb::end;
}
/// A read grant allows these; everything else needs a write grant.
constexpr bool is_read_verb(verb v) {
    return v == verb::state || v == verb::get || v == verb::describe || v == verb::list || v == verb::read_journal ||
           v == verb::pin;
}

/// Which lane a message takes and which key it may draw on: the journal, fencing and removal never wait behind bulk
/// data, also when key is short. `size` is that of fields and payload. All messages of one control verb share a lane,
/// so they keep order.
constexpr key_use use_of(verb v, std::size_t size) {
    if (v != verb::put && v != verb::get) return key_use::control;
    return size <= interactive_message_size_max ? key_use::interactive : key_use::bulk;
}

}  // namespace warifu
