#pragma once
// Waiting with a deadline: a one-shot event for coroutines of one core thread, sleep, and calls from other threads.

#include <exception>
#include <future>
#include <list>
#include <memory>
#include <optional>
#include <utility>

#include "fs/async/asio.h"
#include "fs/base/clock.h"

namespace warifu {

/// Simulated time, for tests of one process that holds every party: waits of this file end when simulated time reaches
/// their deadline, in the order of their deadlines, and nothing else moves that time. Core thread, but for busy.
class simulated_time {
  public:
    /// From here on the process lives in simulated time, which begins at `start`. Never undone.
    static void begin(deadline start);
    static bool is_on() { return simulated_time_ns.load(std::memory_order_relaxed) >= 0; }
    /// Moves time on to the next deadline and wakes who waits for it. False when nobody waits.
    static bool advance();
    /// Threads that compute and will post to the core thread (fan_out.h's run_in, less those blocked in run_on): time
    /// must not move meanwhile.
    static inline std::atomic<int> busy = 0;
    /// One thread fewer is busy.
    static void rest() {
        --busy;
        busy.notify_one();
    }

  private:
    friend awaitable<void> sleep_for(steady_clock::duration duration);
    friend class event;
    static void wake_at(deadline until, const std::shared_ptr<asio::steady_timer>& timer);
};

/// Suspends for `duration`; returns early (quietly) when cancelled.
awaitable<void> sleep_for(steady_clock::duration duration);

/// A level-triggered event. Core thread only. Waiters resume after set(); it stays set until reset().
class event {
  public:
    explicit event(asio::any_io_executor executor);
    void set();
    void reset();
    bool is_set() const { return set_; }
    /// True when set, false when the deadline passed first.
    awaitable<bool> wait(deadline until = deadline::max());

  private:
    asio::any_io_executor executor_;
    std::list<std::shared_ptr<asio::steady_timer>> waiters_;
    bool set_ = false;
};

/// A value that arrives once, waited for by coroutines of one core thread. Core thread only.
template <typename T>
class promised {
  public:
    explicit promised(asio::any_io_executor executor) : ready_(std::move(executor)) {}
    bool is_set() const { return value_.has_value(); }
    void set(T value) {
        if (value_) return;  // the first answer counts
        value_.emplace(std::move(value));
        ready_.set();
    }
    /// nullopt when the deadline passed first. The value is moved out: one taker.
    awaitable<std::optional<T>> take(deadline until = deadline::max()) {
        co_await ready_.wait(until);
        co_return std::exchange(value_, std::nullopt);
    }

  private:
    event ready_;
    std::optional<T> value_;
};

/// Mutual exclusion between coroutines of one core thread, first come first served.
class async_mutex {
  public:
    explicit async_mutex(asio::any_io_executor executor) : executor_(std::move(executor)) {}

    class [[nodiscard]] guard {
      public:
        explicit guard(async_mutex* owner) : owner_(owner) {}
        guard(guard&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
        guard& operator=(guard&&) = delete;
        ~guard() {
            if (owner_ != nullptr) owner_->unlock();
        }

      private:
        async_mutex* owner_;
    };
    awaitable<guard> lock();
    bool is_locked() const { return locked_; }

  private:
    void unlock();

    asio::any_io_executor executor_;
    std::list<std::shared_ptr<event>> waiters_;
    bool locked_ = false;
};

/// A bound on bytes in use by coroutines of one core thread, first come first served. A request over the whole budget
/// is admitted alone.
class byte_budget {
  public:
    byte_budget(asio::any_io_executor executor, std::size_t size) : executor_(std::move(executor)), size_(size) {}

    class [[nodiscard]] lease {
      public:
        lease(byte_budget* owner, std::size_t size) : owner_(owner), size_(size) {}
        lease(lease&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)), size_(other.size_) {}
        lease& operator=(lease&&) = delete;
        ~lease() {
            if (owner_ != nullptr) owner_->give_back(size_);
        }

      private:
        byte_budget* owner_;
        std::size_t size_;
    };
    awaitable<lease> take(std::size_t size);
    std::size_t in_use() const { return in_use_; }

  private:
    struct waiter {
        std::size_t size;
        std::shared_ptr<event> turn;
    };
    void give_back(std::size_t size);
    bool fits(std::size_t size) const { return in_use_ == 0 || in_use_ + size <= size_; }

    asio::any_io_executor executor_;
    std::list<waiter> waiters_;
    std::size_t size_;
    std::size_t in_use_ = 0;
};

/// Runs `work` (an awaitable<T>, or a callable that returns one) on the core thread and blocks this other thread until
/// it is done. REQUIRES: the caller is not the core thread. Exceptions are carried over.
template <typename T>
T run_on(asio::io_context& core, awaitable<T> work) {
    // Under simulation this thread does not count as busy from here on until the work is done.
    const auto arrival = std::make_shared<std::promise<T>>();  // its setter may outlive this call
    const auto arrive = [arrival](std::exception_ptr failure, auto... value) {
        ++simulated_time::busy;
        if (failure)
            arrival->set_exception(failure);
        else
            arrival->set_value(std::move(value)...);
    };
    auto done = arrival->get_future();
    asio::co_spawn(core, std::move(work), arrive);
    simulated_time::rest();
    return done.get();
}
template <typename Work>
auto run_on(asio::io_context& core, Work work) -> typename std::invoke_result_t<Work>::value_type {
    return run_on(core, work());  // `work` lives until it is done
}

}  // namespace warifu
