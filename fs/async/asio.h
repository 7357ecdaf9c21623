#pragma once
// The one place that includes Boost.Asio. Asio itself is compiled once, in asio.cc.

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>

#include "fs/base/error.h"

namespace warifu {

namespace asio = boost::asio;

/// A coroutine on the daemon's core thread. Parameters by value or owned by the caller's frame; no capturing lambda and
/// no aggregate temporary inside a co_await expression.
template <typename T>
using awaitable = asio::awaitable<T>;
/// A coroutine that may fail in an expected way: the usual form.
template <typename T = void>
using task = asio::awaitable<result<T>>;

/// Completion token that turns exceptions of Asio operations into values: auto [ec, n] = co_await op(..., use_values);
inline constexpr auto use_values = asio::as_tuple(asio::use_awaitable);

}  // namespace warifu
