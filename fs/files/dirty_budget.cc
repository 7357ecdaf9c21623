#include "fs/files/dirty_budget.h"

namespace warifu {

dirty_budget::dirty_budget(asio::io_context& core, std::size_t memory_max)
    : core_(core), soft_(memory_max / 4 * 3), hard_(memory_max), room_(core.get_executor()) {}

void dirty_budget::add(std::int64_t bytes, std::int64_t memory) {
    bytes_.fetch_add(static_cast<std::uint64_t>(bytes), std::memory_order_relaxed);
    memory_.fetch_add(static_cast<std::uint64_t>(memory), std::memory_order_seq_cst);
    if (memory < 0 && waiting_.load(std::memory_order_seq_cst) != 0 && !is_tight()) wake();
}

void dirty_budget::hold(bool on) {
    if (held_.exchange(on) && !on) wake();
}

void dirty_budget::wake() {
    asio::post(core_, [this] { room_.set(); });
}

void dirty_budget::fail(error why) {
    if (!failure_) failure_ = std::move(why);
    room_.set();
}

task<> dirty_budget::wait_for_room(bool accepted, std::shared_ptr<std::atomic<bool>> interrupted) {
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    result<void> outcome;
    while (is_tight() || (held_.load() && !accepted)) {
        if (failure_)
            outcome = warifu::fail(*failure_);
        else if (interrupted && interrupted->load())
            outcome = warifu::fail(errc::cancelled, "interrupted");
        if (!outcome) break;
        room_.reset();
        co_await room_.wait();
    }
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
    co_return outcome;
}

}  // namespace warifu
