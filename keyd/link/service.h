#pragma once
// One link of a keyd: keeps the control connection to the peer's keyd, gets key for the outbound stream (master) and
// fetches what the peer announces for the inbound one. A block joins here only after the peer has it durably and both
// have proved that their bytes are equal.

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "fs/base/buffer.h"
#include "keyd/key_delivery.h"
#include "keyd/link/demand.h"
#include "keyd/link/paths.h"
#include "keyd/link/session.h"
#include "keyd/pad_source.h"

namespace warifu {

/// What a link asks of the keyd around it. Core thread.
class link_host {
  public:
    virtual ~link_host() = default;
    /// Makes the block part of the pool: durable when it returns. Errors: exists, conflict, denied (the pool refuses
    /// it), no_space, busy, io_error.
    virtual task<> join(block_header header, slice bytes) = 0;
    virtual stream_level level(const stream_name& stream) const = 0;
    /// How far this site's ledger is; an id of zeros: nobody shall witness it.
    virtual ledger_mark mark() const { return {}; }
    /// What the peer remembers of this ledger's earlier runs: how far they had come, 0 if it knows none.
    virtual void witnessed(const std::string& peer, std::uint64_t before) { (void)peer, (void)before; }
    /// What of a stream this site will never use any more. `peer_end`: where the peer's end of the stream was when the
    /// session began; a site that was restored from an older copy has lost all that it lacks below that.
    virtual std::vector<pad_range> gone(const stream_name& stream, std::uint64_t peer_end) const {
        (void)stream, (void)peer_end;
        return {};
    }
    /// The peer will never use these any more: what is left of them here is dead weight, or key that somebody might
    /// still steal.
    virtual void give_up(const stream_name& stream, const std::vector<pad_range>& ranges) {
        (void)stream, (void)ranges;
    }
};

struct link_options {
    std::string own;        // site
    std::string peer;
    std::string directory;  // PADS/links; exists
    /// Connects to the peer's keyd; used by the caller only (the end whose name sorts first).
    std::function<task<std::shared_ptr<link_pipe>>(deadline)> connect;
    claim strength = claim::simulated;          // of the service's key
    std::uint64_t stock_target = 256U << 20U;   // unspent bytes to keep in the outbound stream
    std::uint64_t block_size_max = 16U << 20U;  // of blocks that this end makes
    std::uint64_t key_size = 0;                 // bytes; 0: chosen by what the service says
    std::uint32_t answer_timeout_ms = link_answer_timeout_ms;
    std::uint32_t kme_timeout_ms = link_kme_timeout_ms;
    std::uint32_t backoff_min_ms = link_backoff_min_ms;
    std::uint32_t offer_interval_ms = link_offer_interval_ms;
    std::uint32_t state_interval_ms = link_state_interval_ms;
    std::uint32_t gone_interval_ms = link_gone_interval_ms;
    std::uint32_t gone_settle_ms = link_gone_settle_ms;
    std::uint32_t pause_ms = 100;  // between looks at the stock, and after a service that ran short
};

struct link_counters {
    std::uint64_t sessions = 0;
    std::uint64_t sessions_failed = 0;      // greetings that came to nothing, as caller
    std::uint64_t greetings_refused = 0;    // as listener
    std::uint64_t blocks_out = 0, blocks_in = 0;  // joined
    std::uint64_t bytes_out = 0, bytes_in = 0;
    std::uint64_t keys_out = 0, keys_in = 0;      // that both ends had
    std::uint64_t keys_lost = 0;                  // that one end lacked: skipped by both
    std::uint64_t blocks_different = 0;           // dropped: the ends' bytes differ (wrong keys)
    std::uint64_t blocks_refused = 0;             // dropped for other reasons; not those lost with their session
    std::uint64_t kme_errors = 0;
    std::uint64_t kme_short = 0;                  // "not enough key"
    std::uint64_t protocol_errors = 0;            // of an authenticated peer
    bool operator==(const link_counters&) const = default;
};

class link_service : public std::enable_shared_from_this<link_service> {
  public:
    /// The control pad need not be there yet: an enrolment may come later. Errors: damaged files, by name.
    static result<std::shared_ptr<link_service>> start(asio::any_io_executor core, link_options options,
                                                       std::shared_ptr<key_delivery> kme, link_host& host);
    /// Begins to end all coroutines, and the calls of the key delivery service.
    void begin_stop();
    /// Begins it if it has not begun. False: some have not ended by `until`. The host must outlive them.
    awaitable<bool> stop(deadline until = deadline::max());

    /// A stranger that calls this link; silent when it is refused. REQUIRES: this end is the listener.
    awaitable<void> adopt(std::shared_ptr<link_pipe> pipe, link_session::received_call from);

    const link_options& options() const { return options_; }
    const link_counters& counters() const { return count_; }
    bool is_connected() const { return session_ != nullptr; }
    const control_store& store() const { return store_; }
    const path_records& paths() const { return paths_; }
    const link_witness& witness() const { return witness_; }
    /// For keyd's status: no secrets. FORMAT.md lists the keys.
    nlohmann::json status() const;
    /// Tests: the control pad's faults.
    control_store& store_for_tests() { return store_; }

  private:
    using session_ptr = std::shared_ptr<link_session>;
    struct batch_state {
        std::vector<delivered_key> keys;
        bool answered = false;
    };
    /// What a round's keys make.
    struct assembled {
        buffer control;
        slice pad;
        std::vector<bytes_view> pieces() const { return {control.view(), pad.view()}; }
    };
    struct master_round {
        explicit master_round(asio::any_io_executor executor) : changed(executor), outcome(executor) {}
        std::uint32_t number = 0;
        deadline begun = steady_clock::now();
        std::uint64_t wanted = 0;   // bytes
        std::map<std::uint32_t, batch_state> batches;
        std::size_t open = 0;       // batches without an answer
        std::uint64_t sent = 0;     // bytes ever offered
        std::uint64_t offered = 0;  // bytes under way
        std::uint64_t common = 0;   // bytes that both ends have
        std::vector<std::string> path;
        event changed;
        std::optional<link_protocol::block> proposal;
        assembled made;
        promised<result<void>> outcome;  // whether the peer stored the block
    };
    using round_ptr = std::shared_ptr<master_round>;
    struct peer_round {
        std::map<std::uint32_t, std::vector<delivered_key>> batches;
        std::size_t open = 0;
        std::uint64_t bytes = 0;
        std::vector<std::string> path;
    };

    link_service(asio::any_io_executor core, link_options options, std::shared_ptr<key_delivery> kme, link_host& host);
    void spawn(awaitable<void> work);
    void report(const error& e);
    stream_name outbound() const { return {options_.own, options_.peer}; }
    stream_name inbound() const { return {options_.peer, options_.own}; }
    pad_ends ends() const;
    link_end end() const { return end_of(options_.own, options_.peer); }
    static assembled assemble(std::map<std::uint32_t, std::vector<delivered_key>>& batches, const round_split& split);

    // Sessions (service.cc)
    awaitable<void> call_loop();
    task<session_ptr> greet();
    awaitable<void> serve(session_ptr session);
    awaitable<void> tell_state(session_ptr session);
    void on_state(const link_protocol::state& m);
    void on_gone(link_protocol::gone m);
    void settle_gone();
    task<> tell_gone(const session_ptr& session);
    result<void> dispatch(const session_ptr& session, link_session::received in);
    awaitable<void> pause(std::uint32_t ms);
    awaitable<bool> end_session();
    std::uint32_t state_interval_ms() const;
    std::uint64_t blocks_joined() const { return count_.blocks_out + count_.blocks_in; }

    // Outbound (service_master.cc)
    awaitable<void> master_loop(session_ptr session);
    task<> make_block(session_ptr session);
    task<> collect(session_ptr session, round_ptr round);
    task<> offer_batch(session_ptr session, round_ptr round);
    task<batch_state> gather(session_ptr session, round_ptr round);
    task<> propose(session_ptr session, round_ptr round);
    awaitable<void> finish(session_ptr session, round_ptr round);
    task<> join_made(round_ptr round);
    result<void> on_have(const link_protocol::have& m);
    result<void> on_stored(const session_ptr& session, const link_protocol::stored& m, const digest_key& key);
    void on_refused(const link_protocol::refused& m);
    bool is_due();
    bool is_late(const master_round& round, std::uint64_t bytes) const;
    void hold_back();
    std::uint64_t block_size() const;
    task<std::uint64_t> key_size();

    // Inbound (service_peer.cc)
    result<void> on_offer(const session_ptr& session, const link_protocol::offer& m);
    awaitable<void> fetch(session_ptr session, link_protocol::offer m);
    result<void> on_block(const session_ptr& session, const link_protocol::block& m, const digest_key& key);
    awaitable<void> take_block(session_ptr session, link_protocol::block m, digest_key key);
    task<std::optional<link_protocol::refused>> try_block(link_protocol::block m, const digest_key& key,
                                                          const assembled& made);

    asio::any_io_executor core_;
    link_options options_;
    std::shared_ptr<key_delivery> kme_;
    link_host& host_;
    control_store store_;
    path_records paths_;
    hello_offers offers_;
    link_demand demand_;
    block_sizer sizer_;
    session_ptr session_;
    link_protocol::state peer_state_;
    link_witness witness_;
    std::optional<deadline> told_gone_;    // in this session
    std::vector<pad_range> inbound_gone_;  // what the peer called gone ...
    deadline inbound_gone_at_{};           // ... at this time
    bool tell_now_ = false;  // the peer waits to hear what is remembered of it
    std::map<std::uint32_t, round_ptr> master_rounds_;
    std::map<std::uint32_t, peer_round> peer_rounds_;
    std::uint32_t next_round_ = 1;
    std::uint64_t next_offset_ = 0;
    std::array<std::uint64_t, slot_shelf_count> next_slot_{};
    std::size_t finishing_ = 0;
    deadline retry_after_{};      // no key is asked for before
    std::uint32_t retry_ms_ = 0;  // doubles with each refused block or offer that met nothing
    async_mutex storing_;  // inbound blocks are stored one after the other
    std::optional<delivery_status> kme_status_;
    deadline kme_status_at_{};
    event stop_wanted_, ended_, room_;
    std::size_t running_ = 0;
    bool stopping_ = false;
    std::uint32_t backoff_ms_;
    link_counters count_;
    std::string last_error_;
};

}  // namespace warifu
