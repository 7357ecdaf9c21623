#pragma once
// An io_context that runs on a thread of its own: the core of commands whose main thread waits.

#include <thread>

#include "fs/async/wait.h"

namespace warifu {

class core_thread {
  public:
    core_thread() : guard_(context_.get_executor()), thread_([this] { context_.run(); }) {}
    core_thread(const core_thread&) = delete;
    core_thread& operator=(const core_thread&) = delete;
    ~core_thread() {
        guard_.reset();
        context_.stop();
        thread_.join();
    }

    asio::io_context& context() { return context_; }
    /// Runs the coroutine there and waits for what it returns.
    template <typename T>
    T wait_for(awaitable<T> work) {
        return asio::co_spawn(context_, std::move(work), asio::use_future).get();
    }

  private:
    asio::io_context context_{1};
    asio::executor_work_guard<asio::io_context::executor_type> guard_;
    std::thread thread_;
};

}  // namespace warifu
