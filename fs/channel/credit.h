#pragma once
// The bound on requests in flight. Requesters wait here, first come first served; the other end refuses a peer that
// does not keep to it, so a server never has to stop reading (which would also stop the offers of pad that its answers
// need).

#include <list>
#include <memory>

#include "fs/async/wait.h"
#include "fs/base/limits.h"

namespace warifu {

/// How many requests are open and what they cost: their own bytes and those of the largest answer. One request is
/// always allowed.
struct open_requests {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;

    bool fits(std::uint64_t cost) const {
        return count == 0 || (count < requests_in_flight_max && bytes + cost <= connection_bytes_in_flight_max);
    }
    void add(std::uint64_t cost) {
        ++count;
        bytes += cost;
    }
    void remove(std::uint64_t cost) {
        --count;
        bytes -= cost;
    }
};

/// Core thread only.
class credit_gate {
  public:
    explicit credit_gate(asio::any_io_executor executor) : executor_(std::move(executor)) {}

    /// Errors: busy (none came free before the deadline), cancelled (closed).
    task<> acquire(std::uint64_t cost, deadline until);
    void release(std::uint64_t cost);
    void close();
    const open_requests& open() const { return open_; }

  private:
    struct waiter {
        std::uint64_t cost;
        event granted;
    };
    asio::any_io_executor executor_;
    open_requests open_;
    std::list<std::shared_ptr<waiter>> waiters_;
    bool closed_ = false;
};

}  // namespace warifu
