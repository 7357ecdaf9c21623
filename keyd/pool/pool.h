#pragma once
// One site's key store: blocks of pad and random bytes in files, and the ledger that says which of them are spent. The
// rules of contract S2 live here: a mark is durable before the bytes may be used, an id or a range is imported once, a
// swapped direction is refused, what a crash left open is burnt.
//
// The pool does the accounting and says where bytes lie; reading and erasing them (slow) are free functions for a
// worker thread. One owner, one thread; a lock on the directory keeps a second keyd out.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/buffer.h"
#include "fs/base/limits.h"
#include "keyd/pool/files.h"
#include "keyd/pool/ledger.h"
#include "keyd/pool/look_counter.h"
#include "keyd/pool/pad_file.h"
#include "keyd/pool/pool_state.h"

namespace warifu {

struct pool_options {
    std::string directory;         // holds ledger, lock, incoming/ and blocks/; created if it is not there
    std::string blocks_directory;  // "": DIRECTORY/blocks; may lie on a tmpfs while the ledger is on a disk
    std::string site;
    std::vector<std::string> peers;             // sites with a link to this one; empty: any
    std::uint64_t control_reserve = 1U << 20U;  // bytes of each outbound stream that only key_use::control may take
    std::uint64_t bulk_reserve = 0;             // more bytes that bulk leaves to interactive use
    std::uint64_t compact_above = ledger_size_before_compaction_min;  // bytes of the ledger
    bool keep_windows = false;  // pad windows that were out stay so when the pool opens, until the owner burns them
};

/// Where bytes lie.
struct byte_place {
    std::string path;
    std::uint64_t offset = 0;
};

/// A block that was checked and lies in a file that the pool can take by renaming. Made by stage_block.
struct staged_block {
    block_header header;
    std::string path;
};

/// Bytes to overwrite in one block's file, and whether the file goes afterwards.
struct erase_job {
    std::uint16_t stream = 0;
    std::uint64_t block = 0;  // its offset
    std::string path;
    std::vector<pad_range> ranges;  // absolute in the stream
    bool remove = false;
};

struct stream_status {
    stream_name name;
    std::uint64_t available = 0;  // unspent data bytes
    std::uint64_t held = 0;       // handed out, not released
    stream_totals totals;
    std::size_t blocks = 0;
    std::uint64_t hello_slots = 0;
    std::int64_t oldest_block_ns = 0;  // when the oldest block with unspent bytes was imported; 0: none
    std::uint64_t end = 0;             // end of the last range ever imported
};

/// Verifies the file of a delivery, copies it into `directory` if it lies in another file system, and makes it durable.
/// Worker thread. Errors name the file.
result<staged_block> stage_block(const pad_source::delivery& delivery, const std::string& directory);

/// Reads pad bytes. bad_checksum when a stretch is zero: the file has lost its content, and zeros are no key.
result<void> read_pad(const byte_place& place, bytes_span out);
/// bad_checksum when 64 bytes at the start of any 4 KiB are zero (2^-512 for key).
result<void> check_not_hollow(bytes_view bytes, const std::string& path);

result<void> run_erasure(const erase_job& job);

/// Bytes of a stream that are promised: to the consumer that claims, and to others.
struct pad_promises {
    std::uint64_t own = 0, others = 0;
};

class pool {
  public:
    /// Errors name the file: busy (another keyd runs on the directory), bad_checksum (the ledger is damaged), denied
    /// (it belongs to another site), conflict (blocks without a ledger: their bytes may have been used).
    static result<std::unique_ptr<pool>> open(pool_options options);
    ~pool();

    // Import
    /// Whether a block would be taken: exists (imported before, or its range was), conflict (known id in another place
    /// or the other direction), denied (not for this site, or an unknown peer), busy (no room for more blocks).
    result<void> admits(const block_header& header) const;
    /// Takes a staged block: durable when it returns.
    result<void> import(const staged_block& staged);

    // Windows. What claims mark is durable with the next flush(): only then may the bytes be used. What a refused claim
    // burns, skip_to, renounce and go_beyond is durable when they return; what gives back or burns needs no flush.
    /// no_key: not enough now. The window lies within one block. Data leaves alone what others are promised; what its
    /// own consumer is promised, it finds also when interactive use has come into the bulk reserve.
    result<pad_range> claim_send(const stream_name& stream, session_id session, std::uint64_t size_min,
                                 std::uint64_t size_want, key_use use, pad_promises promised = {});
    /// Unspent bytes in runs that a window may come from, counted until there are `enough`.
    std::uint64_t usable(const stream_name& stream, std::uint64_t enough) const;
    result<void> claim_receive(const stream_name& stream, session_id session, pad_range range);
    /// Random bytes: like a window that is used up at once (the caller erases after it has read). size <= 64 MiB; the
    /// ranges may lie in several blocks.
    result<std::vector<pad_range>> claim_random(std::uint64_t size, session_id session);
    /// io_error: nothing of the pool happens any more.
    result<void> flush();
    result<void> release(const stream_name& stream, pad_range window, std::uint64_t used_to);
    /// The window's holder is gone: all of it counts as used.
    result<void> burn(const stream_name& stream, pad_range window);
    result<std::uint64_t> next_free(const stream_name& stream, std::uint64_t from) const;
    result<void> skip_to(const stream_name& stream, std::uint64_t offset);
    /// This ledger is an older copy of one that had come to record `sequence`: what it calls unspent may have been
    /// used.
    /// Gives up, durably, all that this end would choose from by itself: random bytes and the outbound streams, hello
    /// slots included. (What comes in, the senders choose.) Returns the unspent bytes that are lost so. The ledger
    /// goes on behind `sequence`.
    result<std::uint64_t> renounce(std::uint64_t sequence);
    /// Ranges that will never be used any more: all that blocks ever covered, and what lies below `whole_below`,
    /// without what is unspent or out. Ascending, not touching, `most` at most, the lowest.
    std::vector<pad_range> gone(const stream_name& stream, std::uint64_t whole_below, std::size_t most) const;
    /// The stream's other end will never use these: burns what is unspent of them, hello regions where all of one is
    /// named. Returns the data bytes that are lost so. Durable with the next flush: forgotten, it is told again.
    result<std::uint64_t> give_up(const stream_name& stream, const std::vector<pad_range>& ranges);
    /// The ledger goes on behind `sequence`, and nothing else changes: another peer remembers even more of it.
    result<void> go_beyond(std::uint64_t sequence);

    // Hello slots, as in pad_broker.h
    result<hello_slot> take_hello_slot(const stream_name& stream);
    result<hello_slot> peek_hello_slot(const stream_name& stream, std::uint64_t offset);
    result<void> spend_hello_slot(const stream_name& stream, std::uint64_t offset);

    /// Where the bytes of a range of one block lie. not_found when the block is not here.
    result<byte_place> place_of(const stream_name& stream, pad_range range) const;

    // Erasure: what take_erasures returns is run by run_erasure and reported by `erased`.
    std::vector<erase_job> take_erasures();
    result<void> erased(const erase_job& job);
    /// The erasure failed: it is tried again with the block's next event or at the next start.
    void erase_failed(const erase_job& job);
    /// Runs and reports all that is due; for start, stop and tests.
    result<void> erase_now();

    // What there is
    std::uint64_t available(const stream_name& stream) const;
    /// The weakest claim of all that was ever imported; computational when nothing was.
    claim strength() const;
    std::vector<stream_status> status() const;
    std::uint64_t lost_bytes() const { return lost_bytes_; }  // of blocks whose files were gone at the start
    const pool_state& state() const { return state_; }
    const ledger& log() const { return log_; }
    /// The ledger's next record as it was found when the pool was opened; 1: a new one.
    std::uint64_t opened_sequence() const { return opened_sequence_; }
    const pool_options& options() const { return options_; }
    std::string incoming_directory() const { return options_.directory + "/incoming"; }
    const std::string& blocks_directory() const { return options_.blocks_directory; }

  private:
    pool(pool_options options, unique_fd lock, ledger log)
        : options_(std::move(options)), lock_(std::move(lock)), log_(std::move(log)) {}

    enum class role : std::uint8_t { send, receive, either };
    result<void> record(const ledger_record& event);          // append and apply; durable with the next flush
    result<void> record_durably(const ledger_record& event);  // append, flush, apply
    void compact_when_due();
    result<std::uint16_t> find(const stream_name& stream, role wanted) const;
    result<std::uint16_t> find_or_add(const stream_name& stream);
    void bound_stale_blocks(std::uint16_t stream, std::uint64_t current);
    result<hello_slot> read_hello_slot(const stream_name& stream, std::uint64_t offset) const;
    result<void> check_hello_place(const stream_state& stream, std::uint64_t offset) const;
    std::string block_path(const block_id& id) const;
    void touch(std::uint16_t stream, std::uint64_t offset);
    bool may_retire(const stream_state& stream, const block_state& block) const;
    std::optional<erase_job> make_erasure(std::uint16_t stream, std::uint64_t block);

    // Start
    result<void> recover();
    result<void> recover_block(std::uint16_t stream, const block_state& block);
    result<void> recover_strays();

    pool_options options_;
    unique_fd lock_;
    ledger log_;
    pool_state state_;
    std::uint64_t compacted_size_ = 0;
    std::uint64_t compact_retry_size_ = 0;  // of the ledger, when a compaction that failed is tried again
    std::uint64_t opened_sequence_ = 1;
    std::uint64_t lost_bytes_ = 0;
    look_counter looks_;
    std::set<std::pair<std::uint16_t, std::uint64_t>> touched_;  // blocks that may have something to erase
    std::set<std::pair<std::uint16_t, std::uint64_t>> erasing_;  // blocks with a job under way
};

}  // namespace warifu
