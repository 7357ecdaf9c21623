#pragma once
// io_uring for one open file: transfers run until their full length is done, a bounded number at once, completions
// arrive on the io_context through an eventfd.

#include <deque>
#include <functional>
#include <liburing.h>
#include <memory>
#include <sys/uio.h>
#include <vector>

#include "fs/async/asio.h"

namespace warifu {

/// One contiguous range of the device and the memory for it. Memory, offset and sizes are multiples of 4 KiB.
struct transfer {
    bool is_write = false;
    std::uint64_t offset = 0;  // bytes
    std::vector<iovec> parts;
};

/// Thread: the one that made it (SINGLE_ISSUER). Whoever waits must keep the memory of its transfers alive until the
/// answer; when the io_context goes away first, the ring waits for the kernel before it lets go of the waiting
/// coroutines.
class ring : public std::enable_shared_from_this<ring> {
  public:
    /// `fd` stays the caller's and open for as long as the ring lives. Errors: io_error.
    static result<std::shared_ptr<ring>> make(asio::any_io_executor executor, int fd);
    ~ring();
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;

    /// Runs all of them, at once as far as the bound allows. Errors: io_error (the first one that failed; the others
    /// were waited for).
    task<> run(std::vector<transfer> transfers);
    /// fdatasync. Covers transfers that were answered before; it is never linked to a write, since a short write is
    /// resubmitted.
    task<> flush();

  private:
    using handler = std::move_only_function<void(result<void>)>;
    struct group {  // one call of run() or flush()
        std::size_t left = 0;
        result<void> outcome;
        handler done;
    };
    struct operation {
        std::shared_ptr<group> owner;
        bool is_flush = false;
        transfer what;
        std::size_t part = 0;  // first iovec that is not done
        unsigned retries = 0;
    };
    struct start_group;
    struct wait_guard;

    ring(asio::any_io_executor executor, int fd, int event_fd);
    result<void> set_up();
    void start(std::vector<std::unique_ptr<operation>> operations, handler done);
    void schedule();
    void pump();
    void arm();
    void on_event();
    void complete(std::unique_ptr<operation> op, int outcome);
    void abandon();
    static void advance(operation& op, std::size_t bytes);

    asio::any_io_executor executor_;
    int fd_;
    asio::posix::stream_descriptor event_;
    io_uring ring_{};
    bool is_set_up_ = false;
    bool scheduled_ = false;
    bool armed_ = false;
    std::size_t in_flight_ = 0;
    std::deque<std::unique_ptr<operation>> backlog_;
};

}  // namespace warifu
