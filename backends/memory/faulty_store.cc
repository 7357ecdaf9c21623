#include "backends/memory/faulty_store.h"

namespace warifu {
namespace {

slice with_flipped_bit(const slice& good) {
    if (good.empty()) return good;
    buffer copy = buffer::copy_of(good.view());
    copy.data()[copy.size() / 2] ^= std::byte{0x10};
    return slice(std::move(copy));
}

}  // namespace

faulty_store::faulty_store(asio::any_io_executor executor, std::shared_ptr<share_store> inner)
    : inner_(std::move(inner)), running_(std::move(executor)) {
    running_.set();
}

void faulty_store::hang() {
    running_.reset();
}

void faulty_store::release() {
    running_.set();
}

task<> faulty_store::enter() {
    ++call_count_;
    if (calls_left) {
        if (*calls_left == 0) unreachable = true;
        else --*calls_left;
    }
    if (unreachable) co_return fail(errc::unreachable, "the site is down");
    if (!running_.is_set()) {
        const bool released = co_await running_.wait(deadline_in_ms(request_timeout_ms));
        if (!released) co_return fail(errc::timed_out, "the site does not answer");
    }
    if (delay.count() > 0) co_await sleep_for(delay);
    if (unreachable) co_return fail(errc::unreachable, "the site went down");
    co_return result<void>{};
}

result<void> faulty_store::leave(result<void> answer) {
    if (lose_answers > 0) {
        --lose_answers;
        return fail(errc::unreachable, "the answer was lost");
    }
    return answer;
}

task<store_state> faulty_store::state() {
    CO_TRY_VOID(co_await enter());
    co_return co_await inner_->state();
}

task<> faulty_store::reserve(ballot authority, std::uint64_t size) {
    CO_TRY_VOID(co_await enter());
    if (full) co_return fail(errc::no_space, "the store is full");
    co_return co_await inner_->reserve(authority, size);
}

task<> faulty_store::put(share_put share) {
    CO_TRY_VOID(co_await enter());
    if (full) co_return fail(errc::no_space, "the store is full");
    co_return leave(co_await inner_->put(std::move(share)));
}

task<std::vector<slice>> faulty_store::get(chunk_id chunk, std::vector<share_range> ranges) {
    CO_TRY_VOID(co_await enter());
    if (damaged_chunks.contains(chunk)) co_return fail(errc::bad_checksum, "the medium changed this share");
    CO_TRY(auto parts, co_await inner_->get(chunk, std::move(ranges)));
    if (lie_always || lying_chunks.contains(chunk))
        for (slice& part : parts) part = with_flipped_bit(part);
    co_return parts;
}

task<share_description> faulty_store::describe(chunk_id chunk) {
    CO_TRY_VOID(co_await enter());
    co_return co_await inner_->describe(chunk);
}

task<> faulty_store::remove(ballot authority, std::vector<share_removal> removals) {
    CO_TRY_VOID(co_await enter());
    co_return leave(co_await inner_->remove(authority, std::move(removals)));
}

task<std::vector<chunk_id>> faulty_store::list(chunk_id after, std::uint32_t count) {
    CO_TRY_VOID(co_await enter());
    co_return co_await inner_->list(after, count);
}

task<> faulty_store::append(append_request request) {
    CO_TRY_VOID(co_await enter());
    co_return leave(co_await inner_->append(std::move(request)));
}

task<std::vector<journal_entry>> faulty_store::read_journal(std::uint64_t from, std::uint32_t size_max) {
    ++journal_read_count_;
    CO_TRY_VOID(co_await enter());
    if (journal_fails) co_return fail(errc::timed_out, "the site does not answer");
    CO_TRY(auto entries, co_await inner_->read_journal(from, size_max));
    if (journal_has_no_end && entries.empty()) {
        static const slice large(buffer::zeroed(4U << 20U));
        journal_entry& more = entries.emplace_back();
        more.sequence = from;
        more.share = large;
    }
    for (journal_entry& entry : entries)
        if (lie_always || lying_records.contains(entry.sequence)) entry.share = with_flipped_bit(entry.share);
    co_return entries;
}

task<> faulty_store::cut_journal(ballot authority, std::uint64_t first) {
    CO_TRY_VOID(co_await enter());
    co_return leave(co_await inner_->cut_journal(authority, first));
}

task<> faulty_store::promise(ballot b) {
    CO_TRY_VOID(co_await enter());
    co_return leave(co_await inner_->promise(b));
}

task<> faulty_store::heartbeat(ballot authority, writer_identity writer) {
    CO_TRY_VOID(co_await enter());
    co_return co_await inner_->heartbeat(authority, std::move(writer));
}

task<> faulty_store::pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) {
    CO_TRY_VOID(co_await enter());
    co_return co_await inner_->pin(std::move(chunks), ttl_ms);
}

task<> faulty_store::sync() {
    CO_TRY_VOID(co_await enter());
    co_return leave(co_await inner_->sync());
}

}  // namespace warifu
