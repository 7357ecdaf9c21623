#pragma once
// Requests and responses of every share_store verb, encode_ beside decode_ (FORMAT.md). Decoders check counts and sizes
// before they allocate, and that fields and payload are used up exactly; what a request means is the store's to judge.
//
// Decoders' errors: bad_format, too_large (a count or size over its limit).

#include "backends/share_store.h"
#include "fs/wire/message.h"

namespace warifu {

struct reserve_request {
    ballot authority;
    std::uint64_t size = 0;
};
struct get_request {
    chunk_id chunk;
    std::vector<share_range> ranges;
};
struct remove_request {
    ballot authority;
    std::vector<share_removal> removals;
};
struct list_request {
    chunk_id after;
    std::uint32_t count = 0;
};
struct read_journal_request {
    std::uint64_t from = 0;
    std::uint32_t size_max = 0;
};
struct cut_journal_request {
    ballot authority;
    std::uint64_t first = 0;
};
struct heartbeat_request {
    ballot authority;
    writer_identity writer;
};
struct pin_request {
    std::vector<chunk_id> chunks;
    std::uint32_t ttl_ms = 0;
};

/// state and sync have empty requests; reserve, put, remove, append, cut_journal, promise, heartbeat, pin and sync
/// empty responses.
result<void> decode_empty(const body_view& body);

message_body encode_state_response(const store_state& state);
result<store_state> decode_state_response(const body_view& body);

message_body encode_reserve_request(const reserve_request& request);
result<reserve_request> decode_reserve_request(const body_view& body);

/// Payload: the pieces in order, then the side.
message_body encode_put_request(const share_put& share);
result<share_put> decode_put_request(const body_view& body);

message_body encode_get_request(const get_request& request);
result<get_request> decode_get_request(const body_view& body);
message_body encode_get_response(std::vector<slice> ranges);
result<std::vector<slice>> decode_get_response(const body_view& body);

message_body encode_describe_request(const chunk_id& chunk);
result<chunk_id> decode_describe_request(const body_view& body);
message_body encode_describe_response(const share_description& share);
result<share_description> decode_describe_response(const body_view& body);

message_body encode_remove_request(const remove_request& request);
result<remove_request> decode_remove_request(const body_view& body);

message_body encode_list_request(const list_request& request);
result<list_request> decode_list_request(const body_view& body);
message_body encode_list_response(const std::vector<chunk_id>& chunks);
result<std::vector<chunk_id>> decode_list_response(const body_view& body);

message_body encode_append_request(append_request request);
result<append_request> decode_append_request(const body_view& body);

message_body encode_read_journal_request(const read_journal_request& request);
result<read_journal_request> decode_read_journal_request(const body_view& body);
/// As many entries from the front as fit into `size_max` bytes of fields and payload, at least one if there is one.
message_body encode_read_journal_response(std::vector<journal_entry> entries, std::size_t size_max);
result<std::vector<journal_entry>> decode_read_journal_response(const body_view& body);

message_body encode_cut_journal_request(const cut_journal_request& request);
result<cut_journal_request> decode_cut_journal_request(const body_view& body);

message_body encode_promise_request(const ballot& b);
result<ballot> decode_promise_request(const body_view& body);

message_body encode_heartbeat_request(const heartbeat_request& request);
result<heartbeat_request> decode_heartbeat_request(const body_view& body);

message_body encode_pin_request(const pin_request& request);
result<pin_request> decode_pin_request(const body_view& body);

}  // namespace warifu
