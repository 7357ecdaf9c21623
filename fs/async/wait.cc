#include "fs/async/wait.h"

#include <algorithm>
#include <map>

namespace warifu {
namespace {

/// Who waits in simulated time: by deadline, then in the order of the calls.
std::multimap<deadline, std::weak_ptr<asio::steady_timer>>& simulated_waits() {
    static std::multimap<deadline, std::weak_ptr<asio::steady_timer>> waits;
    return waits;
}

}  // namespace

void simulated_time::begin(deadline start) {
    simulated_time_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(start.time_since_epoch()).count();
}

bool simulated_time::advance() {
    auto& waits = simulated_waits();
    while (!waits.empty()) {
        const deadline next = waits.begin()->first;
        bool woke = false;
        while (!waits.empty() && waits.begin()->first == next) {
            const auto timer = waits.begin()->second.lock();
            waits.erase(waits.begin());
            if (!timer) continue;
            if (next > steady_clock::now()) begin(next);
            woke = timer->cancel() > 0 || woke;
        }
        if (woke) return true;
    }
    return false;
}

void simulated_time::wake_at(deadline until, const std::shared_ptr<asio::steady_timer>& timer) {
    timer->expires_at(deadline::max());
    if (until != deadline::max()) simulated_waits().emplace(until, timer);
}

awaitable<void> sleep_for(steady_clock::duration duration) {
    const auto timer = std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor);
    if (simulated_time::is_on())
        simulated_time::wake_at(steady_clock::now() + duration, timer);
    else
        timer->expires_after(duration);
    co_await timer->async_wait(use_values);
}

event::event(asio::any_io_executor executor) : executor_(std::move(executor)) {}

void event::set() {
    set_ = true;
    for (const auto& waiter : waiters_) waiter->cancel();
    waiters_.clear();
}

void event::reset() {
    set_ = false;
}

awaitable<bool> event::wait(deadline until) {
    if (set_) co_return true;
    auto timer = std::make_shared<asio::steady_timer>(executor_);
    if (simulated_time::is_on())
        simulated_time::wake_at(until, timer);
    else
        timer->expires_at(until);
    waiters_.push_back(timer);
    co_await timer->async_wait(use_values);
    // set() clears the list; only a waiter that timed out is still in it. (One that was woken may find the event reset
    // by another that ran first.)
    const auto own = std::ranges::find(waiters_, timer);
    if (own == waiters_.end()) co_return true;
    waiters_.erase(own);
    co_return set_;
}

awaitable<async_mutex::guard> async_mutex::lock() {
    if (!locked_) {
        locked_ = true;
        co_return guard(this);
    }
    auto turn = std::make_shared<event>(executor_);
    waiters_.push_back(turn);
    co_await turn->wait();  // unlock() passes the lock on without letting go of it
    co_return guard(this);
}

void async_mutex::unlock() {
    if (waiters_.empty()) {
        locked_ = false;
        return;
    }
    const auto next = waiters_.front();
    waiters_.pop_front();
    next->set();
}

awaitable<byte_budget::lease> byte_budget::take(std::size_t size) {
    if (waiters_.empty() && fits(size)) {
        in_use_ += size;
        co_return lease(this, size);
    }
    auto turn = std::make_shared<event>(executor_);
    waiters_.push_back(waiter{size, turn});
    co_await turn->wait();  // give_back() has counted the bytes in
    co_return lease(this, size);
}

void byte_budget::give_back(std::size_t size) {
    in_use_ -= size;
    while (!waiters_.empty() && fits(waiters_.front().size)) {
        in_use_ += waiters_.front().size;
        waiters_.front().turn->set();
        waiters_.pop_front();
    }
}

}  // namespace warifu
