#include "fs/volume/metadata_db.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/file_system.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/stackable_db.h>
#include <thread>

#include "fs/base/limits.h"
#include "fs/volume/metadata_file_system.h"

namespace warifu {
namespace {

constexpr int write_buffer_count = 3;
constexpr std::size_t write_buffer_size_min = 1U << 20U;
constexpr std::size_t write_buffer_size_max = 8U << 20U;
constexpr std::size_t cache_shard_size_min = 8U << 20U;
constexpr std::size_t table_size_target = 8U << 20U;
constexpr std::size_t manifest_size_max = 4U << 20U;

constexpr auto retry_interval = std::chrono::seconds(1);

/// Remembers the background error that RocksDB is in, and leads it out again. Any thread.
class error_watch final : public rocksdb::EventListener {
  public:
    void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/, rocksdb::Status* status) override {
        const std::lock_guard lock(mutex_);
        current_ = error(errc::io_error, status->ToString());
        ++errors_;
        for_good_ = status->severity() >= rocksdb::Status::Severity::kFatalError;
        changed_.notify_all();
    }
    std::optional<error> current() const {
        const std::lock_guard lock(mutex_);
        return current_;
    }
    /// Clears the error and flushes: done when that works. One at a time; blocks.
    result<void> resume(rocksdb::DB& db) {
        const std::lock_guard one(resume_mutex_);
        {
            const std::lock_guard lock(mutex_);
            if (!current_) return {};
            if (for_good_) return fail(*current_);
        }
        if (const auto status = db.GetRootDB()->Resume(); !status.ok()) return fail(errc::io_error, status.ToString());
        const std::uint64_t before = error_count();
        rocksdb::FlushOptions options;
        options.allow_write_stall = true;
        // A soft error is cleared without a new try: this is the try.
        if (const auto status = db.Flush(options); !status.ok()) return fail(errc::io_error, status.ToString());
        const std::lock_guard lock(mutex_);
        if (errors_ != before) return fail(*current_);
        current_.reset();
        return {};
    }

    /// Resumes every second while there is an error that may pass, until stop().
    void run(rocksdb::DB& db) {
        std::unique_lock lock(mutex_);
        while (true) {
            changed_.wait(lock, [this] { return stopped_ || (current_ && !for_good_); });
            if (changed_.wait_for(lock, retry_interval, [this] { return stopped_; })) return;
            lock.unlock();
            (void)resume(db);  // a failure is an error again, and stays to be seen
            lock.lock();
        }
    }
    void stop() {
        const std::lock_guard lock(mutex_);
        stopped_ = true;
        changed_.notify_all();
    }

  private:
    std::uint64_t error_count() const {
        const std::lock_guard lock(mutex_);
        return errors_;
    }

    std::mutex resume_mutex_;   // before mutex_
    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::optional<error> current_;
    std::uint64_t errors_ = 0;
    bool for_good_ = false;
    bool stopped_ = false;
};

/// A database whose background errors are retried by a thread of ours. (RocksDB's own thread for that can leave a
/// database of 7.8 that never finishes closing: facebook/rocksdb issue 11440.)
class retried_db final : public rocksdb::StackableDB {
  public:
    retried_db(rocksdb::DB* db, std::shared_ptr<error_watch> watch)
        : StackableDB(db), watch_(std::move(watch)), thread_([this] { watch_->run(*GetBaseDB()); }) {}
    ~retried_db() override {
        watch_->stop();
        thread_.join();
    }

  private:
    std::shared_ptr<error_watch> watch_;
    std::thread thread_;
};

std::shared_ptr<error_watch> watch_of(const rocksdb::DBOptions& options) {
    for (const auto& listener : options.listeners) {
        if (auto watch = std::dynamic_pointer_cast<error_watch>(listener)) return watch;
    }
    return nullptr;
}

rocksdb::CompressionType compression() {
    const auto supported = rocksdb::GetSupportedCompressions();
    return std::ranges::find(supported, rocksdb::kLZ4Compression) != supported.end() ? rocksdb::kLZ4Compression
                                                                                     : rocksdb::kNoCompression;
}

std::shared_ptr<rocksdb::Cache> make_block_cache(std::size_t size) {
    // Strict: pinned blocks cannot push it over its bound. A shard must then hold all that its readers pin at one time.
    int shard_bits = 0;
    while (shard_bits < 4 && (size >> (shard_bits + 1)) >= cache_shard_size_min) ++shard_bits;
    return rocksdb::NewLRUCache(size, shard_bits, true, 0.2);
}

rocksdb::BlockBasedTableOptions table_options(std::shared_ptr<rocksdb::Cache> cache) {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = std::move(cache);
    table.cache_index_and_filter_blocks = true;
    table.cache_index_and_filter_blocks_with_high_priority = true;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    table.optimize_filters_for_memory = true;
    table.block_size = 8U << 10U;
    table.format_version = 5;
    return table;
}

}  // namespace

rocksdb::Options metadata_db_options(metadata_files& files, std::size_t memory, metadata_db_mode mode) {
    memory = std::max(memory, metadata_memory_min);
    rocksdb::Options options;
    options.env = files.env();
    options.info_log = make_null_logger();
    options.listeners.push_back(std::make_shared<error_watch>());
    options.max_bgerror_resume_count = 0;  // retried_db does it
    options.create_if_missing = mode == metadata_db_mode::create;
    options.error_if_exists = mode == metadata_db_mode::create;
    options.paranoid_checks = true;
    options.manual_wal_flush = true;
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;

    // Each write buffer's log is in memory too, so a buffer counts twice.
    options.write_buffer_size = std::clamp(memory / 16, write_buffer_size_min, write_buffer_size_max);
    options.max_write_buffer_number = write_buffer_count;
    options.memtable_whole_key_filtering = true;  // most lookups before a creation find nothing
    options.memtable_prefix_bloom_size_ratio = 0.02;
    const std::size_t buffers = 2 * write_buffer_count * options.write_buffer_size;
    auto cache = files.block_cache([&] { return make_block_cache(memory - buffers); });
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table_options(std::move(cache))));

    options.compression = compression();
    options.target_file_size_base = table_size_target;
    options.max_bytes_for_level_base = 4 * options.write_buffer_size;
    options.level_compaction_dynamic_level_bytes = true;
    options.max_manifest_file_size = manifest_size_max;  // it is kept in memory and copied into every snapshot
    options.max_background_jobs = 2;
    options.max_open_files = -1;  // a follower must keep what it has open; tables are few
    options.max_file_opening_threads = 4;
    options.skip_stats_update_on_db_open = true;  // opening reads only what it needs
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    return options;
}

result<std::unique_ptr<rocksdb::DB>> open_metadata_db(metadata_files& files, std::size_t memory,
                                                      metadata_db_mode mode) {
    const auto options = metadata_db_options(files, memory, mode);
    const std::string path = metadata_files::root_directory();
    const bool there = files.file_system()->FileExists(path + "/CURRENT", {}, nullptr).ok();
    if (mode == metadata_db_mode::create && there) return fail(errc::exists, "there is a metadata database already");
    if (mode != metadata_db_mode::create && !there) return fail(errc::not_found, "there is no metadata database");
    rocksdb::DB* db = nullptr;
    rocksdb::Status status;
    switch (mode) {
        case metadata_db_mode::create:
        case metadata_db_mode::write:
            status = rocksdb::DB::Open(options, path, &db);
            break;
        case metadata_db_mode::read_only:
            status = rocksdb::DB::OpenForReadOnly(options, path, &db);
            break;
    }
    if (!status.ok()) return fail(errc::io_error, "cannot open the metadata: " + status.ToString());
    if (mode == metadata_db_mode::read_only) return std::unique_ptr<rocksdb::DB>(db);
    return std::make_unique<retried_db>(db, watch_of(options));
}

std::optional<error> metadata_db_error(rocksdb::DB& db) {
    const auto watch = watch_of(db.GetDBOptions());
    return watch == nullptr ? std::nullopt : watch->current();
}

result<void> resume_metadata_db(rocksdb::DB& db) {
    const auto watch = watch_of(db.GetDBOptions());
    return watch == nullptr ? result<void>() : watch->resume(db);
}

}  // namespace warifu
