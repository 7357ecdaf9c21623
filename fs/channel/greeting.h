#pragma once
// Opening a connection (fs/wire/greeting.h has the messages). Rules:
//
// - The initiator spends one hello slot durably per attempt; the responder only looks at it, and spends it when the
//   greeting verified. Pre-authentication bytes move no mark and allocate at most greeting_message_size_max.
// - No data pad is touched before the peer's greeting verified: the responder claims windows only then. Both nonces
//   are under every tag, so a recorded or delayed greeting claims nothing.
// - A proposed window that the other end refuses ends the attempt; the proposer skips and a new attempt proposes
//   another.
// - A TCP connection never runs plain: `plain` needs a Unix socket, and both ends must have been configured for the
//   same transport.

#include "fs/channel/pad_windows.h"
#include "fs/channel/stream.h"
#include "fs/wire/greeting.h"

namespace warifu {

struct initiator_options {
    transport mode = transport::otp;
    std::string own_site;
    std::string peer_site;
    volume_id volume;  // all zero: administration
    process_id process;
    std::shared_ptr<pad_broker> broker;  // null for plain
};

struct responder_options {
    transport mode = transport::otp;
    std::string own_site;
    process_id process;
    std::shared_ptr<pad_broker> broker;
    /// Asked after the greeting verified: may this site use this volume? Its error is told to the peer.
    std::function<result<void>(const std::string& peer_site, const volume_id&)> admit;
};

/// Who is at the other end and what the connection starts with.
struct greeted {
    transport mode = transport::otp;
    std::string peer_site;
    volume_id volume;
    process_id peer_process;
    session_id session;
    std::shared_ptr<pad_broker> broker;
    stream_name send_stream;
    stream_name receive_stream;
    owned_window send_window;
    std::unique_ptr<pad_window> receive_window;
};

/// Opens a connection. The stream is closed on failure. Errors: conflict (windows were skipped at one end: try again at
/// once), no_key, denied, bad_tag (the peer's greeting does not verify), bad_version, bad_format, unreachable,
/// timed_out.
task<greeted> greet(std::shared_ptr<stream> connection, initiator_options options, deadline until);

/// Answers an initiator. Errors as greet; `denied` and `no_key` mean that the peer was told so under MAC.
task<greeted> answer_greeting(std::shared_ptr<stream> connection, responder_options options, deadline until);

}  // namespace warifu
