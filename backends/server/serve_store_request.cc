#include "backends/server/share_service.h"
#include "fs/wire/share_messages.h"

namespace warifu {
namespace {

/// The empty response of a verb that only succeeds.
result<message_body> nothing(result<void> outcome) {
    if (!outcome) return fail(std::move(outcome).error());
    return message_body{};
}

/// Requests that change something.
task<message_body> serve_change(std::shared_ptr<share_store> store, incoming request) {
    const body_view body = request.body();
    switch (request.header.what) {
        case verb::reserve: {
            CO_TRY(const auto decoded, decode_reserve_request(body));
            co_return nothing(co_await store->reserve(decoded.authority, decoded.size));
        }
        case verb::put: {
            CO_TRY(auto decoded, decode_put_request(body));
            co_return nothing(co_await store->put(std::move(decoded)));
        }
        case verb::remove: {
            CO_TRY(auto decoded, decode_remove_request(body));
            co_return nothing(co_await store->remove(decoded.authority, std::move(decoded.removals)));
        }
        case verb::append: {
            CO_TRY(auto decoded, decode_append_request(body));
            co_return nothing(co_await store->append(std::move(decoded)));
        }
        case verb::cut_journal: {
            CO_TRY(const auto decoded, decode_cut_journal_request(body));
            co_return nothing(co_await store->cut_journal(decoded.authority, decoded.first));
        }
        case verb::promise: {
            CO_TRY(const auto decoded, decode_promise_request(body));
            co_return nothing(co_await store->promise(decoded));
        }
        case verb::heartbeat: {
            CO_TRY(auto decoded, decode_heartbeat_request(body));
            co_return nothing(co_await store->heartbeat(decoded.authority, std::move(decoded.writer)));
        }
        case verb::sync: {
            CO_TRY_VOID(decode_empty(body));
            co_return nothing(co_await store->sync());
        }
        default: co_return fail(errc::unsupported, "not a request to a store");
    }
}

}  // namespace

task<message_body> serve_store_request(std::shared_ptr<share_store> store, incoming request) {
    const body_view body = request.body();
    switch (request.header.what) {
        case verb::state: {
            CO_TRY_VOID(decode_empty(body));
            CO_TRY(const auto state, co_await store->state());
            co_return encode_state_response(state);
        }
        case verb::get: {
            CO_TRY(auto decoded, decode_get_request(body));
            CO_TRY(auto slices, co_await store->get(decoded.chunk, std::move(decoded.ranges)));
            co_return encode_get_response(std::move(slices));
        }
        case verb::describe: {
            CO_TRY(const auto chunk, decode_describe_request(body));
            CO_TRY(const auto description, co_await store->describe(chunk));
            co_return encode_describe_response(description);
        }
        case verb::list: {
            CO_TRY(const auto decoded, decode_list_request(body));
            CO_TRY(const auto chunks, co_await store->list(decoded.after, decoded.count));
            co_return encode_list_response(chunks);
        }
        case verb::read_journal: {
            CO_TRY(const auto decoded, decode_read_journal_request(body));
            CO_TRY(auto entries, co_await store->read_journal(decoded.from, decoded.size_max));
            co_return encode_read_journal_response(std::move(entries), request.header.answer_size_max);
        }
        case verb::pin: {
            CO_TRY(auto decoded, decode_pin_request(body));
            co_return nothing(co_await store->pin(std::move(decoded.chunks), decoded.ttl_ms));
        }
        default: co_return co_await serve_change(std::move(store), std::move(request));
    }
}

}  // namespace warifu
