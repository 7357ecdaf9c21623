#include "fs/channel/credit.h"

namespace warifu {

task<> credit_gate::acquire(std::uint64_t cost, deadline until) {
    if (closed_) co_return fail(errc::cancelled);
    if (waiters_.empty() && open_.fits(cost)) {
        open_.add(cost);
        co_return result<void>{};
    }
    auto self = std::make_shared<waiter>(cost, event(executor_));
    waiters_.push_back(self);
    if (co_await self->granted.wait(until)) {
        if (closed_) co_return fail(errc::cancelled);
        co_return result<void>{};  // release() counted it
    }
    waiters_.remove(self);
    co_return fail(errc::busy, "too many requests in flight");
}

void credit_gate::release(std::uint64_t cost) {
    open_.remove(cost);
    while (!waiters_.empty() && open_.fits(waiters_.front()->cost)) {
        open_.add(waiters_.front()->cost);
        waiters_.front()->granted.set();
        waiters_.pop_front();
    }
}

void credit_gate::close() {
    closed_ = true;
    for (const auto& w : waiters_) w->granted.set();
    waiters_.clear();
}

}  // namespace warifu
