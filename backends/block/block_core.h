#pragma once
// The machinery of a sector store: one device, one index, one log, any number of volumes. Private to backends/block;
// users see block_store.h.
//
// Thread: one core thread. Coroutines hold a shared_ptr to the core, so it lives until the last of them is done.
//
// How a change becomes durable: its bytes are written to free sectors; its entry joins the pending batch, before that
// when they are few and after it when they are many; a commit writes the batch to the log and, when both are written,
// flushes the device once. Everything that waits shares the flush. Sectors that a change frees are erased only after
// its batch is durable, and given out only after they were erased.

#include <list>
#include <unordered_map>

#include "backends/block/block_store.h"
#include "backends/block/space.h"
#include "backends/block/store_index.h"
#include "backends/block/store_log.h"
#include "fs/async/wait.h"

namespace warifu {

using volume_ptr = std::shared_ptr<volume_state>;
using placed_ptr = std::shared_ptr<placed_share>;

/// Sectors that wait for readers and pins of `share` to be done; null: for nobody.
struct dying_extents {
    placed_ptr share;
    extent_list extents;
};

/// What an allocation may use: shares what is free and not reserved; records and removes also what is reserved and a
/// part of the log's room, so that they work in a full store.
enum class room : std::uint8_t { share, record, remove };

/// A lock that keeps its mutex alive.
struct held_lock {
    std::shared_ptr<async_mutex> mutex;
    async_mutex::guard guard;
};

/// Entries that one commit makes durable together, and what happens then.
struct commit_batch {
    commit_batch(const asio::any_io_executor& executor, std::uint64_t number)
        : serial(number), written(executor), done(executor) {}

    struct appended {
        volume_ptr volume;
        std::uint64_t sequence;
        ballot epoch;
    };
    struct promised {
        volume_ptr volume;
        ballot value;
    };

    std::uint64_t serial;
    std::vector<byte_vector> parts;  // encoded entries, each part one log batch
    std::size_t size = 0;
    std::vector<appended> records;
    std::vector<promised> promises;
    std::vector<dying_extents> freed;
    std::vector<dying_extents> freed_later;  // by this batch what this batch brought: see block_core::drop
    std::size_t writes = 0;                  // of shares that its entries name, under way
    bool requested = false;
    result<void> outcome;
    event written;  // when the last of them ends
    event done;
};
using batch_ptr = std::shared_ptr<commit_batch>;

class block_core : public std::enable_shared_from_this<block_core> {
  public:
    block_core(asio::any_io_executor executor, std::unique_ptr<device> disk, block_store_options options);

    // recovery.cc
    task<> recover();
    task<> rebuild();
    task<> close();
    /// The owner went away without close(): background work ends, answers under way still come.
    void stop();

    // commit.cc
    void log(const volume_ptr& volume, const log_entry& entry);
    void log_now(const log_entry& entry);
    batch_ptr pending() const { return pending_; }
    /// Frees `extents` once the pending batch is durable and nobody reads `share` (null: nobody does) any more. What
    /// the same batch brought stays until the next one is durable: recovery judges a last batch by the bytes that it
    /// names.
    void drop(placed_ptr share, extent_list extents);
    void drop_records(const std::vector<stored_record>& records);
    void request_commit();
    /// Waits until `batch` is durable.
    task<> wait_durable(batch_ptr batch);
    /// Waits until everything logged so far is durable.
    task<> barrier();
    task<> write_checkpoint();

    // space_care.cc
    task<extent_list> allocate(std::uint64_t sectors, room kind);
    /// Sets segments aside for the log, with an entry that comes, and for its checkpoints. False: there are fewer than
    /// `kind` asks for.
    bool fill_segment_pool(room kind);
    void free_unlogged(const extent_list& written);
    void collect_dying();
    void kick_eraser();
    std::uint64_t promised_free();    // sectors, reservations not taken off
    std::uint64_t capacity() const;   // sectors

    // share_io.cc
    task<std::shared_ptr<const share_head>> load_head(volume_ptr volume, chunk_id chunk, placed_ptr share);
    task<std::vector<slice>> read_ranges(placed_ptr share, std::shared_ptr<const share_head> head,
                                         std::vector<share_range> ranges);
    share_head head_for(const volume_state& volume, const share_put& put, std::uint32_t generation) const;
    /// A share with sectors set aside and nothing written to them.
    struct unwritten_share {
        placed_ptr placed;
        std::vector<slice> pieces;
        buffer head, bounce;
        std::vector<sector_output> list;
    };
    task<unwritten_share> place_share(share_head head, std::vector<slice> pieces, room kind);
    task<placed_ptr> write_share(share_head head, std::vector<slice> pieces, room kind);
    /// Writes what the pending batch already names: its commit writes the log meanwhile, and waits before it flushes.
    /// A failed write is a failure of the store.
    task<> write_logged(unwritten_share share);
    /// Null when the result would lie in too many runs.
    task<placed_ptr> write_revision(volume_ptr volume, chunk_id chunk, placed_ptr old, share_removal removal);
    /// Reads everything and verifies it against its checksums. Errors: bad_checksum, io_error.
    task<> verify_share(volume_ptr volume, chunk_id chunk, placed_ptr share);
    /// Looks after pins that run out at `until`.
    void watch_pins(deadline until);
    task<> write_new(std::vector<sector_output> list, extent_list place);
    placed_ptr placed_from(share_head head, const encoded_head& encoded);
    void trim(extent_list& extents, const std::function<std::uint64_t(std::size_t)>& size_of);
    void keep_head(const placed_ptr& share, std::shared_ptr<const share_head> head);

    // record_io.cc
    task<byte_vector> load_blob(stored_record record);
    task<extent_list> write_blob(byte_vector blob);

    awaitable<held_lock> lock_chunk(volume_ptr volume, chunk_id chunk);
    awaitable<held_lock> lock_journal(volume_ptr volume);

    bool is_closing() const { return closing_; }
    result<void> check_working() const;
    void fail_store(const error& cause);
    void count_media_error() { ++media_errors_; }
    block_store_status status();

    store_index& index() { return index_; }
    const superblock& block() const { return block_; }
    std::uint64_t reserved = 0;  // bytes, by all open volumes

  private:
    struct lock_key {
        const volume_state* volume;
        chunk_id chunk;
        bool operator==(const lock_key&) const = default;
    };
    struct lock_key_hash {
        std::size_t operator()(const lock_key& key) const {
            return std::hash<chunk_id>()(key.chunk) ^ std::hash<const void*>()(key.volume);
        }
    };

    // commit.cc
    awaitable<void> commit_loop(std::shared_ptr<block_core> self);
    task<> commit(batch_ptr batch);
    task<> write_parts(const std::vector<byte_vector>& parts, bool flush_each);
    task<> flush_written();
    void finish(commit_batch& batch, bool good);
    task<> prepare_segment(std::size_t entry_bytes);
    task<std::uint64_t> take_segment();
    task<> write_superblock();

    // space_care.cc
    awaitable<void> erase_loop(std::shared_ptr<block_core> self);
    task<bool> erase_step();
    task<> erase_suspect(extent where);
    task<> open_raw(extent where);
    std::uint64_t free_with_log() const;
    bool has_room(std::uint64_t sectors, room kind) const;
    std::uint64_t user_free() const;
    task<> settle();
    bool wants_raw() const;
    std::optional<extent> take_raw();
    bool give_back_segment(room kind);
    std::uint64_t log_reserve(room kind) const;             // sectors
    std::uint64_t log_sectors() const;                      // sectors that the log has, in use and set aside
    std::uint64_t checkpoint_limit() const;                 // sectors of log
    extent_list used_extents() const;

    awaitable<held_lock> lock(const volume_state* volume, chunk_id chunk);

    // recovery.cc
    task<> read_superblock();
    task<> repair_superblock(std::vector<result<superblock>> copies);
    task<> replay();
    task<bool> apply_tail(decoded_batch batch);
    void keep_tail_extents(const extent_list& used);
    task<bool> tail_record_is_good(const record_entry& entry);
    task<> start_serving(bool must_rewrite);
    result<void> make_space();
    task<> scan_shares();
    task<> scan_run(bytes_view sectors, std::uint64_t first);
    task<> consider_head(bytes_view first_sector, std::uint64_t sector);

    void expire_pins();

    asio::any_io_executor executor_;
    std::unique_ptr<device> disk_;
    block_store_options options_;
    superblock block_;
    store_index index_;
    space space_;
    std::optional<log_writer> log_;
    std::vector<std::uint64_t> segment_pool_;  // clean segments kept for the log

    std::uint64_t next_serial_ = 1;
    batch_ptr pending_;
    batch_ptr writing_;
    bool committing_ = false;
    bool checkpoint_wanted_ = false;
    std::uint64_t zeroed_logged_ = 0;  // what the log says of the zeroed end
    std::vector<dying_extents> dying_;
    extent_list tail_extents_;  // recovery: what the last batch names

    std::uint64_t planned_chain_ = 0;     // sectors of the log with the batch under way
    std::uint64_t planned_snapshot_ = 0;  // segments of the checkpoint under way
    bool wants_run_ = false;  // more clean runs are needed than there are, however many clean sectors there are
    std::uint64_t retiring_sectors_ = 0;  // of the chain that a checkpoint under way replaces

    bool serving_ = false;
    bool stopped_ = false;
    bool closing_ = false;
    std::optional<error> failure_;
    bool erasing_ = false;
    event space_changed_;
    event eraser_idle_;

    struct cached_head {
        std::weak_ptr<placed_share> share;
        std::size_t size;
    };
    std::deque<cached_head> head_cache_;
    std::size_t head_cache_size_ = 0;
    asio::steady_timer pin_timer_;
    bool pin_timer_armed_ = false;
    std::unordered_map<lock_key, std::weak_ptr<async_mutex>, lock_key_hash> locks_;

    std::uint64_t media_errors_ = 0;
    std::uint64_t commit_count_ = 0;
    std::uint64_t checkpoint_count_ = 0;
    std::uint64_t dropped_records_ = 0;
};

}  // namespace warifu
