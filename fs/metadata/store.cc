#include "fs/metadata/store.h"

#include <rocksdb/write_batch.h>

#include "fs/base/assert.h"
#include "fs/base/random.h"

#if __has_feature(thread_sanitizer)
// Debian's RocksDB is not instrumented: the sanitizer sees its memcpy of a record, but not the atomics that publish it.
// Here because every program with a namespace links this file.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
    return "called_from_lib:librocksdb.so\n";
}
#endif

namespace warifu {
namespace {

/// A batch's fixed bytes and what one record costs besides its key and value, for reserving memory.
constexpr std::size_t batch_overhead = 16;
constexpr std::size_t record_overhead = 12;
/// Inode numbers are reserved so many at a time; those left over at a crash are never used.
constexpr inode_number inode_reserve = 1024;

}  // namespace

error to_error(const rocksdb::Status& status) {
    if (status.IsCorruption()) return error(errc::bad_checksum, status.ToString());
    if (status.IsTimedOut()) return error(errc::timed_out, status.ToString());
    if (status.IsIncomplete() || status.IsBusy() || status.IsTryAgain() || status.IsMemoryLimit())
        return error(errc::busy, status.ToString());
    if (status.IsShutdownInProgress() || status.IsAborted()) return error(errc::cancelled, status.ToString());
    if (status.IsNotSupported()) return error(errc::read_only, status.ToString());  // a write to a read-only database
    return error(errc::io_error, status.ToString());
}

result<void> metadata_store::format() {
    TRY(const auto old, get(header_key()));
    if (old) return fail(errc::conflict, "there is a namespace already");
    fill_kernel_random(header_.hash_key);
    rocksdb::WriteBatch batch;
    batch.Put(header_key(), encode(header_));
    batch.Put(counters_key(), encode(counters_record{}));
    const auto status = db_.Write(rocksdb::WriteOptions(), &batch);
    if (!status.ok()) return fail(to_error(status));
    return load();
}

result<void> metadata_store::load() {
    TRY(const auto header, get(header_key()));
    TRY(const auto stored, get(counters_key()));
    if (!header || !stored) return fail(errc::bad_format, "there is no namespace");
    TRY(header_, decode_header(*header));
    TRY(const auto counters, decode_counters(*stored));
    std::map<ballot, epoch_number> numbers;
    std::vector<ballot> epochs;
    cursor it(*this, epoch_prefix(), prefix_end(epoch_prefix()));
    for (; it.valid(); it.next()) {
        TRY(const auto number, decode_epoch_key(it.key()));
        TRY(const auto epoch, decode_epoch(it.value()));
        epochs.push_back(epoch);
        if (number != epochs.size() || !numbers.emplace(epoch, number).second)
            return fail(errc::bad_format, "the namespace's epochs are not numbered one by one");
    }
    TRY_VOID(it.status());
    const std::lock_guard lock(mutex_);
    counters_ = counters;
    next_inode_ = counters.inodes_reserved;
    epoch_numbers_ = std::move(numbers);
    epochs_ = std::move(epochs);
    return {};
}

result<std::optional<std::string>> metadata_store::get(const std::string& key) const {
    std::string value;
    const auto status = db_.Get(rocksdb::ReadOptions(), key, &value);
    if (status.ok()) return std::optional(std::move(value));
    if (status.IsNotFound()) return std::optional<std::string>();
    return fail(to_error(status));
}

result<inode> metadata_store::get_inode(inode_number number) const {
    TRY(const auto value, get(inode_key(number)));
    if (!value) return fail(errc::not_found, "no such inode");
    return decode_inode(number, *value);
}

std::optional<epoch_number> metadata_store::number_of(const ballot& epoch) const {
    const std::lock_guard lock(mutex_);
    const auto it = epoch_numbers_.find(epoch);
    return it == epoch_numbers_.end() ? std::nullopt : std::optional(it->second);
}

result<ballot> metadata_store::epoch_of(epoch_number number) const {
    const std::lock_guard lock(mutex_);
    if (number == 0 || number > epochs_.size()) return fail(errc::bad_format, "a record names an unknown epoch");
    return epochs_[number - 1];
}

std::vector<std::pair<ballot, epoch_number>> metadata_store::epochs() const {
    const std::lock_guard lock(mutex_);
    return {epoch_numbers_.begin(), epoch_numbers_.end()};
}

counters_record metadata_store::counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
}

void metadata_store::announce(const std::map<ballot, epoch_number>& fresh) {
    const std::lock_guard lock(mutex_);
    for (const auto& [epoch, number] : fresh) {
        epochs_.resize(std::max<std::size_t>(epochs_.size(), number));
        epochs_[number - 1] = epoch;
    }
}

void metadata_store::publish(const counters_record& counters, const std::map<ballot, epoch_number>& fresh,
                             inode_number drawn) {
    const std::lock_guard lock(mutex_);
    counters_ = counters;
    epoch_numbers_.insert(fresh.begin(), fresh.end());
    if (drawn != 0) next_inode_ = std::max(next_inode_, drawn + 1);
}

cursor::cursor(const metadata_store& store, const std::string& start, std::string end)
    : end_(std::move(end)), end_slice_(end_) {
    rocksdb::ReadOptions options;
    options.iterate_upper_bound = &end_slice_;
    it_.reset(store.db().NewIterator(options));
    it_->Seek(start);
}

result<void> cursor::status() const {
    const auto status = it_->status();
    if (!status.ok()) return fail(to_error(status));
    return {};
}

result<std::optional<std::string>> transaction::get(const std::string& key) const {
    const auto it = changes_.find(key);
    if (it != changes_.end()) return it->second;
    return store_.get(key);
}

result<inode> transaction::get_inode(inode_number number) const {
    TRY(const auto value, get(inode_key(number)));
    if (!value) return fail(errc::not_found, "no such inode");
    return decode_inode(number, *value);
}

inode_number transaction::new_inode_number(inode_number wanted) {
    WARIFU_ASSERT(drawn_inode_ == 0);
    drawn_inode_ = wanted != 0 ? wanted : store_.next_inode_;
    if (drawn_inode_ >= counters.inodes_reserved) counters.inodes_reserved = drawn_inode_ + inode_reserve;
    return drawn_inode_;
}

epoch_number transaction::number_epoch(const ballot& epoch) {
    if (const auto known = store_.number_of(epoch)) return *known;
    if (const auto it = fresh_epochs_.find(epoch); it != fresh_epochs_.end()) return it->second;
    const auto number = static_cast<epoch_number>(store_.epoch_numbers_.size() + fresh_epochs_.size() + 1);
    fresh_epochs_.emplace(epoch, number);
    put(epoch_key(number), encode(epoch));
    return number;
}

result<void> transaction::commit() {
    if (counters != store_.counters()) put(counters_key(), encode(counters));
    std::size_t size = batch_overhead;
    for (const auto& [key, value] : changes_) size += key.size() + (value ? value->size() : 0) + record_overhead;
    rocksdb::WriteBatch batch(size);
    for (const auto& [key, value] : changes_) {
        if (value)
            batch.Put(key, *value);
        else
            batch.Delete(key);
    }
    store_.announce(fresh_epochs_);
    const auto status = store_.db_.Write(rocksdb::WriteOptions(), &batch);
    if (!status.ok()) return fail(to_error(status));
    store_.publish(counters, fresh_epochs_, drawn_inode_);
    return {};
}

}  // namespace warifu
