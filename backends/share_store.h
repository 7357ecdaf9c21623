#pragma once
// The interface of everything that holds the shares of one volume at one site: the memory store (reference), the sector
// store (disk), the remote store (a share server behind a one-time-pad channel). Every implementation passes
// backends/conformance.h.
//
// A store keeps, for one volume: shares of immutable chunks, the shares of the journal's records, one promised ballot,
// and (volatile) the last heartbeat, reservations and pins. It knows nothing of k, n or what bytes mean: a put carries
// a *side* (tags and hashes) and *pieces* that can be removed apart, all of them opaque.
//
// Fencing: every request that changes something carries `authority`, the writer's ballot. A store refuses an authority
// below the promised ballot with stale_epoch, for good. Equal is accepted; a higher one must be promised first (also
// stale_epoch).
//
// Durability: put and remove are volatile until the next successful append, promise or sync returns. append covers
// every put of the same store that was answered before it was sent, and those of chunks that it names: it waits for
// them once they have begun. After a crash a store shows a prefix of the appends that contains every one that was
// answered, and a record is there only if all chunks that it names are there and good.
//
// Thread: an instance belongs to one core thread; calls return within the request time-out with a value or an error.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fs/async/asio.h"
#include "fs/base/buffer.h"
#include "fs/base/ids.h"
#include "fs/base/limits.h"

namespace warifu {

/// The share of one chunk. Sizes are bytes of the share, not of the secret.
struct share_put {
    chunk_id chunk;
    ballot authority;
    share_index index;
    policy_id policy;
    slice side;                 // tags and hashes; may be empty
    std::vector<slice> pieces;  // 1 .. chunk_piece_count_max, none empty
};

inline constexpr std::uint32_t side_part = 0xffffffffU;

/// A byte range of a piece (part = its number) or of the side (part = side_part).
struct share_range {
    std::uint32_t part = 0;
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
    auto operator<=>(const share_range&) const = default;
};

/// What a store says of a chunk's share. A removed piece has size 0.
struct share_description {
    share_index index;
    policy_id policy;
    std::uint32_t side_size = 0;
    std::vector<std::uint32_t> piece_sizes;
    bool operator==(const share_description&) const = default;
};

/// Pieces of a chunk to forget, with the ranges of its side that belong to them. Removing the last piece removes the
/// chunk; `pieces` empty means the whole chunk.
struct share_removal {
    chunk_id chunk;
    std::vector<std::uint32_t> pieces;
    std::vector<share_range> side_ranges;  // part = side_part in each; overwritten with zeros
};

/// One journal record's share. Records are numbered 1, 2, ... ; (epoch, sequence) never names two contents.
struct journal_entry {
    std::uint64_t sequence = 0;
    ballot epoch;                  // of the writer that first appended it
    std::vector<chunk_id> chunks;  // chunks that must be here for this record to count
    slice share;
};

struct append_request {
    ballot authority;
    journal_entry entry;
    /// The entry starts the journal anew: everything before it is dropped in the same atomic step (learners, restore).
    bool restart = false;
};

struct journal_span {
    std::uint64_t first = 0;  // 0, 0 when empty
    std::uint64_t last = 0;
    ballot last_epoch;
    bool operator==(const journal_span&) const = default;
};

/// Who writes: enough for a newcomer on the same machine to see that the process is dead.
struct writer_identity {
    std::string machine;  // /etc/machine-id or the host name
    std::string boot;     // /proc/sys/kernel/random/boot_id
    std::uint64_t pid = 0;
    std::uint64_t start = 0;  // process start time, /proc/PID/stat field 22
    bool operator==(const writer_identity&) const = default;
};

struct heartbeat_state {
    ballot authority;
    writer_identity writer;
    std::uint32_t age_ms = 0;  // since the store heard it
};

struct store_state {
    incarnation_id incarnation;
    ballot promised;
    journal_span journal;
    std::uint64_t capacity = 0;  // bytes
    std::uint64_t free = 0;      // bytes, reservations taken off
    std::optional<heartbeat_state> heartbeat;
};

class share_store {
  public:
    virtual ~share_store() = default;

    virtual task<store_state> state() = 0;

    /// Sets aside room for `size` more bytes of shares; puts through this instance draw on it. Volatile; dropped with
    /// the instance. Errors: no_space.
    virtual task<> reserve(ballot authority, std::uint64_t size) = 0;

    /// Stores a share. A second put of the same chunk with the same bytes succeeds; other bytes: conflict.
    /// Errors: no_space, stale_epoch, conflict, too_large, bad_argument.
    virtual task<> put(share_put share) = 0;

    /// The bytes of each range, in order. Errors: not_found (chunk or removed piece), bad_argument (outside of a part),
    /// bad_checksum (the medium changed them: never returned as data).
    virtual task<std::vector<slice>> get(chunk_id chunk, std::vector<share_range> ranges) = 0;

    virtual task<share_description> describe(chunk_id chunk) = 0;

    /// Forgets and erases; unknown chunks and pieces already gone are no error (a repeat is harmless).
    virtual task<> remove(ballot authority, std::vector<share_removal> removals) = 0;

    /// Chunk ids greater than `after`, ascending, at most `count` (<= list_count_max).
    virtual task<std::vector<chunk_id>> list(chunk_id after, std::uint32_t count) = 0;

    /// Adds a record and makes it, and every put answered before, durable with one flush.
    /// sequence = last + 1: added. sequence <= last: the same (epoch, sequence) with the same bytes succeeds and
    /// changes nothing, with other bytes it is a conflict; another epoch there: an authority greater than that record's
    /// epoch replaces the record and drops all after it (a recovering writer decides what the tail was), any other
    /// authority is stale_epoch. sequence > last + 1 without restart: conflict. A named chunk that is not here:
    /// not_found.
    virtual task<> append(append_request request) = 0;

    /// Records from `from` on, ascending, as many as fit in about `size_max` bytes but at least one if there is one.
    virtual task<std::vector<journal_entry>> read_journal(std::uint64_t from, std::uint32_t size_max) = 0;

    /// Drops records before `first`. Durable with the next flush.
    virtual task<> cut_journal(ballot authority, std::uint64_t first) = 0;

    /// Promises never again to accept an authority below `b`; durable when it returns. Equal succeeds.
    /// Errors: stale_epoch (a greater one is promised; state() tells which).
    virtual task<> promise(ballot b) = 0;

    virtual task<> heartbeat(ballot authority, writer_identity writer) = 0;

    /// Keeps these chunks readable for `ttl_ms` even if they are removed meanwhile. At most pin_count_max at once.
    virtual task<> pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) = 0;

    /// Makes every put and remove answered before durable.
    virtual task<> sync() = 0;
};

}  // namespace warifu
