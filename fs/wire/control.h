#pragma once
// Messages of the connection itself: how pad windows are agreed on, and the authenticated end.

#include "fs/wire/message.h"

namespace warifu {

/// The sender claimed `range` at its end (durably) and will seal in it once it is confirmed. Also the body of
/// confirm_window.
struct window_message {
    pad_range range;
};
message_body encode_window(const window_message& message);
result<window_message> decode_window(const body_view& body);

/// The receiver could not claim `range`; `next_free` is where its end may have pad (0: it does not know of any).
struct window_refusal {
    pad_range range;
    std::uint64_t next_free = 0;
};
message_body encode_window_refusal(const window_refusal& message);
result<window_refusal> decode_window_refusal(const body_view& body);

/// The last message of a direction. Its own frame is the last that was sealed, so the receiver's cursor behind it is
/// the final offset of the direction, authenticated.
struct end_message {
    errc reason = errc::cancelled;  // why the connection ends: cancelled for a plain close
};
message_body encode_end(const end_message& message);
result<end_message> decode_end(const body_view& body);

}  // namespace warifu
