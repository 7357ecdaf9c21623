#include "fs/files/memory_volume.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/utilities/stackable_db.h>
#include <rocksdb/write_batch.h>

#include "fs/async/wait.h"
#include "fs/base/assert.h"
#include "fs/sharing/layout.h"

namespace warifu {
namespace {

class captured_batches_in_memory final : public captured_edits {
  public:
    std::vector<std::string> batches;
};

scheme two_of_three() {
    auto shape = scheme::make(2, 3);
    WARIFU_ASSERT(shape.has_value());
    return *shape;
}

awaitable<void> pause(std::uint32_t ms) {
    if (ms != 0) co_await sleep_for(std::chrono::milliseconds(ms));
}

}  // namespace

/// Keeps a copy of every batch for the next capture().
class memory_volume::recording_db final : public rocksdb::StackableDB {
  public:
    using StackableDB::StackableDB;
    rocksdb::Status Write(const rocksdb::WriteOptions& options, rocksdb::WriteBatch* batch) override {
        if (recording) fresh.push_back(batch->Data());
        return StackableDB::Write(options, batch);
    }
    bool recording = false;
    std::vector<std::string> fresh;  // guarded by names_lock_, like every mutation
};

void memory_sites::fail_puts(std::optional<error> why) {
    const std::lock_guard lock(mutex_);
    put_error_ = std::move(why);
}
void memory_sites::fail_commits(std::optional<error> why) {
    const std::lock_guard lock(mutex_);
    commit_error_ = std::move(why);
}
void memory_sites::fail_reads(std::optional<error> why) {
    const std::lock_guard lock(mutex_);
    read_error_ = std::move(why);
}
std::optional<error> memory_sites::put_error() const {
    const std::lock_guard lock(mutex_);
    return put_error_;
}
std::optional<error> memory_sites::commit_error() const {
    const std::lock_guard lock(mutex_);
    return commit_error_;
}
std::optional<error> memory_sites::read_error() const {
    const std::lock_guard lock(mutex_);
    return read_error_;
}
std::size_t memory_sites::durable_chunks() const {
    const std::lock_guard lock(mutex_);
    return durable_.size();
}
std::size_t memory_sites::durable_records() const {
    const std::lock_guard lock(mutex_);
    return records_.size();
}

std::shared_ptr<memory_sites> memory_sites::as_of(std::size_t records) const {
    auto past = std::make_shared<memory_sites>();
    const std::lock_guard lock(mutex_);
    WARIFU_ASSERT(records <= records_.size());
    for (std::size_t i = 0; i < records; ++i) {
        past->records_.push_back(records_[i]);
        for (const chunk_id& id : records_[i].chunks) past->durable_.emplace(id, durable_.at(id));
    }
    past->epochs_ = epochs_;
    return past;
}

memory_volume::memory_volume(std::shared_ptr<memory_sites> sites)
    : sites_(std::move(sites)),
      shape_(two_of_three()),
      epoch_{++sites_->epochs_, 0x5eed},
      env_(rocksdb::NewMemEnv(rocksdb::Env::Default())) {
    rocksdb::Options options;
    options.env = env_.get();
    options.create_if_missing = true;
    options.write_buffer_size = 64U << 20U;
    rocksdb::DB* db = nullptr;
    const auto status = rocksdb::DB::Open(options, "/memory_volume", &db);
    WARIFU_ASSERT(status.ok());
    db_ = std::make_unique<recording_db>(db);
    bool fresh = true;
    for (const auto& record : sites_->records_) {
        for (const auto& bytes : record.batches) {
            fresh = false;
            rocksdb::WriteBatch batch(bytes);
            WARIFU_ASSERT(db_->Write(rocksdb::WriteOptions(), &batch).ok());
        }
    }
    db_->recording = !sites_->discard;
    names_ = std::make_unique<name_space>(*db_);
    if (fresh) {
        // The empty namespace is durable, as volume::create() makes it.
        WARIFU_ASSERT(names_->format(0755, 0, 0, time_stamp::now()).has_value());
        const auto edits = capture();
        sites_->records_.push_back({static_cast<captured_batches_in_memory&>(*edits).batches, {}});
    }
    WARIFU_ASSERT(names_->open().has_value());
}

memory_volume::~memory_volume() {
    names_.reset();
    db_.reset();
}

std::uint32_t memory_volume::unit_count(std::uint32_t size) const {
    return piece_layout(shape_, size).units();
}

chunk_id memory_volume::allocate_chunk() {
    return {epoch_, next_chunk_++};
}

volume_status memory_volume::status() const {
    volume_status now;
    now.threshold = shape_.k();
    now.site_count = shape_.n();
    now.epoch = epoch_;
    const auto writable = check_writable();
    now.writable = writable.has_value();
    if (!writable) now.reason = writable.error().text;
    now.sequence = sites_->durable_records();
    return now;
}

std::uint64_t memory_volume::free_bytes() const {
    const std::uint64_t used = names_->use().stored_bytes;
    const std::uint64_t capacity = sites_->capacity;
    return capacity > used ? capacity - used : 0;
}

result<void> memory_volume::check_writable() const {
    const std::lock_guard lock(failure_mutex_);
    if (failure_) return fail(errc::read_only, failure_->text);
    return {};
}

std::unique_ptr<captured_edits> memory_volume::capture() {
    auto edits = std::make_unique<captured_batches_in_memory>();
    edits->batches = std::exchange(carried_, {});
    for (auto& batch : std::exchange(db_->fresh, {})) edits->batches.push_back(std::move(batch));
    return edits;
}

std::unique_ptr<captured_edits> memory_volume::give_back(std::unique_ptr<captured_edits> edits) {
    auto& mine = static_cast<captured_batches_in_memory&>(*edits);
    mine.batches.insert(mine.batches.end(), carried_.begin(), carried_.end());
    carried_ = std::move(mine.batches);
    return nullptr;
}

task<> memory_volume::put_chunk(chunk_id id, std::vector<slice> pieces, std::function<void()> /*on_its_way*/) {
    co_await pause(sites_->put_delay_ms);
    while (sites_->hold_puts) co_await pause(1);
    ++sites_->puts;
    if (auto why = sites_->put_error()) co_return fail(*why);
    std::size_t size = 0;
    memory_sites::pieces kept;
    for (const auto& piece : pieces) {
        WARIFU_ASSERT(!piece.empty());
        size += piece.size();
        if (!sites_->discard) kept.emplace_back(buffer::copy_of(piece.view()));
    }
    WARIFU_ASSERT(size <= chunk_size() && pieces.size() <= chunk_piece_count_max);
    sites_->bytes_put += size;
    const std::lock_guard lock(sites_->mutex_);
    WARIFU_ASSERT(volatile_.emplace(id, std::move(kept)).second);  // ids are never put twice
    co_return result<void>{};
}

task<slice> memory_volume::read(extent where, std::uint32_t offset, std::uint32_t size) {
    co_await pause(sites_->read_delay_ms);
    ++sites_->reads;
    sites_->bytes_read += size;
    if (auto why = sites_->read_error()) co_return fail(*why);
    if (sites_->discard) co_return slice(buffer::zeroed(size));
    const std::lock_guard lock(sites_->mutex_);
    const auto durable = sites_->durable_.find(where.chunk);
    const auto fresh = volatile_.find(where.chunk);
    if (durable == sites_->durable_.end() && fresh == volatile_.end())
        co_return fail(errc::missing_shares, "no such chunk");
    const auto& pieces = durable != sites_->durable_.end() ? durable->second : fresh->second;
    if (where.piece >= pieces.size() || pieces[where.piece].size() != where.piece_size)
        co_return fail(errc::bad_argument, "no such piece");
    if (offset > where.piece_size || size > where.piece_size - offset)
        co_return fail(errc::bad_argument, "outside of the piece");
    co_return pieces[where.piece].part(offset, size);
}

task<> memory_volume::commit(std::unique_ptr<captured_edits> edits, std::vector<chunk_id> chunks) {
    co_await pause(sites_->commit_delay_ms);
    while (sites_->hold_commits) co_await pause(1);
    if (auto why = sites_->commit_error()) {
        const std::lock_guard lock(failure_mutex_);
        failure_ = *why;
        co_return fail(*why);
    }
    const std::lock_guard lock(sites_->mutex_);
    for (const chunk_id& id : chunks) {
        const auto it = volatile_.find(id);
        if (it == volatile_.end()) co_return fail(errc::not_found, "a record names a chunk that is not here");
        sites_->durable_.emplace(id, std::move(it->second));
        volatile_.erase(it);
    }
    ++sites_->commits;
    sites_->records_.push_back({static_cast<captured_batches_in_memory&>(*edits).batches, std::move(chunks)});
    co_return result<void>{};
}

task<> memory_volume::close() {
    co_return result<void>{};
}

std::optional<extent> memory_volume::first_missing(inode_number number) const {
    const auto extents = names_->extents(number, 0, ~0ULL);
    WARIFU_ASSERT(extents.has_value());
    const std::lock_guard lock(sites_->mutex_);
    for (const extent& e : *extents) {
        const auto it = sites_->durable_.find(e.chunk);
        if (it == sites_->durable_.end() || e.piece >= it->second.size() || it->second[e.piece].size() != e.piece_size)
            return e;
    }
    return std::nullopt;
}

}  // namespace warifu
