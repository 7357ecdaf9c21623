#pragma once
// A namespace on RocksDB in memory, and a checker that reads all records and compares everything that must agree.

#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <set>
#include <sys/stat.h>

#include "fs/metadata/name_space.h"
#include "fs/metadata/records.h"
#include "fs/metadata/store.h"

namespace warifu {

inline time_stamp at(std::int64_t seconds) {
    return {seconds, 5};
}

class name_space_fixture {
  public:
    explicit name_space_fixture(std::uint64_t mask = ~std::uint64_t{0})
        : hash_mask(mask), env(rocksdb::NewMemEnv(rocksdb::Env::Default())) {
        options.env = env.get();
        options.create_if_missing = true;
        open_db();
        names = std::make_unique<name_space>(*db, hash_mask);
        const auto formatted = names->format(0755, 10, 20, at(1));
        EXPECT_TRUE(formatted) << formatted.error().message();
    }
    void reopen() {
        names.reset();
        db.reset();
        open_db();
        names = std::make_unique<name_space>(*db, hash_mask);
        const auto opened = names->open();
        ASSERT_TRUE(opened) << opened.error().message();
    }

    const std::uint64_t hash_mask;
    std::unique_ptr<rocksdb::Env> env;
    rocksdb::Options options;
    std::unique_ptr<rocksdb::DB> db;
    std::unique_ptr<name_space> names;

  private:
    void open_db() {
        rocksdb::DB* opened = nullptr;
        const auto status = rocksdb::DB::Open(options, "/db", &opened);
        ASSERT_TRUE(status.ok()) << status.ToString();
        db.reset(opened);
    }
};

inline new_inode fresh_inode(std::uint32_t mode, std::int64_t seconds = 100) {
    return {.mode = mode, .uid = 1000, .gid = 1001, .symlink_target = {}, .now = at(seconds)};
}
inline inode make_file(name_space& names, inode_number parent, std::string_view name) {
    const auto made = names.create(parent, name, fresh_inode(S_IFREG | 0644));
    EXPECT_TRUE(made) << made.error().message();
    return made.value_or(inode{});
}
inline inode make_directory(name_space& names, inode_number parent, std::string_view name) {
    const auto made = names.create(parent, name, fresh_inode(S_IFDIR | 0755));
    EXPECT_TRUE(made) << made.error().message();
    return made.value_or(inode{});
}

/// Everything that must agree in a database: names and link counts, directory sizes, parents, orphans, extents and
/// stored sizes, references, freed pieces, counters.
class name_space_checker {
  public:
    explicit name_space_checker(rocksdb::DB& db) : store_(db) {
        EXPECT_TRUE(store_.load());
        read_inodes();
        read_entries();
        read_extents();
        read_pieces();
        compare();
    }

  private:
    struct facts {
        inode value;
        std::uint32_t names = 0, subdirectories = 0;
        std::uint64_t entries = 0, stored = 0;
    };

    template <typename Visit>
    void scan(record_kind kind, Visit visit) {
        const std::string prefix(1, static_cast<char>(kind));
        cursor it(store_, prefix, prefix_end(prefix));
        for (; it.valid(); it.next()) visit(it);
        EXPECT_TRUE(it.status());
    }
    static std::uint64_t number_in(std::string_view key) {
        reader in(as_bytes_view(key.substr(1)));
        const auto size = in.take_be<std::uint8_t>().value();
        std::uint64_t number = 0;
        for (unsigned i = 0; i < size; ++i) number = (number << 8U) | in.take_be<std::uint8_t>().value();
        return number;
    }

    void read_inodes() {
        scan(record_kind::inode, [this](const cursor& it) {
            const auto number = number_in(it.key());
            const auto value = decode_inode(number, it.value());
            ASSERT_TRUE(value) << value.error().message();
            inodes_[number].value = *value;
        });
        scan(record_kind::orphan, [this](const cursor& it) { orphans_.insert(number_in(it.key())); });
        scan(record_kind::attribute, [this](const cursor& it) { EXPECT_TRUE(inodes_.contains(number_in(it.key()))); });
        scan(record_kind::symlink, [this](const cursor& it) {
            ASSERT_TRUE(inodes_.contains(number_in(it.key())));
            EXPECT_EQ(inodes_[number_in(it.key())].value.size, it.value().size());
        });
    }
    void read_entries() {
        std::set<std::pair<std::uint64_t, std::string>> seen;
        std::map<std::pair<std::uint64_t, std::uint64_t>, unsigned> highest;  // chain -> highest collision in use
        std::map<std::pair<std::uint64_t, std::uint64_t>, unsigned> claimed;
        scan(record_kind::entry, [&](const cursor& it) {
            const auto directory = number_in(it.key());
            const auto cookie = decode_entry_cookie(it.key()).value();
            const auto entry = decode_entry(it.value());
            ASSERT_TRUE(entry) << entry.error().message();
            EXPECT_GE(cookie, 256U);
            EXPECT_LT(cookie, 1ULL << 63U);
            const std::pair chain{directory, cookie & ~std::uint64_t{255}};
            highest[chain] = cookie & 255U;
            if ((cookie & 255U) == 0) claimed[chain] = entry->last_collision;
            if (entry->is_placeholder()) {
                EXPECT_NE(entry->last_collision, 0);
                return;
            }
            EXPECT_TRUE(seen.emplace(directory, entry->name).second) << "a name twice";
            ASSERT_TRUE(inodes_.contains(directory));
            ASSERT_TRUE(inodes_.contains(entry->number));
            auto& child = inodes_[entry->number];
            EXPECT_EQ(child.value.mode & S_IFMT, entry->type);
            ++child.names;
            ++inodes_[directory].entries;
            if (S_ISDIR(child.value.mode)) {
                ++inodes_[directory].subdirectories;
                EXPECT_EQ(child.value.parent, directory);
            }
        });
        EXPECT_EQ(highest, claimed);
    }
    void read_extents() {
        std::uint64_t last_inode = 0, last_end = 0;
        scan(record_kind::extent, [&](const cursor& it) {
            const auto number = number_in(it.key());
            const auto e = decode_extent(it.key(), it.value());
            ASSERT_TRUE(e) << e.error().message();
            ASSERT_TRUE(inodes_.contains(number));
            if (number != last_inode) last_end = 0;
            EXPECT_GE(e->value.file_offset, last_end) << "extents overlap";
            last_inode = number;
            last_end = e->value.end();
            inodes_[number].stored += e->value.size;
            stored_ += e->value.size;
            ++references_[{{e->epoch, e->value.chunk.sequence}, e->value.piece}];
        });
    }
    void read_pieces() {
        std::map<std::pair<chunk_key, std::uint16_t>, std::uint32_t> live;
        scan(record_kind::piece, [&](const cursor& it) {
            const auto name = decode_piece_key(it.key()).value();
            const auto record = decode_piece(it.value());
            ASSERT_TRUE(record) << record.error().message();
            live[{name.chunk, name.piece}] = record->references;
        });
        EXPECT_EQ(live, references_);
        std::set<std::pair<chunk_key, std::uint16_t>> freed;
        scan(record_kind::freed, [&](const cursor& it) {
            const auto record = decode_freed(it.value());
            ASSERT_TRUE(record) << record.error().message();
            EXPECT_LT(number_in(it.key()), store_.counters().next_ticket);
            EXPECT_TRUE(freed.emplace(record->chunk, record->piece).second) << "freed twice";
            EXPECT_FALSE(live.contains({record->chunk, record->piece})) << "freed and alive";
        });
    }
    void compare() {
        for (const auto& [number, f] : inodes_) {
            SCOPED_TRACE("inode " + std::to_string(number));
            EXPECT_EQ(f.value.stored_size, f.stored);
            EXPECT_LT(number, store_.counters().inodes_reserved);
            if (S_ISDIR(f.value.mode)) {
                EXPECT_EQ(f.value.size, f.entries);
                const bool removed = number != root_inode && f.names == 0;
                EXPECT_EQ(f.value.link_count, removed ? 0 : 2 + f.subdirectories);
            } else {
                EXPECT_EQ(f.value.link_count, f.names);
            }
            EXPECT_EQ(orphans_.contains(number), f.value.link_count == 0);
        }
        EXPECT_EQ(store_.counters().inodes, inodes_.size());
        EXPECT_EQ(store_.counters().stored_bytes, stored_);
    }

    metadata_store store_;
    std::map<std::uint64_t, facts> inodes_;
    std::set<std::uint64_t> orphans_;
    std::map<std::pair<chunk_key, std::uint16_t>, std::uint32_t> references_;
    std::uint64_t stored_ = 0;
};

inline void check(const name_space_fixture& f) {
    name_space_checker checker(*f.db);
}

}  // namespace warifu
