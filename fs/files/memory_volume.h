#pragma once
// A volume without sites, for tests of fs/files and fs/mount and for profiling them alone: the real namespace on
// RocksDB in memory, chunks in a map. A crash loses what no commit covered. Delays, errors and gates can be set from
// any thread.

#include <map>
#include <memory>
#include <unordered_set>

#include "fs/volume/volume.h"

namespace rocksdb {
class Env;
}

namespace warifu {

/// What survives a crash, and the knobs. Shared by the volumes opened one after the other.
class memory_sites {
  public:
    std::atomic<std::uint32_t> put_delay_ms = 0, commit_delay_ms = 0, read_delay_ms = 0;
    std::atomic<std::uint64_t> capacity = 64ULL << 30U;
    std::atomic<bool> hold_puts = false;  // puts wait
    std::atomic<bool> hold_commits = false;
    std::atomic<bool> discard = false;  // puts keep nothing; reads return zeros

    void fail_puts(std::optional<error> why);
    void fail_commits(std::optional<error> why);
    void fail_reads(std::optional<error> why);

    // Counters.
    std::atomic<std::uint64_t> puts = 0, commits = 0, reads = 0, bytes_put = 0, bytes_read = 0;
    std::size_t durable_chunks() const;
    std::size_t durable_records() const;
    /// A copy of the state after the first `records` commits: what a crash at that moment would have left.
    std::shared_ptr<memory_sites> as_of(std::size_t records) const;

  private:
    friend class memory_volume;
    using pieces = std::vector<slice>;
    std::optional<error> put_error() const;
    std::optional<error> commit_error() const;
    std::optional<error> read_error() const;

    mutable std::mutex mutex_;
    std::optional<error> put_error_, commit_error_, read_error_;
    struct record {
        std::vector<std::string> batches;
        std::vector<chunk_id> chunks;
    };
    std::vector<record> records_;         // in commit order
    std::map<chunk_id, pieces> durable_;  // chunks named by a record
    std::uint64_t epochs_ = 0;
};

class memory_volume final : public volume {
  public:
    /// Opens what `sites` hold; an empty namespace when they hold nothing. 2-of-3.
    explicit memory_volume(std::shared_ptr<memory_sites> sites);
    ~memory_volume() override;

    name_space& names() override { return *names_; }
    std::mutex& names_lock() override { return names_lock_; }
    const scheme& sharing() const override { return shape_; }
    std::uint16_t placement() const override { return 0; }
    std::size_t chunk_size() const override { return shape_.chunk_units_max() * shape_.unit_size(); }
    std::uint32_t unit_count(std::uint32_t size) const override;
    chunk_id allocate_chunk() override;
    volume_status status() const override;
    std::uint64_t capacity_bytes() const override { return sites_->capacity; }
    std::uint64_t free_bytes() const override;
    result<void> check_writable() const override;
    std::unique_ptr<captured_edits> capture() override;
    std::unique_ptr<captured_edits> give_back(std::unique_ptr<captured_edits> edits) override;
    task<> put_chunk(chunk_id id, std::vector<slice> pieces, std::function<void()> on_its_way) override;
    task<slice> read(extent where, std::uint32_t offset, std::uint32_t size) override;
    task<> commit(std::unique_ptr<captured_edits> edits, std::vector<chunk_id> chunks) override;
    void set_commit_wanted(std::function<void()> ask) override { ask_commit_ = std::move(ask); }
    task<> close() override;

    /// As a volume asks for a commit of its own. Core thread.
    void want_commit() { ask_commit_(); }
    /// The first extent of this file whose bytes a crash now would lose, or nothing. For tests: any thread but the core
    /// thread.
    std::optional<extent> first_missing(inode_number number) const;

  private:
    const std::shared_ptr<memory_sites> sites_;
    const scheme shape_;
    const ballot epoch_;
    std::unique_ptr<rocksdb::Env> env_;
    class recording_db;
    std::unique_ptr<recording_db> db_;
    std::unique_ptr<name_space> names_;
    std::mutex names_lock_;
    std::atomic<std::uint64_t> next_chunk_ = 1;
    std::function<void()> ask_commit_;
    std::vector<std::string> carried_;                   // guarded by names_lock_: given back
    std::map<chunk_id, memory_sites::pieces> volatile_;  // put, not committed; guarded by sites_->mutex_
    mutable std::mutex failure_mutex_;
    std::optional<error> failure_;  // guarded by failure_mutex_: a commit failed
};

}  // namespace warifu
