#pragma once
// What is in a store, in memory: volumes, where each share lies, the journals. It is a function of the log: replay
// applies the log's entries, and a running store applies the same entries as it logs them. About 220 bytes per share.

#include <map>
#include <memory>
#include <optional>

#include "backends/block/log_format.h"
#include "backends/block/share_head.h"
#include "fs/async/wait.h"
#include "fs/base/clock.h"

namespace warifu {

/// Where a share lies. Readers and pins hold it; its sectors are erased only when nobody does any more.
struct placed_share {
    std::uint64_t born = 0;  // serial of the commit that brought it; 0: found at open
    std::uint32_t generation = 0;
    std::uint32_t head_checksum = 0;
    std::uint32_t head_sectors = 0;
    bool head_was_used = false;  // since the cache looked last
    extent_list extents;
    std::shared_ptr<const share_head> head;   // while the cache keeps it
    std::shared_ptr<event> arrival;           // until its bytes are on the device: set when they are
    std::shared_ptr<placed_share> successor;  // a revision shares sectors: who holds the old one holds the new one too
};

struct stored_record {
    std::uint64_t born = 0;
    ballot epoch;
    std::uint32_t blob_size = 0;
    std::uint32_t blob_checksum = 0;
    std::shared_ptr<const byte_vector> blob;  // null: in extents
    extent_list extents;
};

struct pinned_share {
    deadline until;
    std::shared_ptr<placed_share> share;
};

struct volume_state {
    volume_id id;
    volume_number number = 0;
    bool is_logged = false;
    ballot promised;          // fences from the moment it is asked for
    ballot promised_durable;  // what is told
    std::map<chunk_id, std::shared_ptr<placed_share>> chunks;
    std::map<std::uint64_t, stored_record> journal;
    std::uint64_t visible_last = 0;  // records up to here are durable; later ones are on their way

    // Forgotten by a crash
    std::map<chunk_id, pinned_share> pins;
    std::optional<heartbeat_state> heartbeat;
    steady_clock::time_point heartbeat_at;

    journal_span span() const;          // with what is on its way
    journal_span visible_span() const;  // durable only
};

class store_index {
  public:
    /// The volume, made when it is unknown. Errors: busy (too many volumes).
    result<std::shared_ptr<volume_state>> open(volume_id id);
    const std::map<volume_id, std::shared_ptr<volume_state>>& volumes() const { return volumes_; }
    std::shared_ptr<volume_state> by_number(volume_number number) const;

    /// Null when there was none.
    std::shared_ptr<placed_share> set_share(volume_state& volume, chunk_id chunk, std::shared_ptr<placed_share> share);
    std::shared_ptr<placed_share> remove_share(volume_state& volume, chunk_id chunk);
    /// Both return the records that went and lie in extents.
    std::vector<stored_record> set_record(volume_state& volume, record_entry entry, std::uint64_t born = 0);
    std::vector<stored_record> cut(volume_state& volume, std::uint64_t first);

    /// Replays one entry. Errors: bad_format (an entry that cannot follow what came before).
    result<void> apply(log_entry entry);

    /// The whole index as entries, in parts of at most `part_size_max` bytes.
    std::vector<byte_vector> snapshot(std::uint64_t zeroed_end, std::size_t part_size_max) const;
    std::uint64_t snapshot_size() const { return snapshot_size_; }
    /// Every extent in use.
    extent_list used() const;
    std::uint64_t chunk_count() const { return chunk_count_; }
    std::uint64_t inline_size() const { return inline_size_; }

    /// Replay only: the zeroed end that the log told last, or 0.
    std::uint64_t zeroed_end() const { return zeroed_end_; }

  private:
    std::vector<stored_record> drop_records(volume_state& volume,
                                            std::map<std::uint64_t, stored_record>::iterator first,
                                            std::map<std::uint64_t, stored_record>::iterator last);
    result<void> apply_record(record_entry entry);
    result<std::shared_ptr<volume_state>> known(volume_number number) const;

    std::map<volume_id, std::shared_ptr<volume_state>> volumes_;
    std::vector<std::shared_ptr<volume_state>> by_number_;
    std::uint64_t chunk_count_ = 0;
    std::uint64_t inline_size_ = 0;
    std::uint64_t snapshot_size_ = 0;
    std::uint64_t zeroed_end_ = 0;
};

share_entry entry_of(volume_number volume, chunk_id chunk, const placed_share& share);
record_entry entry_of(volume_number volume, std::uint64_t sequence, const stored_record& record);

}  // namespace warifu
