#pragma once
// Appends journal records: the only commit point. A record counts when it is durable at every member of the current
// view; a member that cannot take it is dropped, and then a further record with the smaller view must be durable at the
// rest first.
//
// Core thread only. One append at a time: REQUIRES the caller to hold commit_lock().

#include "fs/volume/chunk_io.h"
#include "fs/volume/membership.h"
#include "fs/volume/record_codec.h"

namespace warifu {

class journal_writer {
  public:
    /// `committed`: the last record that is durable at its whole view for certain; the rest up to `head` is once the
    /// first record of this writer is.
    journal_writer(membership& members, const record_codec& codec, chunk_io& chunks, std::uint64_t head,
                   std::uint64_t committed);

    async_mutex& commit_lock() { return commit_lock_; }

    /// Appends the record, naming `chunks`. `restart_at`: this learner drops its old journal and begins with this
    /// record. Errors: read_only, stale_epoch (as read_only with the reason), cancelled.
    task<> append(journal_record record, std::vector<chunk_id> chunks, std::optional<share_index> restart_at = {});

    /// Gives a site the records it lacks, bit for bit (recovery of the tail).
    task<> copy_entry(share_index site, journal_entry entry, bool restart);

    /// Tells every member that records before `first` are not needed any more. A site that misses it is told next time.
    awaitable<void> cut(std::uint64_t first);

    std::uint64_t last_sequence() const { return last_; }
    std::uint64_t committed() const { return committed_; }
    std::uint64_t bytes_since_snapshot() const { return bytes_since_snapshot_; }
    std::uint64_t bytes_total() const { return bytes_total_; }
    void snapshot_written() { bytes_since_snapshot_ = 0; }
    /// What earlier writers appended since the snapshot that the journal begins with.
    void found(std::uint64_t bytes) { bytes_since_snapshot_ += bytes; }

  private:
    awaitable<void> send(journal_entry entry_without_share, std::vector<slice> shares,
                         std::optional<share_index> restart_at);
    task<> send_to(share_index site, append_request request);
    task<> send_to_member(share_index site, append_request request);

    membership& members_;
    const record_codec& codec_;
    chunk_io& chunks_;
    async_mutex commit_lock_;
    std::unique_ptr<random_source> random_;  // for the record in work
    std::uint64_t last_;
    std::uint64_t committed_;
    std::uint64_t bytes_since_snapshot_ = 0;
    std::uint64_t bytes_total_ = 0;
};

}  // namespace warifu
