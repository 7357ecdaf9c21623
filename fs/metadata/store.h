#pragma once
// Records in RocksDB: reads, cursors over key ranges, and transactions that read their own writes and become one
// WriteBatch.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <rocksdb/db.h>
#include <string>
#include <vector>

#include "fs/metadata/records.h"

namespace warifu {

/// not_found never comes from here: absence is a value. Errors of RocksDB and below keep RocksDB's text.
error to_error(const rocksdb::Status& status);

/// Thread safety: all const methods, any thread. load() and what a transaction publishes: one thread at a time.
class metadata_store {
  public:
    explicit metadata_store(rocksdb::DB& db) : db_(db) {}

    /// Reads the header, the counters and the table of epochs. bad_format when they are missing or not ours.
    result<void> load();
    /// Writes a fresh header. exists when there is one.
    result<void> format();

    result<std::optional<std::string>> get(const std::string& key) const;
    /// not_found where there is no such inode.
    result<inode> get_inode(inode_number number) const;

    std::optional<epoch_number> number_of(const ballot& epoch) const;
    result<ballot> epoch_of(epoch_number number) const;
    /// All epochs in ballot order.
    std::vector<std::pair<ballot, epoch_number>> epochs() const;

    counters_record counters() const;
    const name_hash_key& hash_key() const { return header_.hash_key; }
    rocksdb::DB& db() const { return db_; }

  private:
    friend class transaction;
    /// Lets readers understand records of new epochs, before they can see any.
    void announce(const std::map<ballot, epoch_number>& fresh);
    /// Makes a committed transaction's counters visible, and its epochs usable.
    void publish(const counters_record& counters, const std::map<ballot, epoch_number>& fresh, inode_number drawn);

    rocksdb::DB& db_;
    header_record header_;
    mutable std::mutex mutex_;  // guards what follows; never held while RocksDB is called
    counters_record counters_;
    std::map<ballot, epoch_number> epoch_numbers_;
    std::vector<ballot> epochs_;  // epochs_[number - 1]; its end may name epochs of a write that failed
    inode_number next_inode_ = 0;
};

/// Walks keys in [start, end) at one instant of the database.
class cursor {
  public:
    cursor(const metadata_store& store, const std::string& start, std::string end);

    bool valid() const { return it_->Valid(); }
    void next() { it_->Next(); }
    std::string_view key() const { return {it_->key().data(), it_->key().size()}; }
    std::string_view value() const { return {it_->value().data(), it_->value().size()}; }
    /// Why it is not valid: success at the end of the range, or an error.
    result<void> status() const;

  private:
    std::string end_;
    rocksdb::Slice end_slice_;
    std::unique_ptr<rocksdb::Iterator> it_;
};

/// One mutation of the namespace. Nothing is visible before commit(); dropped without it, nothing happened.
class transaction {
  public:
    explicit transaction(metadata_store& store) : counters(store.counters()), store_(store) {}

    result<std::optional<std::string>> get(const std::string& key) const;
    void put(std::string key, std::string value) { changes_[std::move(key)] = std::move(value); }
    void erase(std::string key) { changes_[std::move(key)] = std::nullopt; }

    result<inode> get_inode(inode_number number) const;
    void put_inode(const inode& i) { put(inode_key(i.number), encode(i)); }
    /// A number that was never used before, or `wanted` if not 0. REQUIRES: called once.
    inode_number new_inode_number(inode_number wanted = 0);
    /// The number of an epoch, a new one if need be.
    epoch_number number_epoch(const ballot& epoch);

    const metadata_store& store() const { return store_; }
    result<void> commit();

    counters_record counters;

  private:
    metadata_store& store_;
    std::map<std::string, std::optional<std::string>> changes_;
    std::map<ballot, epoch_number> fresh_epochs_;
    inode_number drawn_inode_ = 0;  // 0: none
};

}  // namespace warifu
