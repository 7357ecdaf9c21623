#pragma once
// One volume, open: the namespace, chunks of file data, and commits, over the share stores of its sites. Below it are
// the journal, ballots and views (fs/volume/README.md); above it fs/files turns POSIX calls into the calls here.
//
// The order of a write: allocate_chunk() and an extent in the namespace first (so that history is ordered by the
// namespace lock), put_chunk() of the bytes in any order, then commit(capture(), chunks): when that returns, everything
// that the namespace held at capture() is durable at every member of the current view.
//
// Threads: every method says which. The core thread is the io_context's; it never waits for RocksDB. Methods marked
// "any thread" may be called from FUSE threads and workers, not from the core thread when they are marked "blocks".

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backends/share_store.h"
#include "fs/async/asio.h"
#include "fs/base/random.h"
#include "fs/metadata/name_space.h"
#include "fs/sharing/scheme.h"
#include "fs/volume/membership.h"
#include "keyd/random_supply.h"

namespace warifu {

/// A site of the volume as this process reaches it. Sites are listed in the volume's order: position = share index.
struct volume_site {
    std::string name;
    std::shared_ptr<share_store> store;  // null: not to be used in this run (restore --from)
};

enum class open_mode : std::uint8_t { read_only, write };

struct volume_options {
    volume_id id;
    unsigned threshold = 2;          // k
    std::vector<volume_site> sites;  // n of them
    open_mode mode = open_mode::write;
    bool takeover = false;  // displace a live writer
    bool follow = false;    // read-only: take over what the writer commits
    /// A reader shows the newest state that the sites give back, also while a writer lives whose crash could take the
    /// last record back. False: only what is committed for certain.
    bool newest = false;
    std::uint32_t writer_wait_ms =
        warifu::writer_wait_ms;                 // how long to wait for a writer of this machine that is leaving
    std::size_t memory_size = 128U << 20U;  // for RocksDB and table pieces, bytes; three quarters more for shares on
                                            // their way, and as much for those that wait for their commit
    std::shared_ptr<random_supply> randomness;  // of shares; null: drbg
    claim pad_claim = claim::simulated;         // the weakest of the links in use
    std::uint32_t removal_delay_ms = warifu::removal_delay_ms;   // followers may read that long what a commit freed
    std::uint32_t root_uid = 0, root_gid = 0, root_mode = 0755;  // of a new volume
    unsigned worker_count = 2;                                   // threads that split and reconstruct
    std::function<std::uint64_t()> draw_nonce = kernel_random_u64;  // of ballots; a simulation brings its own
};

/// In the reason of a reader's status: sites are missing, nobody writes, and what was committed last cannot be known.
inline constexpr std::string_view unsure_reason = "the last change may not have been committed";

struct volume_status {
    volume_id id;
    unsigned threshold = 0, site_count = 0;
    ballot epoch;
    std::uint64_t sequence = 0;  // of the last committed record
    bool writable = false;
    std::string reason;  // why it is not writable; empty otherwise
    claim strength = claim::computational;
    struct site {
        std::string name;
        site_role role = site_role::down;
        bool in_view = false;  // a commit needs it, also while nothing is heard of it
        std::uint64_t capacity = 0, free = 0;
        std::uint64_t heal_done = 0, heal_total = 0;  // chunks, while a learner is healed
        std::string reason;
    };
    std::vector<site> sites;
    std::uint64_t user_bytes = 0;  // secret bytes referred to by files
    std::uint64_t random_bytes = 0, journal_bytes = 0, snapshots = 0;
};

/// Edits of the namespace taken at one instant (see capture()). Each volume derives its own, so that callers can hold
/// one without knowing what is in it.
class captured_edits {
  public:
    captured_edits() = default;
    captured_edits(const captured_edits&) = delete;
    captured_edits& operator=(const captured_edits&) = delete;
    virtual ~captured_edits() = default;
};

class volume {
  public:
    virtual ~volume() = default;

    /// Makes the volume at all n sites: first record, empty namespace. exists when a site already has records of this
    /// volume. Core thread.
    static task<> create(asio::io_context& core, volume_options options);

    /// Opens it: for writing with promises, recovery of the journal's tail and a new epoch; read-only from any k sites.
    /// Errors: missing_shares (names the sites), busy (a live writer, names machine and pid), disputed, denied,
    /// bad_argument (not this volume). Core thread.
    static task<std::unique_ptr<volume>> open(asio::io_context& core, volume_options options);

    // ---- any thread ----
    virtual name_space& names() = 0;
    /// Serialises mutations of the namespace. Held for memory-speed work only: read what you need once without it
    /// first, so that RocksDB has the records cached.
    virtual std::mutex& names_lock() = 0;
    virtual const scheme& sharing() const = 0;
    virtual std::uint16_t placement() const = 0;  // what new extents carry
    /// The secret bytes that one chunk may hold.
    virtual std::size_t chunk_size() const = 0;
    /// Sharing units that a piece of `size` secret bytes takes (extent::first_unit counts them).
    virtual std::uint32_t unit_count(std::uint32_t size) const = 0;
    virtual chunk_id allocate_chunk() = 0;
    virtual volume_status status() const = 0;
    /// What is still free for users: capacity and room for new files, secret bytes, least over the view.
    virtual std::uint64_t capacity_bytes() const = 0;
    virtual std::uint64_t free_bytes() const = 0;
    /// Empty when writes are accepted, else the error every write gets.
    virtual result<void> check_writable() const = 0;
    /// Takes every edit that the namespace made so far. REQUIRES names_lock() held. Blocks for memory-speed work only.
    virtual std::unique_ptr<captured_edits> capture() = 0;
    /// Takes back edits whose commit was not tried because a put that they need failed: the next capture() starts with
    /// them, so that they and the edits that mend them become durable in one record. REQUIRES names_lock() held and no
    /// capture() since. Returns the edits when the volume cannot take them (the caller then never commits again), null
    /// when it did.
    virtual std::unique_ptr<captured_edits> give_back(std::unique_ptr<captured_edits> edits) { return edits; }

    // ---- core thread ----
    /// Splits `pieces` (secret bytes, 1 .. chunk_piece_count_max pieces, chunk_size() bytes at most together) on a
    /// worker and puts the shares at every member of the view (learners too, without waiting). Returns when the members
    /// have them, not yet durably. A silent member is dropped from the view rather than waited for. Errors: no_space,
    /// no_key, read_only, stale_epoch. May call `on_its_way` before: from then on a commit may name the chunk, because
    /// the members get it before the record; should it fail nevertheless, so does that commit.
    virtual task<> put_chunk(chunk_id id, std::vector<slice> pieces, std::function<void()> on_its_way = {}) = 0;

    /// Secret bytes [offset, offset + size) of the piece that `where` names (offset counts from the piece's start),
    /// verified. Errors: missing_shares, bad_tag (no k good shares), timed_out.
    virtual task<slice> read(extent where, std::uint32_t offset, std::uint32_t size) = 0;

    /// Appends the edits, naming `chunks` (those put since the last commit), and returns when they are durable at every
    /// member of the view. One at a time. After an error the volume is read-only and keeps saying why.
    virtual task<> commit(std::unique_ptr<captured_edits> edits, std::vector<chunk_id> chunks) = 0;

    /// The volume calls `ask` (core thread) when it needs a commit although nothing may have changed (a snapshot for a
    /// returning site): the owner then captures and commits soon. Set once, on the
    /// core thread.
    virtual void set_commit_wanted(std::function<void()> ask) = 0;

    /// A connection to a site came or went: look at the sites now rather than at the next heartbeat.
    virtual void site_changed() {}

    /// Stops background work (heal, reaper, heartbeat) and closes RocksDB. What was not committed is lost: commit
    /// first.
    virtual task<> close() = 0;
};

}  // namespace warifu
