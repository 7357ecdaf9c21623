#pragma once
// One sample of every message and its decoder, for the tests and the fuzzer. `again` decodes and encodes once more: for
// bytes that a decoder accepts, the result must be the same bytes (every message has one encoding).

#include <functional>

#include "fs/wire/admin.h"
#include "fs/wire/control.h"
#include "fs/wire/greeting.h"
#include "fs/wire/share_messages.h"

namespace warifu {

struct wire_sample {
    std::string_view name;
    message_body sample;
    std::function<result<message_body>(const body_view&)> again;
};

inline slice sample_bytes(std::size_t size, unsigned seed = 1) {
    buffer b(size);
    for (std::size_t i = 0; i < size; ++i) b.data()[i] = static_cast<std::byte>(i * 37 + seed);
    return slice(std::move(b));
}

inline slice joined(const std::vector<slice>& parts) {
    std::size_t size = 0;
    for (const slice& part : parts) size += part.size();
    buffer whole(size);
    std::size_t position = 0;
    for (const slice& part : parts) {
        if (!part.empty()) std::memcpy(whole.data() + position, part.view().data(), part.size());
        position += part.size();
    }
    return slice(std::move(whole));
}

template <typename Decode, typename Encode>
auto decode_and_encode(Decode decode, Encode encode) {
    return [decode, encode](const body_view& body) -> result<message_body> {
        TRY(auto value, decode(body));
        return encode(value);
    };
}

/// Greeting messages travel without a message header; here the bytes after their prefix are the fields.
template <typename Decode, typename Encode>
auto greeting_again(Decode decode, Encode encode) {
    return [decode, encode](const body_view& body) -> result<message_body> {
        if (!body.payload.empty()) return fail(errc::bad_format);
        TRY(const auto value, decode(body.fields));
        const byte_vector whole = encode(value);
        message_body out;
        out.fields.assign(whole.begin() + greeting_prefix_size, whole.end());
        return out;
    };
}
inline message_body without_prefix(const byte_vector& whole) {
    message_body out;
    out.fields.assign(whole.begin() + greeting_prefix_size, whole.end());
    return out;
}

inline ballot sample_ballot() { return {7, 0x1122334455667788ULL}; }
inline chunk_id sample_chunk(std::uint64_t n) { return {sample_ballot(), n}; }
template <typename Id>
Id sample_id(unsigned seed) {
    Id id;
    for (std::size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = static_cast<std::byte>(seed + i);
    return id;
}

inline std::vector<wire_sample> store_samples() {
    store_state state{sample_id<incarnation_id>(1), sample_ballot(), {3, 9, sample_ballot()}, 1U << 30U, 1U << 29U, {}};
    state.heartbeat = heartbeat_state{sample_ballot(), {"machine", "boot", 12, 34}, 56};
    const share_put put{
        sample_chunk(1), sample_ballot(), {2}, {}, sample_bytes(40), {sample_bytes(100), sample_bytes(30, 2)}};
    const share_description description{{1}, sample_id<policy_id>(9), 77, {10, 0, 30}};
    const remove_request remove{sample_ballot(),
                                {{sample_chunk(5), {}, {}}, {sample_chunk(6), {0, 2}, {{side_part, 16, 32}}}}};
    const journal_entry first{1, sample_ballot(), {sample_chunk(1), sample_chunk(2)}, sample_bytes(50)};
    const journal_entry second{2, sample_ballot(), {}, {}};
    const auto journal_again = [](std::vector<journal_entry>& e) { return encode_read_journal_response(e, 1U << 23U); };
    return {
        {"state_response", encode_state_response(state),
         decode_and_encode(decode_state_response, encode_state_response)},
        {"reserve", encode_reserve_request({sample_ballot(), 99}),
         decode_and_encode(decode_reserve_request, encode_reserve_request)},
        {"put", encode_put_request(put), decode_and_encode(decode_put_request, encode_put_request)},
        {"get", encode_get_request({sample_chunk(4), {{0, 0, 16}, {side_part, 16, 32}}}),
         decode_and_encode(decode_get_request, encode_get_request)},
        {"get_response", encode_get_response({sample_bytes(16), sample_bytes(0), sample_bytes(32)}),
         decode_and_encode(decode_get_response, encode_get_response)},
        {"describe", encode_describe_request(sample_chunk(4)),
         decode_and_encode(decode_describe_request, encode_describe_request)},
        {"describe_response", encode_describe_response(description),
         decode_and_encode(decode_describe_response, encode_describe_response)},
        {"remove", encode_remove_request(remove), decode_and_encode(decode_remove_request, encode_remove_request)},
        {"list", encode_list_request({sample_chunk(4), 100}),
         decode_and_encode(decode_list_request, encode_list_request)},
        {"list_response", encode_list_response({sample_chunk(1), sample_chunk(2)}),
         decode_and_encode(decode_list_response, encode_list_response)},
        {"append", encode_append_request({sample_ballot(), first, true}),
         decode_and_encode(decode_append_request, encode_append_request)},
        {"read_journal", encode_read_journal_request({3, 1000}),
         decode_and_encode(decode_read_journal_request, encode_read_journal_request)},
        {"read_journal_response", encode_read_journal_response({first, second}, 1U << 20U),
         decode_and_encode(decode_read_journal_response, journal_again)},
        {"cut_journal", encode_cut_journal_request({sample_ballot(), 3}),
         decode_and_encode(decode_cut_journal_request, encode_cut_journal_request)},
        {"promise", encode_promise_request(sample_ballot()),
         decode_and_encode(decode_promise_request, encode_promise_request)},
        {"heartbeat", encode_heartbeat_request({sample_ballot(), {"machine", "boot", 12, 34}}),
         decode_and_encode(decode_heartbeat_request, encode_heartbeat_request)},
        {"pin", encode_pin_request({{sample_chunk(1)}, 5000}),
         decode_and_encode(decode_pin_request, encode_pin_request)},
    };
}

inline std::vector<wire_sample> connection_samples() {
    server_status status;
    status.site = "site1";
    status.requests = 77;
    status.connections.push_back({"site2", sample_id<volume_id>(3), transport::otp, 1, 2, 3, 4, 5});
    const hello_message hello{transport::otp, sample_id<session_id>(1), sample_id<nonce>(2), sample_id<process_id>(3),
                              sample_id<volume_id>(4), "site1", "site2"};
    const answer_message answer{sample_id<session_id>(5), sample_id<nonce>(6), sample_id<process_id>(7)};
    return {
        {"offer_window", encode_window({{4096, 65536}}), decode_and_encode(decode_window, encode_window)},
        {"refuse_window", encode_window_refusal({{4096, 65536}, 1U << 20U}),
         decode_and_encode(decode_window_refusal, encode_window_refusal)},
        {"end", encode_end({errc::cancelled}), decode_and_encode(decode_end, encode_end)},
        {"server_status", encode_server_status(status), decode_and_encode(decode_server_status, encode_server_status)},
        {"create_volume", encode_create_volume_request({sample_id<volume_id>(3), "{}"}),
         decode_and_encode(decode_create_volume_request, encode_create_volume_request)},
        {"hello", without_prefix(encode_hello(hello)), greeting_again(decode_hello, encode_hello)},
        {"answer", without_prefix(encode_answer(answer)), greeting_again(decode_answer, encode_answer)},
        {"greeting", without_prefix(encode_greeting({96, {4096, 262144}, {}})),
         greeting_again(decode_greeting, encode_greeting)},
        {"welcome", without_prefix(encode_welcome({0, 0, {4096, 262144}, {}})),
         greeting_again(decode_welcome, encode_welcome)},
        {"confirmation", without_prefix(encode_confirmation({8, 1U << 20U, {}})),
         greeting_again(decode_confirmation, encode_confirmation)},
    };
}

inline std::vector<wire_sample> wire_samples() {
    auto all = store_samples();
    for (auto& sample : connection_samples()) all.push_back(std::move(sample));
    return all;
}

}  // namespace warifu
