#pragma once
// How much key a link's outbound stream wants, how large its blocks should be, and whose turn it is when both
// directions draw on the same key. Pure: the caller says what time it is.

#include "fs/base/clock.h"
#include "fs/base/limits.h"
#include "keyd/link/protocol.h"

namespace warifu {

/// Less is not worth a block: a window of the least size, and the hello region.
inline constexpr std::uint64_t block_size_least = pad_window_size_min + 4096;
static_assert(block_size_least >= link_block_size_min);

/// What a pool says of one stream.
struct stream_level {
    std::uint64_t end = 0;        // of the highest range ever imported
    std::uint64_t available = 0;  // unspent data bytes
    std::uint64_t taken = 0;      // data bytes that left the stock ever: used, burnt, handed out
};

/// Filling starts when the stock falls below three quarters of its target (the low watermark) and ends at the target
/// (the high one). The weight, which the peer is told, is what is missing plus ten seconds of recent use.
///
/// Sharing: while the key delivery service runs short, the ends take key in the proportion of their weights. Both see
/// all blocks of both directions, so each keeps (decaying) sums of what either took and waits while it is ahead of its
/// share. An end that takes nothing in two seconds of waiting is not waited for again for half a minute, or until it
/// takes something.
class link_demand {
  public:
    explicit link_demand(std::uint64_t target) : target_(target) {}

    void observe(deadline now, const stream_level& level);
    bool wants() const { return filling_; }
    std::uint64_t weight() const;
    double use_rate() const { return use_rate_; }  // bytes per second, recent

    void own_took(deadline now, std::uint64_t bytes);
    void peer_took(deadline now, std::uint64_t bytes);
    void ran_short(deadline now) { short_until_ = now + std::chrono::seconds(5); }
    bool is_short(deadline now) const { return now < short_until_; }
    /// Whether this end may begin another block of about `size` bytes.
    bool my_turn(deadline now, std::uint64_t peer_weight, std::uint64_t size);

  private:
    void decay(deadline now);

    std::uint64_t target_;
    stream_level level_;
    deadline observed_{};
    double use_rate_ = 0;
    bool filling_ = true;
    double own_ = 0, peer_ = 0;  // taken lately
    deadline decayed_{};
    deadline waits_since_{};      // for the peer to take its share
    deadline peer_idle_until_{};  // it had its chance and took nothing: not waited for until then
    deadline short_until_{};
};

/// Blocks double while they fill in under a quarter of a second and halve when a second does not fill them.
class block_sizer {
  public:
    block_sizer(std::uint64_t size_max) : max_(size_max) {}
    std::uint64_t size() const { return size_; }  // a multiple of 4096
    void filled_in(std::chrono::nanoseconds elapsed);
    /// A block that was closed after a second with only this much.
    void closed_short(std::uint64_t size);

  private:
    std::uint64_t max_;
    std::uint64_t size_ = block_size_least;
};

/// The size of the keys to ask for, bytes: `wanted` if it is not 0, else what makes a block of at least 16 keys, at
/// most 1 MiB, within the service's limits. unsupported: its limits leave nothing usable.
result<std::uint64_t> choose_key_size(const delivery_status& status, std::uint64_t wanted, std::uint64_t block_size);

/// What `total` bytes of keys become: control slots first (at most a quarter), then the pad block; the rest is thrown
/// away. pad is 0 when the bytes are too few.
struct round_split {
    std::uint16_t hello = 0;
    std::uint16_t work = 0;
    std::uint64_t pad = 0;
    std::uint64_t control_size() const { return (std::uint64_t{hello} + work) * control_slot_size; }
};
round_split split_round(std::uint64_t total, std::size_t hello_wanted, std::size_t work_wanted);

}  // namespace warifu
