#pragma once
// The key manager of one site: owns the pool, serves consumers on a local socket, takes in what its sources deliver,
// erases what was used. State belongs to the core thread; copying windows and checking or erasing files run on two
// workers.

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

#include "fs/async/asio.h"
#include "fs/async/fan_out.h"
#include "keyd/claim_queue.h"
#include "keyd/daemon/handover.h"
#include "keyd/daemon/links.h"
#include "keyd/daemon/metrics_server.h"
#include "keyd/daemon/random_filler.h"
#include "keyd/limits.h"
#include "keyd/local_socket.h"
#include "keyd/pool/pool.h"
#include "keyd/protocol.h"
#include "keyd/rate_meter.h"
#include "keyd/window_budget.h"

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
    std::optional<std::uint64_t> bulk_reserve;  // more bytes that bulk leaves to interactive use; default: the same
    std::optional<random_options> random;       // where random bytes come from, beside deliveries
    std::string metrics;                        // "HOST:PORT" where OpenMetrics are served; "": nowhere
    std::uint32_t poll_ms = 50;                 // how often sources are asked
    std::uint32_t witness_wait_ms = witness_wait_time_ms;  // how long hand-outs wait for the peers' memory
    std::uint32_t erase_pause_ms = erase_pause_time_ms;    // without reading from a disk, before erasing ...
    std::uint32_t erase_delay_max_ms = erase_delay_time_max_ms;  // ... which waits no longer than so
    std::uint32_t reclaim_ms = reclaim_time_ms;  // how long windows of the keyd before wait for their consumers
    std::optional<endpoint> listen;             // where the keyds of other sites call
    std::vector<keyd_link> links;               // those with a key delivery service
};
std::string keyd_socket_path(const keyd_options& options);

class keyd : public std::enable_shared_from_this<keyd>, private link_host {
  public:
    /// Opens the pool, listens and starts to serve. Errors: those of pool::open and listen_local; the text names the
    /// path.
    static result<std::shared_ptr<keyd>> start(asio::any_io_executor core, keyd_options options);
    ~keyd() override;

    /// Adds a source; it is asked every poll_ms. Core thread.
    void add_source(std::unique_ptr<pad_source> source);
    /// Ends all coroutines and erases what is due. Windows that consumers hold stay out: they claim them again from the
    /// next keyd, or it burns them. Core thread; a second call does nothing.
    awaitable<void> stop();
    /// Waits until keyd stops (false) or its ledger takes nothing more (true): then it can only be restarted.
    awaitable<bool> ledger_fails();
    /// Stock, use, rates, failures and alarms, without secrets (FORMAT.md, "The status text"). Core thread.
    nlohmann::json describe() const;
    /// The port where metrics are served; 0: none.
    std::uint16_t metrics_port() const { return metrics_ ? metrics_->port() : std::uint16_t{0}; }
    /// The links with a key delivery service; null when there are none. Core thread.
    const keyd_links* links() const { return links_.get(); }

  private:
    struct held_window {
        pad_range range;
        session_id session;
    };
    using window_place = std::pair<stream_name, std::uint64_t>;
    using window_map = std::map<window_place, held_window>;
    struct reservation {
        std::uint64_t wanted = 0;  // as it was asked for last
        std::uint64_t size = 0;    // of it set aside, less what was claimed since
    };
    using reservations = std::map<stream_name, reservation>;
    struct client {
        client(asio::any_io_executor executor, unique_fd fd) : socket(std::move(executor), std::move(fd)) {}
        packet_socket socket;
        claim_queue::consumer number = 0;
        std::uint32_t weight = claim_weight_default;
        window_map windows;
        reservations reserved;
        std::size_t in_flight = 0;
        bool closed = false;
    };
    using client_ptr = std::shared_ptr<client>;
    using answer = keyd_protocol::reply_body;
    /// Claims that wait for key of one stream.
    struct waiting_claims {
        claim_queue queue;
        std::map<std::uint64_t, std::shared_ptr<event>> wakers;  // by the claim's number
    };
    struct flow {
        rate_meter in, out;
        delivery_rate service;            // of the link's key delivery service
        std::uint64_t short_answers = 0;  // of that service, when it was last asked
    };
    struct counters {
        std::uint64_t imports = 0;
        std::uint64_t imports_refused = 0;
        std::uint64_t reads_failed = 0;
        std::uint64_t erasures_failed = 0;
        std::uint64_t peers_refused = 0;
        std::uint64_t bad_messages = 0;
        std::uint64_t claims_timed_out = 0;
        std::uint64_t windows_reclaimed = 0;
        std::uint64_t windows_abandoned = 0;
        std::uint64_t hello_looks = 0;
        std::uint64_t hello_verified = 0;
        std::uint64_t skipped_bytes = 0;
        std::uint64_t health_tests_failed = 0;
    };

    keyd(asio::any_io_executor core, keyd_options options, std::unique_ptr<pool> store, unique_fd listener);
    void run();

    // Connections (keyd_serve.cc)
    awaitable<void> accept_loop();
    void accept_one();
    awaitable<void> serve(client_ptr from);
    awaitable<void> answer_one(client_ptr from, keyd_protocol::request message, unique_fd lent);
    void drop(const client_ptr& from);

    // Requests (keyd_requests.cc)
    awaitable<answer> on(client_ptr from, keyd_protocol::greet m);
    awaitable<answer> on(client_ptr from, keyd_protocol::claim_send m, unique_fd lent);
    awaitable<answer> on(client_ptr from, keyd_protocol::claim_receive m, unique_fd lent);
    awaitable<answer> on(client_ptr from, keyd_protocol::skip_to m);
    awaitable<answer> on(client_ptr from, keyd_protocol::next_free m);
    awaitable<answer> on(client_ptr from, keyd_protocol::take_hello m);
    awaitable<answer> on(client_ptr from, keyd_protocol::peek_hello m);
    awaitable<answer> on(client_ptr from, keyd_protocol::spend_hello m);
    awaitable<answer> on(client_ptr from, keyd_protocol::release m);
    awaitable<answer> on(client_ptr from, keyd_protocol::available m);
    awaitable<answer> on(client_ptr from, keyd_protocol::take_random m, unique_fd lent);
    awaitable<answer> on(client_ptr from, keyd_protocol::status m);
    awaitable<answer> on(client_ptr from, keyd_protocol::hold m);
    awaitable<answer> on(client_ptr from, keyd_protocol::abandon m);
    awaitable<answer> on(client_ptr from, keyd_protocol::weigh m);
    awaitable<answer> on(client_ptr from, keyd_protocol::reserve m);
    awaitable<answer> hand_over(client_ptr from, stream_name stream, held_window window, unique_fd lent);
    awaitable<result<void>> fill(client_ptr from, unique_fd lent, std::vector<handover_piece> pieces);
    void read_failed(const error& why);
    void forget_memory(const client& from);
    result<pad_range> claim(const client_ptr& from, const keyd_protocol::claim_send& m);
    std::uint64_t reserved_by_others(const client* who, const stream_name& stream) const;
    std::uint64_t reserve_for(client& who, const stream_name& stream, std::uint64_t wanted);
    void take(const stream_name& stream, const held_window& window);
    void give_back(const stream_name& stream, const held_window& window);
    void burn(const stream_name& stream, const held_window& window);
    std::optional<std::uint64_t> key_rate(const stream_name& stream);
    template <typename Attempt>
    auto with_key(client_ptr from, stream_name stream, key_use use, std::uint32_t wait_ms, Attempt attempt)
        -> awaitable<decltype(attempt())>;
    std::size_t waiting_claim_count() const;
    void wake_waiters();
    static answer failure(const error& e) { return keyd_protocol::failed{e.code, e.text}; }

    // Links (links.cc)
    task<> join(block_header header, slice bytes) override;
    stream_level level(const stream_name& stream) const override;
    ledger_mark mark() const override { return {pool_->log().header().id, run_, pool_->log().durable()}; }
    void witnessed(const std::string& peer, std::uint64_t before) override;
    std::vector<pad_range> gone(const stream_name& stream, std::uint64_t peer_end) const override;
    void give_up(const stream_name& stream, const std::vector<pad_range>& ranges) override;
    bool waits_for_witnesses() const { return opened_at_ > 1 && steady_clock::now() < witnesses_until_; }
    awaitable<void> end_waiting_for_witnesses();
    std::string witness_text() const;

    // Upkeep (keyd.cc)
    static awaitable<void> outlast_links(std::shared_ptr<keyd> self);
    awaitable<void> import_loop();
    awaitable<void> tidy_loop();
    awaitable<bool> import_from(pad_source& source);
    awaitable<result<void>> import_one(pad_source& source, pad_source::delivery found);
    awaitable<void> wait_for_pause();
    awaitable<void> erase_loop();
    nlohmann::json stream_json(const stream_status& one, std::uint64_t store_free) const;
    std::vector<std::string> alarms() const;
    void take_over_windows();
    awaitable<void> burn_unclaimed();
    awaitable<void> fill_random();
    awaitable<bool> fill_one_block(std::uint64_t offset);

    asio::any_io_executor core_;
    keyd_options options_;
    std::unique_ptr<pool> pool_;
    asio::posix::stream_descriptor listener_;
    handover handover_;            // for the copier alone
    asio::thread_pool copier_{1};  // copies windows
    asio::thread_pool keeper_{1};  // checks and erases files
    asio::thread_pool reader_{1};  // waits for the random source
    std::shared_ptr<std::atomic<bool>> stop_reading_ = std::make_shared<std::atomic<bool>>(false);
    std::shared_ptr<random_filler> filler_;
    std::string random_error_;  // why the random source brings nothing; "": it works
    unsigned random_failures_ = 0;  // in a row
    std::vector<std::unique_ptr<pad_source>> sources_;
    std::unique_ptr<keyd_links> links_;
    const std::uint64_t run_ = kernel_random_u64();
    std::uint64_t opened_at_ = 0;           // the ledger's next record when it was opened
    deadline witnesses_until_{};            // nothing of this end's choice is handed out before they were heard
    std::set<std::string> witnesses_heard_;  // peers
    std::uint64_t renounced_bytes_ = 0;
    bool was_old_copy_ = false;
    std::set<client_ptr> clients_;
    claim_queue::consumer next_consumer_ = 1;
    std::map<stream_name, waiting_claims> waiting_;
    std::map<stream_name, flow> flows_;
    std::shared_ptr<metrics_server> metrics_;
    std::map<stream_name, window_budget> budgets_;  // what is out, by stream
    window_map unclaimed_;                          // out since before the start; their consumers may come back
    std::uint64_t held_bytes_ = 0;
    event import_wanted_, erase_wanted_, loop_ended_, stop_wanted_;
    std::size_t loops_ = 0;
    bool stop_begun_ = false;
    bool stopping_ = false;
    bool imports_settled_ = false;  // what had been delivered before the start is in
    std::string last_import_error_;
    counters count_;
    deadline started_ = steady_clock::now();
};

/// Runs a key manager until SIGTERM or SIGINT: hardens the process, starts, calls `on_ready` once consumers can
/// connect, and stops cleanly. io_error: the ledger could not be written any more.
result<void> run_keyd(keyd_options options, std::function<void()> on_ready = {});

}  // namespace warifu
