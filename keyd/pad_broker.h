#pragma once
// What a consumer of pads (a mount, a share server) asks of its site's key manager. Implemented by keyd/client over
// keyd's Unix socket and by keyd/memory_broker for tests of the channel.
//
// A *link* joins two sites; it has two *pad streams*, one per direction, named by (sender site, receiver site): bytes
// addressed by an absolute 64-bit offset, identical at both ends. A byte is handed out once, ever, at each end: the
// mark is durable before keyd says that the bytes may be used (contract S2). Each block of a stream starts with a
// region of hello slots that serve greetings only.

#include <cstdint>
#include <memory>
#include <string>

#include "fs/async/asio.h"
#include "fs/base/bytes.h"
#include "fs/base/clock.h"
#include "fs/base/ids.h"
#include "fs/base/random.h"

namespace warifu {

/// One direction of a link.
struct stream_name {
    std::string sender;    // site name
    std::string receiver;  // site name
    auto operator<=>(const stream_name&) const = default;
};

struct pad_range {
    std::uint64_t offset = 0;  // absolute in the stream
    std::uint64_t size = 0;
    std::uint64_t end() const { return offset + size; }
    bool operator==(const pad_range&) const = default;
};

/// A window of pad bytes that this process owns: writable memory (ciphertext replaces the pad in place); what key is
/// left in it is wiped when it is destroyed. Move-only and unprintable.
class pad_window {
  public:
    virtual ~pad_window() = default;
    const pad_range& range() const { return range_; }
    const stream_name& stream() const { return stream_; }
    bytes_span bytes() { return bytes_; }
    /// No key is left in the first `size` bytes: they are wiped, or ciphertext is in their place.
    /// REQUIRES: size <= bytes().size().
    void cleaned(std::size_t size) { clean_ = size; }

  protected:
    bytes_span key_left() { return bytes_.subspan(clean_); }

    pad_window(stream_name stream, pad_range range) : stream_(std::move(stream)), range_(range) {}
    stream_name stream_;
    pad_range range_;
    bytes_span bytes_;

  private:
    std::size_t clean_ = 0;
};

/// The key bytes of one greeting: `hello_slot_size` pad bytes at a place that both ends can name.
inline constexpr std::size_t hello_slot_size = 96;
struct hello_slot {
    std::uint64_t offset = 0;  // absolute in the stream
    std::array<std::byte, hello_slot_size> key{};
    ~hello_slot() { wipe(key); }
};

enum class key_use : std::uint8_t {
    control = 1,  // hello, journal, fence, remove: may draw on the link's reserve
    interactive = 2,
    bulk = 3,
};

/// Calls wait for key until `until`, then fail with no_key. Core thread of the caller. Other errors: unreachable (keyd
/// is down), denied, not_found (no such link), bad_argument (this site is the wrong end of the stream), too_large, busy
/// (too many wait).
class pad_broker {
  public:
    virtual ~pad_broker() = default;

    /// What this site's end of the link's pads and randomness can claim.
    virtual claim strength() const = 0;

    /// Claims the next unspent window of a stream on which this site is the sender: between size_min and size_want
    /// bytes.
    virtual task<std::unique_ptr<pad_window>> claim_send(stream_name stream, session_id session, std::uint64_t size_min,
                                                         std::uint64_t size_want, key_use use, deadline until) = 0;

    /// Claims exactly `range` of a stream on which this site is the receiver, as its sender proposed it. conflict: part
    /// of it is spent or missing here; the receiver then tells the sender next_free(range.offset) and the sender skips
    /// to it. A refused window of which only a part is spent is burnt as a whole, so that next_free always leads past
    /// it. A window lies within one block (claim_send sees to that).
    virtual task<std::unique_ptr<pad_window>> claim_receive(stream_name stream, session_id session,
                                                            pad_range range) = 0;

    /// For a sender whose proposal was refused: marks everything below `offset` spent at this end, durably and for good
    /// (tails of windows in use included; blocks that arrive there later are dead). Either end may call it.
    virtual task<> skip_to(stream_name stream, std::uint64_t offset) = 0;
    /// The least offset at or after `from` that is unspent and present at this end (receiver's answer to a refused
    /// proposal). no_key: nothing there now. The sender must not skip then: its block may be on its way to the
    /// receiver; it gives the window back (release with used_to = its offset) and tries again.
    virtual task<std::uint64_t> next_free(stream_name stream, std::uint64_t from) = 0;

    /// Initiator: spends one hello slot of a stream on which this site is the sender, durably, and returns it. Slots
    /// are drawn at random among all blocks, so a slot that the peer lacks or has spent costs one attempt, not the
    /// link.
    virtual task<hello_slot> take_hello_slot(stream_name stream, deadline until) = 0;
    /// Responder: the slot at `offset` of a stream on which this site is the receiver, still unspent here. conflict
    /// when spent or after hello_looks_max (keyd/limits.h) looks; not_found when this end lacks the block.
    virtual task<hello_slot> peek_hello_slot(stream_name stream, std::uint64_t offset) = 0;
    /// Responder: marks the slot spent, durably, after its greeting verified. conflict when another process was first.
    virtual task<> spend_hello_slot(stream_name stream, std::uint64_t offset) = 0;

    /// Gives back the tail of a window on a clean end: bytes from `used_to` on were never used and may be offered again
    /// (once both ends released them); bytes below are erased. Windows that are not released are burnt. Call it with
    /// used_to = the window's end when all of it is used, so that it is erased at once. REQUIRES for a receiver:
    /// used_to is the sender's final mark, learned from the sender under MAC. A receiver that has not heard it must not
    /// release: what it would offer again the sender may have used in frames that were lost. not_found: this end does
    /// not know the window (any more): it counts as burnt.
    virtual task<> release(stream_name stream, pad_range window, std::uint64_t used_to) = 0;

    /// Unspent bytes at this end, hello regions not counted: (outbound, inbound) of the link to `peer`.
    struct stock {
        std::uint64_t outbound = 0;
        std::uint64_t inbound = 0;
    };
    virtual task<stock> available(std::string peer) = 0;

    /// `size` bytes of the site's random pool for sharing (source `pool`), spent durably before they are returned.
    virtual task<byte_vector> take_random(std::size_t size, deadline until) = 0;
};

}  // namespace warifu
