#pragma once
// The one budget of bytes that were accepted and are not yet at the sites (contract A2): their memory and the key that
// is set aside for them, which make writers wait, and their count, which is taken off the free space.
//
// Thread safety: add, sub and the reads on any thread; the rest on the core thread.

#include <atomic>
#include <functional>
#include <optional>

#include "fs/async/wait.h"

namespace warifu {

class dirty_budget {
  public:
    dirty_budget(asio::io_context& core, std::size_t memory_max);

    std::uint64_t bytes() const {
        const std::uint64_t gone = gone_.load();  // first: there is never more gone than came
        return came_.load() - gone;
    }
    std::uint64_t memory() const { return memory_.load(std::memory_order_relaxed); }
    /// Writers should wait.
    bool is_tight() const { return memory() > soft_; }
    /// Bytes that are about to be accepted: taken from the cover at once, given back with the object (by then they have
    /// come). False: no more may be accepted now.
    class admission {
      public:
        admission(dirty_budget& budget, std::uint64_t size) : budget_(budget), size_(size), ok_(budget.admit(size)) {}
        ~admission() {
            if (ok_) budget_.admitted_ -= size_;
        }
        admission(const admission&) = delete;
        admission& operator=(const admission&) = delete;
        explicit operator bool() const { return ok_; }

      private:
        dirty_budget& budget_;
        const std::uint64_t size_;
        const bool ok_;
    };

    /// Bytes and buffer capacity that came (positive) or went (negative).
    void add(std::int64_t bytes, std::int64_t memory);

    /// Writers wait for another reason, or no more. Any thread.
    void hold(bool on);

    /// All bytes that ever came or are about to, and that went. Any thread.
    std::uint64_t came() const {
        const std::uint64_t admitted = admitted_.load();  // first: it comes before it is no longer about to
        return came_.load() + admitted;
    }
    std::uint64_t gone() const { return gone_.load(); }
    /// Bytes that writers hold in their hands because no key is set aside for them. Any thread.
    std::uint64_t uncovered() const { return uncovered_.load(); }
    /// Key is set aside for `bytes` of those that had not gone when `gone` was read: no more are accepted. `key_at`:
    /// when key came last, if not enough yet for more. Never called: without bound. Core thread.
    void cover(std::uint64_t gone, std::uint64_t bytes, deadline key_at);
    /// As cover(), when it covers less than before: key is about to be given back.
    void cover_less(std::uint64_t gone, std::uint64_t bytes);
    /// Called on any thread when half of what is covered has come, and when a writer waits for cover. Set before use.
    void on_cover_wanted(std::function<void()> wanted) { wanted_ = std::move(wanted); }

    /// Returns when !is_tight(), and nothing holds `size` more bytes back. 0: the caller's were accepted already; what
    /// holds others back may need the answer of this one. Errors: cancelled when *interrupted was set before wake(),
    /// no_key when no more was covered and no key came for key_wait_timeout_ms, and what fail() was told.
    task<> wait_for_room(std::uint64_t size, std::shared_ptr<std::atomic<bool>> interrupted);
    /// Lets the waiting look at their flags. Any thread.
    void wake();
    /// Nothing will get to the sites any more: the waiting and later waits fail.
    void fail(error why);

  private:
    bool admit(std::uint64_t size);
    bool is_covered(std::uint64_t size) const {
        const std::uint64_t taken = came(), most = cover_.load();
        return taken <= most && size <= most - taken;
    }
    void want_cover();

    asio::io_context& core_;
    const std::uint64_t soft_, hard_;
    std::atomic<std::uint64_t> came_ = 0, gone_ = 0, memory_ = 0;
    std::atomic<std::uint64_t> admitted_ = 0;                // about to come
    std::atomic<std::uint64_t> uncovered_ = 0;               // of writers that wait for cover
    std::atomic<std::uint64_t> cover_ = ~std::uint64_t{0};   // so many may come in all
    std::atomic<std::uint64_t> ask_at_ = ~std::uint64_t{0};  // when so many came, more cover is asked for
    deadline covered_at_{};                                  // when there was more, or key came, for the last time
    std::function<void()> wanted_;
    std::atomic<std::uint32_t> waiting_ = 0;
    std::atomic<bool> held_ = false;
    event room_;
    std::optional<error> failure_;
};

}  // namespace warifu
