#pragma once
// The pad supply of a connection: which windows of the two pad streams it may use, and how it comes to further ones.
//
// Rules (contract S2): a window is claimed durably at the sender's keyd, offered in band, claimed durably at the
// receiver's keyd, confirmed in band, and only then sealed in. Whatever is not released after an authenticated end is
// burnt.

#include <deque>
#include <functional>

#include "fs/async/wait.h"
#include "fs/channel/lane.h"
#include "fs/otp/open.h"
#include "fs/otp/seal.h"
#include "fs/wire/control.h"

namespace warifu {

/// One direction of a connection: where its windows come from.
struct pad_direction {
    std::shared_ptr<pad_broker> broker;
    stream_name stream;
    session_id session;
};

/// A confirmed window. One that was claimed from the control reserve carries no data of users.
struct owned_window {
    std::unique_ptr<pad_window> window;
    bool control_only = false;
};

/// What waits to be sent, in plaintext bytes.
struct pad_demand {
    std::uint64_t begun = 0;  // of the others: messages of which some bytes have been sent
    std::uint64_t control = 0;
    std::uint64_t interactive = 0;
    std::uint64_t bulk = 0;
    std::uint64_t data() const { return interactive + bulk; }
    std::uint64_t all() const { return control + data(); }
};

/// The sending side. Core thread only; run() keeps it supplied.
class pad_sender {
  public:
    struct hooks {
        std::function<pad_demand()> demand;
        std::function<void(verb, message_body)> send_control;
        std::function<void()> room_changed;
        std::function<void(error)> fail;
    };
    pad_sender(asio::any_io_executor executor, pad_direction direction, owned_window first, hooks h);

    /// The longest plaintext that the next frame may have for this lane; 0: none now. All leave a reserve for the link
    /// lane, which carries the offers and confirmations that bring more; data also leaves windows of the key reserve
    /// alone.
    std::size_t room(lane use);
    /// How long a message may be so that all of it can be sent in the windows that are confirmed now, `begun` bytes of
    /// others not touched. A message is begun only then: so key that runs out leaves no half message that blocks its
    /// lane.
    std::uint64_t room_for_message(lane use, std::uint64_t begun) const;
    /// REQUIRES: total size of parts <= room(...).
    sealer::sealed seal(std::span<const bytes_view> parts);
    /// Everything sealed so far has left: used-up windows are erased and given back to keyd.
    void written();

    /// The peer's answers to the one open offer. Errors: bad_format (an answer to nothing).
    result<void> on_confirmed(const pad_range& range);
    result<void> on_refused(const window_refusal& refusal);

    /// Claims and offers windows while there is demand, until stop(). The caller keeps this object alive.
    awaitable<void> run();
    /// Demand changed.
    void wake() { work_.set(); }
    void stop();
    /// After an authenticated end: gives the unused tails back. Nothing is sealed afterwards.
    awaitable<void> release_all();

    /// True while keyd has no key for data.
    bool is_starved() const { return starved_; }
    std::uint64_t pad_used() const { return pad_used_; }
    /// Pad in confirmed windows that data may still use.
    std::uint64_t data_in_hand() const;
    std::uint64_t window_size_target() const { return target_; }

  private:
    std::uint64_t room_total() const;
    bool needs_more();
    void start_front();
    void retire_front();
    void adapt();
    task<owned_window> claim();
    awaitable<bool> offer(owned_window claimed);
    awaitable<void> handle_refusal();

    asio::any_io_executor executor_;
    pad_direction direction_;
    hooks hooks_;
    sealer sealer_;
    std::deque<owned_window> windows_;  // confirmed; the sealer works in the front one
    std::vector<std::unique_ptr<pad_window>> spent_;  // their last frames may still be on the way to the socket
    steady_clock::time_point front_since_;
    std::uint64_t target_ = channel_window_size_min;
    owned_window offered_;
    std::optional<window_refusal> refusal_;
    event work_;
    event answered_;
    unsigned refused_in_a_row_ = 0;
    bool starved_ = false;
    bool stopped_ = false;
    std::uint64_t pad_used_ = 0;
};

/// The receiving side. Core thread only.
class pad_receiver {
  public:
    using send_control = std::function<void(verb, message_body)>;
    pad_receiver(asio::any_io_executor executor, pad_direction direction, std::unique_ptr<pad_window> first,
                 send_control send);

    /// window_table::accept; gives used-up windows back to keyd.
    result<bytes_view> accept(const frame_header& header, bytes_view ciphertext, bytes_view tag);

    /// Claims an offered window and answers. Errors (the peer breaks the protocol): bad_format, too_large.
    task<> on_offer(pad_range range);
    /// After an authenticated end: gives the unused tails back.
    awaitable<void> release_all();

    const open_counters& counters() const { return table_.counters(); }
    std::uint64_t pad_used() const { return pad_used_; }

  private:
    asio::any_io_executor executor_;
    pad_direction direction_;
    send_control send_;
    window_table table_;
    std::deque<std::unique_ptr<pad_window>> windows_;
    bool claiming_ = false;
    bool ended_ = false;
    std::uint64_t pad_used_ = 0;
};

/// Gives a window back to keyd (fails quietly: what is not given back is burnt).
awaitable<void> release_window(std::shared_ptr<pad_broker> broker, stream_name stream, pad_range range,
                               std::uint64_t used_to);

/// Where a sender goes on after its proposal of `range` was refused with `next_free`.
/// 0: the receiver has no key there yet; the window may be kept for later. Else: everything below is to be skipped.
std::uint64_t skip_target(const pad_range& range, std::uint64_t next_free);

/// Handles a refused proposal at the sender's keyd: skips, or gives the window back for later. Errors: no_key (the
/// receiver's end has none), conflict (skipped: propose again), those of the broker.
task<> settle_refusal(pad_direction direction, pad_range range, std::uint64_t next_free);

}  // namespace warifu
