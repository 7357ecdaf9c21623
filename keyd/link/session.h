#pragma once
// One authenticated control connection of a link, from its greeting to its end.
//
//     caller                                               listener
//     1 call          (clear: nonce, unspent hello slots)     ->
//                          spends a hello slot durably
//                    <-    2 offer_slot (clear: nonce, the slot, proof)
//     spends it durably too
//     3 confirm_slot  (clear: proof)                          ->
//                    <-    4 facts (MAC over all before, listener's half)
//     5 facts         (MAC over all before, caller's half)    ->
//     frames either way, in the rest of the slot and then in work slots that both ends have spent durably
//
// The proofs are constant bytes of the slot, so that repeating them tells nothing new: nobody uses a MAC's key before
// it knows that the other end has spent the slot, and the caller not before the listener has answered this very call.
//
// Every message is verified before anything of it is used; the first that does not verify ends the session.

#include <deque>
#include <functional>

#include "fs/async/wait.h"
#include "keyd/link/control_store.h"
#include "keyd/link/pipe.h"

namespace warifu {

struct pad_ends {
    std::uint64_t outbound = 0;  // end of this site's outbound stream
    std::uint64_t inbound = 0;
};

/// The key of one digest of a block's content: a point and a mask that nothing else uses.
struct digest_key {
    std::array<std::byte, mac_point_size> point{};
    std::array<std::byte, mac_mask_size> mask{};
    ~digest_key() {
        wipe(point);
        wipe(mask);
    }
};
/// Poly1305 of the pieces one after the other.
mac_tag content_digest(const digest_key& key, const std::vector<bytes_view>& pieces);

/// The listener's side of greetings: which slots are on offer. An offer serves all strangers until one of them shows
/// the slot's proof or verification_failures_max have failed, and fresh offers are rationed, so that strangers cannot
/// use up the control pad: link_offer_burst in a row, then one at a time, the wait before it doubling while nothing
/// verifies.
class hello_offers {
  public:
    struct offered {
        std::uint64_t number = 0;
        control_slot slot;
        unsigned failures = 0;
        bool used = false;
    };
    explicit hello_offers(std::uint32_t interval_ms) : interval_(interval_ms), wait_(interval_ms) {}
    /// not_found: no hello slot that both have; busy: the ration of fresh offers is spent.
    result<std::shared_ptr<offered>> pick(control_store& store, const std::vector<slot_run>& unspent, deadline now);
    /// Takes the offer for one caller that shows its proof. bad_tag: the proof is wrong; denied: somebody was first.
    result<void> claim_for(offered& o, const slot_proof& proof);
    /// The caller's facts verified: fresh offers are free again.
    void verified() {
        tokens_ = link_offer_burst;
        wait_ = interval_;
    }
    void forget() { open_.clear(); }

  private:
    std::deque<std::shared_ptr<offered>> open_;  // that nobody has proved yet, oldest first
    unsigned tokens_ = link_offer_burst;
    deadline refilled_{};
    std::chrono::milliseconds interval_;  // between fresh offers once the burst is used up, at first
    std::chrono::milliseconds wait_;      // now
};

struct link_session_counters {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t slots = 0;
};

class link_session {
  public:
    struct received_call {
        link_protocol::call call;
        byte_vector raw;
    };
    struct received {
        link_protocol::message message;
        digest_key key;  // of the message's digest, if it has one
    };

    /// Greets as the caller. Errors: unreachable (the connection ended: a listener that refuses says no more),
    /// bad_tag, bad_format, not_found (no hello slots left), those of control_store.
    static task<std::unique_ptr<link_session>> call(std::shared_ptr<link_pipe> pipe, control_store& store,
                                                    pad_ends own);
    /// The first message of a stranger.
    static task<received_call> read_call(std::shared_ptr<link_pipe> pipe);
    /// Answers it. REQUIRES: the call is from the store's peer to its own site.
    static task<std::unique_ptr<link_session>> answer(std::shared_ptr<link_pipe> pipe, control_store& store,
                                                      hello_offers& offers, received_call from, pad_ends own);
    ~link_session() { close(); }

    const link_protocol::facts& peer_facts() const { return peer_; }
    /// Seals and sends; `content` are the pieces that a digest is made of. Waits for control pad until `until` if there
    /// is some to wait for (no_key). Any error ends the session.
    task<> send(link_protocol::message m, std::vector<bytes_view> content, deadline until);
    task<> send(link_protocol::message m, deadline until) { return send(std::move(m), {}, until); }
    /// The next message that is not about control slots. bad_tag, bad_format: the session is closed. One caller at a
    /// time. Between messages at most link_silence_max_ms may pass.
    task<received> receive();
    /// The other end is known to have what `master` brought so far: such slots may be asked for. (It is known of a slot
    /// that this end stores first only once `stored` has been sent: another message that needs a slot may overtake it.)
    void share_slots_of(link_end master);
    void close();
    bool is_open() const { return open_; }
    const link_session_counters& counters() const { return count_; }

  private:
    struct lane {  // one direction
        std::shared_ptr<const control_slot> slot;
        std::uint64_t number = 0;
        std::size_t masks_used = 0;
    };
    link_session(asio::any_io_executor executor, std::shared_ptr<link_pipe> pipe, control_store& store,
                 std::uint64_t number, const control_slot& slot);

    static task<byte_vector> read_sized(link_pipe& pipe, std::size_t size_max);
    result<byte_vector> seal(const link_protocol::message& m, const std::vector<bytes_view>& content);
    task<> write_sealed(const link_protocol::message& m, const std::vector<bytes_view>& content);
    bool has_masks(std::size_t masks) const;
    task<bool> try_send(const link_protocol::message& m, const std::vector<bytes_view>& content, std::size_t masks);
    task<> ask_for_slot();
    task<bool> on_slot_message(const link_protocol::message& m);
    task<received> receive_frame();
    result<received> open_frame(std::uint64_t number, std::uint16_t mask, bytes_view head, bytes_view body,
                                bytes_view tag);
    link_end end() const { return store_.state().end(); }

    asio::any_io_executor executor_;
    std::shared_ptr<link_pipe> pipe_;
    control_store& store_;
    link_protocol::facts peer_;
    lane sending_, receiving_;
    std::shared_ptr<const control_slot> next_;  // spent at both ends or about to be; not in use in both directions yet
    std::uint64_t next_number_ = 0;
    bool switching_ = false;  // caller: next_slot is on its way
    std::array<std::uint64_t, slot_shelf_count> shared_{};  // slots below these are at both ends if they are here
    async_mutex writing_;
    event slot_changed_;
    bool open_ = true;
    link_session_counters count_;
};

}  // namespace warifu
