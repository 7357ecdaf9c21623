#pragma once
// A connected stream socket, TCP or Unix: reading, gathering writes and closing, with values instead of exceptions.

#include <memory>
#include <vector>

#include "fs/async/asio.h"
#include "fs/base/bytes.h"
#include "fs/base/clock.h"

namespace warifu {

/// Thread: the core thread of its executor. Closing completes every pending operation with unreachable.
class stream {
  public:
    using socket_type = asio::generic::stream_protocol::socket;

    /// Takes a connected socket and sets its options (no delay, keep-alive and a user time-out on TCP, so that a silent
    /// peer is noticed within request_timeout_ms).
    explicit stream(socket_type socket);
    ~stream();
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    asio::any_io_executor executor() { return socket_.get_executor(); }
    bool is_local() const { return local_; }
    /// The user id of the process at the other end of a Unix socket. Errors: denied (not a Unix socket).
    result<std::uint32_t> peer_uid();

    /// At least one byte. Errors: unreachable (end of stream, reset, closed).
    task<std::size_t> read_some(bytes_span out);
    task<> read_exactly(bytes_span out);
    /// Writes the buffers in order, all of them. Their memory must stay until it returns.
    task<> write_all(std::vector<asio::const_buffer> buffers);
    task<> write_all(bytes_view bytes);

    void close();
    bool is_open() const { return socket_.is_open(); }

    /// True while a write has made no progress since before `since`.
    bool write_stalled(steady_clock::time_point since) const { return writing_ && write_progress_ < since; }
    steady_clock::time_point last_read() const { return last_read_; }

  private:
    socket_type socket_;
    bool local_ = false;
    bool writing_ = false;
    steady_clock::time_point write_progress_;
    steady_clock::time_point last_read_;
};

/// Closes a stream when a deadline passes before the guard is destroyed: the bound of a whole exchange.
class stream_deadline {
  public:
    stream_deadline(std::shared_ptr<stream> target, deadline until);
    ~stream_deadline() { timer_.cancel(); }
    stream_deadline(const stream_deadline&) = delete;
    stream_deadline& operator=(const stream_deadline&) = delete;
    bool expired() const { return *expired_; }

  private:
    asio::steady_timer timer_;
    std::shared_ptr<bool> expired_ = std::make_shared<bool>(false);
};

/// Errors: unreachable (with the address and the system's reason), timed_out, bad_argument.
task<std::shared_ptr<stream>> connect_tcp(std::string host, std::uint16_t port, deadline until);
task<std::shared_ptr<stream>> connect_unix(std::string path, deadline until);

}  // namespace warifu
