#pragma once
// The key manager of one site: owns the pool, serves consumers on a local socket, takes in what its sources deliver,
// erases what was used. State belongs to the core thread; copying windows and checking or erasing files run on two
// workers.

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

#include "fs/async/asio.h"
#include "fs/async/wait.h"
#include "keyd/daemon/handover.h"
#include "keyd/local_socket.h"
#include "keyd/pool/pool.h"
#include "keyd/protocol.h"

namespace warifu {

struct keyd_options {
    std::string site;
    std::string directory;                      // pads directory
    std::string blocks_directory;               // "": DIRECTORY/blocks; may lie on a tmpfs
    std::string socket_path;                    // "": DIRECTORY/keyd.sock
    std::optional<gid_t> group;                 // its members may connect, beside this user and root
    std::vector<std::string> peers;             // sites with a link to this one; empty: any
    std::vector<std::string> incoming;          // more directories where pad files arrive, beside DIRECTORY/incoming
    std::uint64_t control_reserve = 1U << 20U;  // bytes per outbound stream
    std::uint32_t poll_ms = 50;                 // how often sources are asked
};
std::string keyd_socket_path(const keyd_options& options);

class keyd : public std::enable_shared_from_this<keyd> {
  public:
    /// Opens the pool, listens and starts to serve. Errors: those of pool::open and listen_local; the text names the
    /// path.
    static result<std::shared_ptr<keyd>> start(asio::any_io_executor core, keyd_options options);
    ~keyd();

    /// Adds a source; it is asked every poll_ms. Core thread.
    void add_source(std::unique_ptr<pad_source> source);
    /// Burns what consumers hold, erases it, ends all coroutines. Core thread; call once.
    awaitable<void> stop();
    /// Stock, use and failures as JSON, without secrets. Core thread.
    std::string status_json() const;

  private:
    struct client {
        client(asio::any_io_executor executor, unique_fd fd) : socket(std::move(executor), std::move(fd)) {}
        packet_socket socket;
        std::map<std::pair<stream_name, std::uint64_t>, pad_range> windows;
        std::size_t in_flight = 0;
        bool closed = false;
    };
    using client_ptr = std::shared_ptr<client>;
    struct answer {
        keyd_protocol::reply_body body;
        unique_fd fd;
    };
    struct waiter {
        stream_name stream;
        key_use use;
        event ready;
    };
    struct counters {
        std::uint64_t imports = 0;
        std::uint64_t imports_refused = 0;
        std::uint64_t reads_failed = 0;
        std::uint64_t erasures_failed = 0;
        std::uint64_t peers_refused = 0;
        std::uint64_t bad_messages = 0;
        std::uint64_t claims_timed_out = 0;
    };

    keyd(asio::any_io_executor core, keyd_options options, std::unique_ptr<pool> store, unique_fd listener);
    void run();

    // Connections (keyd_serve.cc)
    awaitable<void> accept_loop();
    void accept_one();
    awaitable<void> serve(client_ptr from);
    awaitable<void> answer_one(client_ptr from, keyd_protocol::request message);
    void drop(const client_ptr& from);

    // Requests (keyd_requests.cc)
    awaitable<answer> on(client_ptr from, keyd_protocol::greet m);
    awaitable<answer> on(client_ptr from, keyd_protocol::claim_send m);
    awaitable<answer> on(client_ptr from, keyd_protocol::claim_receive m);
    awaitable<answer> on(client_ptr from, keyd_protocol::skip_to m);
    awaitable<answer> on(client_ptr from, keyd_protocol::next_free m);
    awaitable<answer> on(client_ptr from, keyd_protocol::take_hello m);
    awaitable<answer> on(client_ptr from, keyd_protocol::peek_hello m);
    awaitable<answer> on(client_ptr from, keyd_protocol::spend_hello m);
    awaitable<answer> on(client_ptr from, keyd_protocol::release m);
    awaitable<answer> on(client_ptr from, keyd_protocol::available m);
    awaitable<answer> on(client_ptr from, keyd_protocol::take_random m);
    awaitable<answer> on(client_ptr from, keyd_protocol::status m);
    awaitable<answer> hand_over(client_ptr from, stream_name stream, pad_range range);
    void burn(const stream_name& stream, const pad_range& range);
    template <typename Attempt>
    auto with_key(client_ptr from, stream_name stream, key_use use, std::uint32_t wait_ms, Attempt attempt)
        -> awaitable<decltype(attempt())>;
    bool must_queue(const stream_name& stream, key_use use) const;
    std::list<std::shared_ptr<waiter>>::iterator enqueue(const stream_name& stream, key_use use);
    void wake_waiters();
    static answer failure(const error& e) { return answer{keyd_protocol::failed{e.code, e.text}, {}}; }

    // Upkeep (keyd.cc)
    awaitable<void> import_loop();
    awaitable<bool> import_from(pad_source& source);
    awaitable<result<void>> import_one(pad_source& source, pad_source::delivery found);
    awaitable<void> erase_loop();
    template <typename Work>
    static auto on_worker(asio::thread_pool& worker, Work work) -> awaitable<decltype(work())>;

    asio::any_io_executor core_;
    keyd_options options_;
    std::unique_ptr<pool> pool_;
    asio::posix::stream_descriptor listener_;
    asio::thread_pool copier_{1};  // copies windows
    asio::thread_pool keeper_{1};  // checks and erases files
    std::vector<std::unique_ptr<pad_source>> sources_;
    std::set<client_ptr> clients_;
    std::list<std::shared_ptr<waiter>> waiters_;  // most urgent first, then in order of arrival
    std::uint64_t held_bytes_ = 0;
    event import_wanted_, erase_wanted_, loop_ended_;
    std::size_t loops_ = 0;
    bool stopping_ = false;
    std::string last_import_error_;
    counters count_;
    deadline started_ = steady_clock::now();
};

template <typename Work>
auto run_work(Work work) -> awaitable<decltype(work())> {
    co_return work();
}

template <typename Work>
auto keyd::on_worker(asio::thread_pool& worker, Work work) -> awaitable<decltype(work())> {
    auto job = run_work(std::move(work));
    co_return co_await asio::co_spawn(worker.get_executor(), std::move(job), asio::use_awaitable);
}

/// Runs a key manager until SIGTERM or SIGINT: hardens the process, starts, calls `on_ready` once consumers can
/// connect, and stops cleanly.
result<void> run_keyd(keyd_options options, std::function<void()> on_ready = {});

}  // namespace warifu
