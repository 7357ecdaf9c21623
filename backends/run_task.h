#pragma once
// For tests and benchmarks: a coroutine from a plain function.

#include <exception>
#include <optional>
#include <utility>

#include "fs/async/asio.h"

namespace warifu {

/// Runs one task on the core thread (this thread) until it is done.
template <typename T>
result<T> run_task(asio::io_context& core, task<T> work) {
    std::optional<result<T>> out;
    asio::co_spawn(core, std::move(work), [&out](std::exception_ptr failure, result<T> value) {
        if (failure) std::rethrow_exception(failure);
        out.emplace(std::move(value));
    });
    while (!out) {
        if (core.stopped()) core.restart();
        core.run_one();
    }
    return std::move(*out);
}

}  // namespace warifu
