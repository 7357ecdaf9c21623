#pragma once
// The one budget of bytes that were accepted and are not yet at the sites (contract A2): their memory, which makes
// writers wait, and their count, which is taken off the free space.
//
// Thread safety: add, sub and the reads on any thread; the rest on the core thread.

#include <atomic>
#include <optional>

#include "fs/async/wait.h"

namespace warifu {

class dirty_budget {
  public:
    dirty_budget(asio::io_context& core, std::size_t memory_max);

    std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
    std::uint64_t memory() const { return memory_.load(std::memory_order_relaxed); }
    /// Writers should wait.
    bool is_tight() const { return memory() > soft_; }
    /// No more bytes may be accepted.
    bool is_full() const { return memory() > hard_ || held_.load(); }

    /// Bytes and buffer capacity that came (positive) or went (negative).
    void add(std::int64_t bytes, std::int64_t memory);

    /// Writers wait for another reason, or no more. Any thread.
    void hold(bool on);

    /// Returns when !is_tight(), and nothing holds writers back unless these bytes were accepted already: what holds
    /// them may need the answer of this one. Errors: cancelled when *interrupted was set before wake(), and what fail()
    /// was told.
    task<> wait_for_room(bool accepted, std::shared_ptr<std::atomic<bool>> interrupted);
    /// Lets the waiting look at their flags. Any thread.
    void wake();
    /// Nothing will get to the sites any more: the waiting and later waits fail.
    void fail(error why);

  private:
    asio::io_context& core_;
    const std::uint64_t soft_, hard_;
    std::atomic<std::uint64_t> bytes_ = 0, memory_ = 0;
    std::atomic<std::uint32_t> waiting_ = 0;
    std::atomic<bool> held_ = false;
    event room_;
    std::optional<error> failure_;
};

}  // namespace warifu
