#include "fs/files/dirty_budget.h"

#include <algorithm>

#include "fs/base/limits.h"

namespace warifu {

dirty_budget::dirty_budget(asio::io_context& core, std::size_t memory_max)
    : core_(core), soft_(memory_max / 4 * 3), hard_(memory_max), room_(core.get_executor()) {}

void dirty_budget::add(std::int64_t bytes, std::int64_t memory) {
    if (bytes > 0 && came_.fetch_add(static_cast<std::uint64_t>(bytes)) + static_cast<std::uint64_t>(bytes) >= ask_at_)
        want_cover();
    if (bytes < 0) gone_.fetch_add(static_cast<std::uint64_t>(-bytes));
    memory_.fetch_add(static_cast<std::uint64_t>(memory), std::memory_order_seq_cst);
    if (memory < 0 && waiting_.load(std::memory_order_seq_cst) != 0 && !is_tight()) wake();
}

bool dirty_budget::admit(std::uint64_t size) {
    if (memory() > hard_ || held_.load()) return false;
    // Counted before it is looked at: of two that come at once one or both are refused, and try again.
    admitted_ += size;
    if (is_covered(0)) return true;
    admitted_ -= size;
    return false;
}

void dirty_budget::hold(bool on) {
    if (held_.exchange(on) && !on) wake();
}

void dirty_budget::cover(std::uint64_t gone, std::uint64_t bytes, deadline key_at) {
    const std::uint64_t now = came(), most = gone + bytes;
    covered_at_ = std::max(covered_at_, most > cover_.exchange(most) ? steady_clock::now() : key_at);
    ask_at_ = most > now ? now + (most - now) / 2 : most;
    room_.set();  // who still waits asks again
}

void dirty_budget::cover_less(std::uint64_t gone, std::uint64_t bytes) {
    cover_ = std::min(cover_.load(), gone + bytes);
}

/// Asks once; cover() lets the next ask.
void dirty_budget::want_cover() {
    if (ask_at_.exchange(~std::uint64_t{0}) != ~std::uint64_t{0}) wanted_();
}

void dirty_budget::wake() {
    asio::post(core_, [this] { room_.set(); });
}

void dirty_budget::fail(error why) {
    if (!failure_) failure_ = std::move(why);
    room_.set();
}

task<> dirty_budget::wait_for_room(std::uint64_t size, std::shared_ptr<std::atomic<bool>> interrupted) {
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    result<void> outcome;
    std::optional<deadline> uncovered_since;
    while (is_tight() || (size != 0 && (held_.load() || !is_covered(size)))) {
        deadline until = deadline::max();
        if (size != 0 && !is_covered(size)) {
            if (!uncovered_since) {
                uncovered_since = steady_clock::now();
                uncovered_ += size;
            }
            want_cover();
            until = std::max(*uncovered_since, covered_at_) + std::chrono::milliseconds(key_wait_timeout_ms);
        } else if (uncovered_since) {
            uncovered_since.reset();
            uncovered_ -= size;
        }
        if (failure_)
            outcome = warifu::fail(*failure_);
        else if (interrupted && interrupted->load())
            outcome = warifu::fail(errc::cancelled, "interrupted");
        else if (steady_clock::now() >= until)
            outcome = warifu::fail(errc::no_key, "no key can be set aside for more bytes");
        if (!outcome) break;
        room_.reset();
        co_await room_.wait(until);
    }
    if (uncovered_since) uncovered_ -= size;
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
    co_return outcome;
}

}  // namespace warifu
