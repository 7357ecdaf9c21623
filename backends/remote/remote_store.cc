#include "backends/remote/remote_store.h"

#include "backends/remote/remote_link.h"
#include "fs/wire/share_messages.h"

namespace warifu {
namespace {

constexpr std::size_t small_answer_size = 2048;

/// The fields of one response, or why they make no sense.
template <typename T>
result<T> sensible(result<T> decoded) {
    if (decoded) return decoded;
    return fail(errc::bad_format, "the peer's answer makes no sense: " + decoded.error().text);
}

}  // namespace

remote_store::remote_store(asio::any_io_executor executor, remote_store_options options)
    : link_(std::make_shared<remote_link>(std::move(executor), std::move(options))) {
    link_->start();
}

remote_store::~remote_store() {
    link_->cut();
}

bool remote_store::connected() const {
    return link_->connected();
}

error remote_store::last_error() const {
    return link_->why_not();
}

bool remote_store::waits_for_key() const {
    return link_->waits_for_key();
}

void remote_store::on_change(std::function<void(bool)> observer) {
    link_->observer = std::move(observer);
}

remote_store_counters remote_store::counters() const {
    return link_->counters();
}

const std::string& remote_store::peer_site() const {
    return link_->options().peer_site;
}

awaitable<bool> remote_store::wait_connected(deadline until) {
    return link_->wait_connected(until);
}

awaitable<void> remote_store::stop(deadline until) {
    return link_->stop(until);
}

task<store_state> remote_store::state() {
    CO_TRY(const auto answer, co_await link_->call(verb::state, {}, small_answer_size));
    co_return sensible(decode_state_response(answer.message.body()));
}

/// A request that is answered with nothing but success.
static task<answered> call_empty(std::shared_ptr<remote_link> link, verb what, message_body body) {
    CO_TRY(auto answer, co_await link->call(what, std::move(body), 0));
    CO_TRY_VOID(decode_empty(answer.message.body()));
    co_return std::move(answer);
}

/// A put or remove: remembers which process of the peer has it in its memory only.
task<> remote_store::change(verb what, message_body body) {
    CO_TRY(const auto answer, co_await call_empty(link_, what, std::move(body)));
    if (changes_.process && *changes_.process != answer.process) changes_.lost = true;
    changes_.process = answer.process;
    ++changes_.count;
    co_return result<void>{};
}

task<> remote_store::reserve(ballot authority, std::uint64_t size) {
    reserve_request request;
    request.authority = authority;
    request.size = size;
    CO_TRY_VOID(co_await call_empty(link_, verb::reserve, encode_reserve_request(request)));
    co_return result<void>{};
}

task<> remote_store::put(share_put share) {
    if (share.side.size() > share_side_size_max) co_return fail(errc::too_large, "share too large");
    co_return co_await change(verb::put, encode_put_request(share));
}

task<std::vector<slice>> remote_store::get(chunk_id chunk, std::vector<share_range> ranges) {
    std::size_t size = 4;
    for (const share_range& range : ranges) size += 4 + std::size_t{range.size};
    get_request request;
    request.chunk = chunk;
    request.ranges = ranges;
    CO_TRY(const auto answer, co_await link_->call(verb::get, encode_get_request(request), size));
    CO_TRY(auto slices, sensible(decode_get_response(answer.message.body())));
    bool fits = slices.size() == ranges.size();
    for (std::size_t i = 0; fits && i < slices.size(); ++i) fits = slices[i].size() == ranges[i].size;
    if (!fits) co_return fail(errc::bad_format, "the peer's answer has other ranges than asked for");
    co_return slices;
}

task<share_description> remote_store::describe(chunk_id chunk) {
    CO_TRY(const auto answer, co_await link_->call(verb::describe, encode_describe_request(chunk),
                                                   small_answer_size + 4 * chunk_piece_count_max));
    co_return sensible(decode_describe_response(answer.message.body()));
}

task<> remote_store::remove(ballot authority, std::vector<share_removal> removals) {
    remove_request request;
    request.authority = authority;
    request.removals = std::move(removals);
    co_return co_await change(verb::remove, encode_remove_request(request));
}

task<std::vector<chunk_id>> remote_store::list(chunk_id after, std::uint32_t count) {
    list_request request;
    request.after = after;
    request.count = count;
    const std::size_t size = 4 + 24 * std::min<std::size_t>(count, list_count_max);
    CO_TRY(const auto answer, co_await link_->call(verb::list, encode_list_request(request), size));
    CO_TRY(auto chunks, sensible(decode_list_response(answer.message.body())));
    for (const chunk_id& chunk : chunks) {
        if (chunk <= after) co_return fail(errc::bad_format, "the peer's list is out of order");
        after = chunk;
    }
    co_return chunks;
}

task<> remote_store::append(append_request request) {
    const std::uint64_t covered = changes_.count;
    CO_TRY_VOID(co_await call_empty(link_, verb::append, encode_append_request(std::move(request))));
    // The store checked that the chunks of the record are there, whichever process took them.
    if (changes_.count == covered) changes_ = {.process = {}, .count = covered, .lost = false};
    co_return result<void>{};
}

task<std::vector<journal_entry>> remote_store::read_journal(std::uint64_t from, std::uint32_t size_max) {
    read_journal_request request;
    request.from = from;
    request.size_max = size_max;
    const std::size_t size = small_answer_size + size_max + record_share_size_max + 24 * record_chunk_count_max;
    CO_TRY(const auto answer, co_await link_->call(verb::read_journal, encode_read_journal_request(request), size));
    CO_TRY(auto entries, sensible(decode_read_journal_response(answer.message.body())));
    for (const journal_entry& entry : entries) {
        if (entry.sequence < from) co_return fail(errc::bad_format, "the peer's journal is out of order");
        from = entry.sequence + 1;
    }
    co_return entries;
}

task<> remote_store::cut_journal(ballot authority, std::uint64_t first) {
    cut_journal_request request;
    request.authority = authority;
    request.first = first;
    CO_TRY_VOID(co_await call_empty(link_, verb::cut_journal, encode_cut_journal_request(request)));
    co_return result<void>{};
}

task<> remote_store::promise(ballot b) {
    CO_TRY_VOID(co_await call_empty(link_, verb::promise, encode_promise_request(b)));
    co_return result<void>{};
}

task<> remote_store::heartbeat(ballot authority, writer_identity writer) {
    heartbeat_request request;
    request.authority = authority;
    request.writer = std::move(writer);
    CO_TRY_VOID(co_await call_empty(link_, verb::heartbeat, encode_heartbeat_request(request)));
    co_return result<void>{};
}

task<> remote_store::pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) {
    pin_request request;
    request.chunks = std::move(chunks);
    request.ttl_ms = ttl_ms;
    CO_TRY_VOID(co_await call_empty(link_, verb::pin, encode_pin_request(request)));
    co_return result<void>{};
}

task<> remote_store::sync() {
    const std::uint64_t covered = changes_.count;
    CO_TRY(const auto answer, co_await call_empty(link_, verb::sync, {}));
    const bool lost = changes_.lost || (changes_.process && *changes_.process != answer.process);
    if (lost || changes_.count == covered) changes_ = {.process = {}, .count = changes_.count, .lost = false};
    if (lost)
        co_return fail(errc::unreachable, "the store was started anew; changes that were not yet durable may be lost");
    co_return result<void>{};
}

}  // namespace warifu
