#pragma once
// Keeps the connections of a remote store: connects in the background, picks one per request, repeats what may be
// repeated.

#include "backends/remote/remote_store.h"

namespace warifu {

/// An answer and the process that gave it.
struct answered {
    incoming message;
    process_id process;
};

/// Thread: the core thread. Kept alive by its coroutines until stop() or cut().
class remote_link : public std::enable_shared_from_this<remote_link> {
  public:
    remote_link(asio::any_io_executor executor, remote_store_options options);

    void start();
    task<answered> call(verb what, message_body body, std::size_t answer_size_max);
    bool connected() const;
    error why_not() const;
    bool waits_for_key() const;
    awaitable<bool> wait_connected(deadline until);
    awaitable<void> stop(deadline until);
    /// Cuts everything off at once.
    void cut();

    const remote_store_options& options() const { return options_; }
    remote_store_counters counters() const;
    std::function<void(bool)> observer;

  private:
    struct slot {
        std::shared_ptr<connection> open;
        std::shared_ptr<event> closed;
    };

    awaitable<void> maintain(std::size_t index);
    task<std::shared_ptr<connection>> connect(std::size_t index);
    void lost(std::size_t index, const error& why);
    void count_closed(const connection& c);
    std::shared_ptr<connection> pick(key_use use) const;
    task<answered> call_once(verb what, message_body body, std::uint32_t answer_size_max, deadline until);
    void report();

    asio::any_io_executor executor_;
    remote_store_options options_;
    std::vector<slot> slots_;
    event up_;        // some connection is open
    event attempted_;  // the first attempt ever is over
    event settled_;    // the first attempt since a connection was lost is over
    event stopped_;
    bool stopping_ = false;
    bool reported_ = false;
    error last_error_{errc::unreachable, "not connected yet"};
    remote_store_counters counters_;  // of closed connections
};

}  // namespace warifu
