#pragma once
// Administration of a share server, over its Unix socket only.

#include "fs/wire/greeting.h"
#include "fs/wire/message.h"

namespace warifu {

struct connection_status {
    std::string peer;  // site name; "local" on the Unix socket
    volume_id volume;
    transport mode = transport::otp;
    std::uint64_t age_ms = 0;
    std::uint64_t requests = 0;
    std::uint64_t requests_in_flight = 0;
    std::uint64_t pad_sent = 0;      // pad bytes used, masks included
    std::uint64_t pad_received = 0;
};

/// Plain numbers and names, so that a caller can print them as JSON.
struct server_status {
    std::string site;
    process_id process;
    std::uint64_t uptime_ms = 0;
    std::uint64_t connections_accepted = 0;
    std::uint64_t greetings_refused = 0;      // malformed, of another version, not verified, timed out
    std::uint64_t connections_denied = 0;     // verified, but the access list or a limit says no
    std::uint64_t connections_failed = 0;     // ended without an authenticated end
    std::uint64_t verification_failures = 0;  // frames whose tag did not verify or whose offset was not next
    std::uint64_t requests = 0;
    std::uint64_t requests_failed = 0;        // answered with an error
    std::uint64_t requests_denied = 0;        // of these: by the access list
    std::uint64_t pad_sent = 0;
    std::uint64_t pad_received = 0;
    std::vector<connection_status> connections;
};

message_body encode_server_status(const server_status& status);
result<server_status> decode_server_status(const body_view& body);

/// `spec` is the server's volume provider's business (at most volume_spec_size_max bytes).
struct create_volume_request {
    volume_id volume;
    std::string spec;
};
message_body encode_create_volume_request(const create_volume_request& request);
result<create_volume_request> decode_create_volume_request(const body_view& body);

}  // namespace warifu
