#pragma once
// A connected byte stream between two keyds: TCP in earnest, memory in tests.

#include <memory>

#include "fs/async/asio.h"
#include "fs/base/bytes.h"
#include "fs/base/clock.h"
#include "fs/channel/stream.h"

namespace warifu {

/// Core thread. Errors are unreachable; closing completes every pending operation with it.
class link_pipe {
  public:
    virtual ~link_pipe() = default;
    virtual task<> read_exactly(bytes_span out) = 0;
    virtual task<> write_all(bytes_view bytes) = 0;
    virtual void close() = 0;
};

class tcp_link_pipe final : public link_pipe {
  public:
    explicit tcp_link_pipe(std::shared_ptr<stream> socket) : socket_(std::move(socket)) {}
    task<> read_exactly(bytes_span out) override { return socket_->read_exactly(out); }
    task<> write_all(bytes_view bytes) override { return socket_->write_all(bytes); }
    void close() override { socket_->close(); }

  private:
    std::shared_ptr<stream> socket_;
};

/// Closes a pipe when a deadline passes before the guard is destroyed: the bound of a whole exchange.
class pipe_deadline {
  public:
    pipe_deadline(asio::any_io_executor executor, std::shared_ptr<link_pipe> target, deadline until);
    ~pipe_deadline() { timer_.cancel(); }
    pipe_deadline(const pipe_deadline&) = delete;
    pipe_deadline& operator=(const pipe_deadline&) = delete;

  private:
    asio::steady_timer timer_;
};

}  // namespace warifu
