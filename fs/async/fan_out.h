#pragma once
// Several operations at once, collected as they finish: the shape of every quorum call.

#include <map>
#include <memory>

#include "fs/async/wait.h"

namespace warifu {

/// Runs tasks under small integer keys (site numbers) and collects their results. Core thread only. Destroying it does
/// not stop what runs: stragglers finish by their own deadlines and their results are dropped.
template <typename T>
class fan_out {
  public:
    explicit fan_out(asio::any_io_executor executor)
        : executor_(executor), state_(std::make_shared<shared_state>(executor)) {}

    void start(std::size_t key, task<T> work) {
        ++state_->running;
        asio::co_spawn(executor_, run(state_, key, std::move(work)), asio::detached);
    }

    /// What finished so far, by key.
    std::map<std::size_t, result<T>>& done() { return state_->done; }
    std::size_t running() const { return state_->running; }

    /// Waits until one more task has finished, all have, or the deadline passed.
    awaitable<void> wait_change(deadline until = deadline::max()) {
        const auto state = state_;
        const std::size_t before = state->done.size();
        while (state->running > 0 && state->done.size() == before) {
            state->changed.reset();
            if (!co_await state->changed.wait(until)) co_return;
        }
    }
    awaitable<void> wait_all(deadline until = deadline::max()) {
        const auto state = state_;
        while (state->running > 0) {
            state->changed.reset();
            if (!co_await state->changed.wait(until)) co_return;
        }
    }

  private:
    struct shared_state {
        explicit shared_state(asio::any_io_executor executor) : changed(std::move(executor)) {}
        event changed;
        std::map<std::size_t, result<T>> done;
        std::size_t running = 0;
    };

    static awaitable<void> run(std::shared_ptr<shared_state> state, std::size_t key, task<T> work) {
        auto outcome = co_await std::move(work);
        state->done.insert_or_assign(key, std::move(outcome));
        --state->running;
        state->changed.set();
    }

    asio::any_io_executor executor_;
    std::shared_ptr<shared_state> state_;
};

/// Has `work` (a plain callable) run on a pool thread; its value arrives at the core thread `back`.
template <typename Work>
auto start_in(asio::thread_pool& pool, asio::any_io_executor back, Work work)
    -> std::shared_ptr<promised<std::invoke_result_t<Work>>> {
    using value_type = std::invoke_result_t<Work>;
    auto arrival = std::make_shared<promised<value_type>>(back);
    ++simulated_time::busy;
    asio::post(pool, [back, arrival, work = std::move(work)]() mutable {
        // The value crosses threads inside the posted handler, so only the core thread touches `arrival`.
        auto value = std::make_shared<value_type>(work());
        asio::post(back, [arrival, value] { arrival->set(std::move(*value)); });
        simulated_time::rest();
    });
    return arrival;
}

/// Runs `work` on a pool thread and resumes here with its value.
template <typename Work>
auto run_in(asio::thread_pool& pool, Work work) -> awaitable<std::invoke_result_t<Work>> {
    auto value = co_await start_in(pool, co_await asio::this_coro::executor, std::move(work))->take();
    co_return std::move(*value);
}

}  // namespace warifu
