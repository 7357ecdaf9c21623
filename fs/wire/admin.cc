#include "fs/wire/admin.h"

namespace warifu {
namespace {

constexpr std::size_t connection_status_size_min = 4 + 16 + 1 + 5 * 8;

void put_connection(writer& out, const connection_status& c) {
    out.put_sized(as_bytes_view(c.peer)).put(c.volume).put_be(static_cast<std::uint8_t>(c.mode));
    out.put_be(c.age_ms).put_be(c.requests).put_be(c.requests_in_flight).put_be(c.pad_sent).put_be(c.pad_received);
}

result<connection_status> take_connection(reader& in) {
    connection_status c;
    TRY(const auto peer, in.take_sized(site_name_size_max));
    c.peer = as_text(peer);
    TRY(c.volume, in.take<volume_id>());
    TRY(const auto mode, in.take_be<std::uint8_t>());
    if (mode < 1 || mode > 2) return fail(errc::bad_format, "an unknown transport");
    c.mode = static_cast<transport>(mode);
    for (auto* number : {&c.age_ms, &c.requests, &c.requests_in_flight, &c.pad_sent, &c.pad_received}) {
        TRY(*number, in.take_be<std::uint64_t>());
    }
    return c;
}

/// The counters in the order of the format.
template <typename Status>
auto counters_of(Status& s) {
    return std::array{&s.uptime_ms,          &s.connections_accepted,  &s.greetings_refused, &s.connections_denied,
                      &s.connections_failed, &s.verification_failures, &s.requests,          &s.requests_failed,
                      &s.requests_denied,    &s.pad_sent,              &s.pad_received};
}

}  // namespace

message_body encode_server_status(const server_status& status) {
    writer out;
    out.put_sized(as_bytes_view(status.site)).put(status.process);
    for (const auto* counter : counters_of(status)) out.put_be(*counter);
    const std::size_t count = std::min(status.connections.size(), status_connection_count_max);
    out.put_be(static_cast<std::uint32_t>(count));
    for (std::size_t i = 0; i < count; ++i) put_connection(out, status.connections[i]);
    message_body body;
    body.fields = out.take();
    return body;
}

result<server_status> decode_server_status(const body_view& body) {
    TRY(reader in, fields_only(body));
    server_status status;
    TRY(const auto site, in.take_sized(site_name_size_max));
    status.site = as_text(site);
    TRY(status.process, in.take<process_id>());
    for (auto* counter : counters_of(status)) {
        TRY(*counter, in.take_be<std::uint64_t>());
    }
    TRY(const auto count, in.take_count(connection_status_size_min, status_connection_count_max));
    for (std::uint32_t i = 0; i < count; ++i) {
        TRY(auto connection, take_connection(in));
        status.connections.push_back(std::move(connection));
    }
    TRY_VOID(in.done());
    return status;
}

message_body encode_create_volume_request(const create_volume_request& request) {
    writer out;
    out.put(request.volume).put_sized(as_bytes_view(request.spec));
    message_body body;
    body.fields = out.take();
    return body;
}

result<create_volume_request> decode_create_volume_request(const body_view& body) {
    TRY(reader in, fields_only(body));
    create_volume_request request;
    TRY(request.volume, in.take<volume_id>());
    TRY(const auto spec, in.take_sized(volume_spec_size_max));
    request.spec = as_text(spec);
    TRY_VOID(in.done());
    return request;
}

}  // namespace warifu
