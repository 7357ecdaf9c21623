// RocksDB on metadata_files: crashes at every boundary of the stream of edits, snapshots, errors of the sites.

#include "fs/volume/metadata_db.h"

#include <chrono>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <rocksdb/file_system.h>

#include "fs/base/limits.h"
#include "fs/volume/metadata_files_test_util.h"

namespace warifu {
namespace {

constexpr std::uint32_t piece_size = 8000;  // no divisor of anything
constexpr std::size_t memory = 24U << 20U;
const metadata_files_options small_cache{piece_size, 2U << 20U};

using model = std::map<std::string, std::string>;

std::unique_ptr<rocksdb::DB> open(metadata_files& files, metadata_db_mode mode) {
    auto db = open_metadata_db(files, memory, mode);
    if (!db) {
        ADD_FAILURE() << db.error().message();
        return nullptr;
    }
    return std::move(*db);
}

model contents(rocksdb::DB& db) {
    model found;
    const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(rocksdb::ReadOptions()));
    for (it->SeekToFirst(); it->Valid(); it->Next()) found[it->key().ToString()] = it->value().ToString();
    EXPECT_TRUE(it->status().ok()) << it->status().ToString();
    return found;
}

/// Batches taken so far, and for each what the database must hold at least: the number of mutations flushed before it.
struct history {
    std::vector<edit_batch> batches;
    std::vector<std::size_t> mutations_at_least;

    void take(metadata_files& files, std::size_t flushed, std::size_t size_max = edit_batch_size_min) {
        while (true) {
            auto batch = files.take_edits(size_max);
            if (batch.bytes.empty()) break;
            EXPECT_LE(batch.bytes.size(), size_max);
            batches.push_back(std::move(batch));
            // Only the last batch of this call is known to hold everything.
            mutations_at_least.push_back(mutations_at_least.empty() ? 0 : mutations_at_least.back());
        }
        if (!mutations_at_least.empty()) mutations_at_least.back() = flushed;
    }
};

/// One mutation: a batch that sets the counter "n" and puts or deletes some keys, in the database and in every later
/// model.
class workload {
  public:
    explicit workload(unsigned seed) : random_(seed) {}

    void mutate(rocksdb::DB& db) {
        rocksdb::WriteBatch batch;
        model next = states.back();
        const auto set = [&](const std::string& key, const std::string& value) {
            batch.Put(key, value);
            next[key] = value;
        };
        set("n", std::to_string(states.size()));
        for (int i = 0; i < 8; ++i) {
            const std::string key = "key" + std::to_string(random_() % 500);
            if (random_() % 4 == 0) {
                batch.Delete(key);
                next.erase(key);
            } else {
                std::string value(random_() % 1200, ' ');
                for (auto& c : value) c = static_cast<char>(random_());
                set(key, value);
            }
        }
        ASSERT_TRUE(db.Write(rocksdb::WriteOptions(), &batch).ok());
        states.push_back(std::move(next));
    }
    std::size_t mutations() const { return states.size() - 1; }
    unsigned draw() { return static_cast<unsigned>(random_()); }

    std::vector<model> states{model{}};  // states[i]: after i mutations

  private:
    std::mt19937 random_;
};

/// Runs the workload with flushes and compactions, taking edits at random moments.
history run(metadata_files& files, workload& work, int rounds) {
    history taken;
    auto db = open(files, metadata_db_mode::create);
    taken.take(files, 0);
    for (int round = 0; round < rounds; ++round) {
        const unsigned count = 1 + work.draw() % 12;
        for (unsigned i = 0; i < count; ++i) work.mutate(*db);
        const unsigned what = work.draw() % 16;
        if (what < 2) EXPECT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
        if (what == 2) EXPECT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
        if (what == 3) {
            taken.take(files, taken.mutations_at_least.back());  // without FlushWAL: a prefix all the same
            continue;
        }
        EXPECT_TRUE(db->FlushWAL(false).ok());
        taken.take(files, work.mutations(), what % 2 == 0 ? edit_batch_size_min : 1U << 20U);
    }
    db.reset();
    taken.take(files, work.mutations());
    return taken;
}

/// Opens what `files` hold and compares with the state that its own counter names.
std::size_t check(metadata_files& files, const workload& work, std::size_t at_least) {
    auto db = open(files, metadata_db_mode::write);
    if (!db) return 0;
    const model found = contents(*db);
    const auto n = found.find("n");
    const std::size_t mutations = n == found.end() ? 0 : std::stoul(n->second);
    EXPECT_GE(mutations, at_least);
    EXPECT_LT(mutations, work.states.size());
    EXPECT_TRUE(found == work.states.at(mutations)) << "after " << mutations << " mutations";
    return mutations;
}

TEST(metadata_db, crash_at_every_boundary_of_the_stream_keeps_what_was_flushed) {
    const unsigned seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    memory_table_io io(piece_size);
    workload work(seed);
    history taken;
    {
        metadata_files files(io, small_cache);
        taken = run(files, work, 70);
    }
    bool opened = false;
    for (std::size_t cut = 1; cut <= taken.batches.size(); ++cut) {
        SCOPED_TRACE("cut after batch " + std::to_string(cut));
        metadata_files files(io, small_cache);
        for (std::size_t i = 0; i < cut; ++i) ASSERT_TRUE(files.load_edits(taken.batches[i].bytes));
        if (!opened && !files.file_system()->FileExists("/volume/CURRENT", {}, nullptr).ok()) continue;
        opened = true;
        check(files, work, taken.mutations_at_least[cut - 1]);
        if (HasFailure()) break;
    }
    EXPECT_TRUE(opened);
}

TEST(metadata_db, every_chunk_is_announced_before_it_is_used_and_declared_dead_once) {
    memory_table_io io(piece_size);
    workload work(5);
    metadata_files files(io, small_cache);
    const auto taken = run(files, work, 60);
    std::map<chunk_id, int> born, dead;
    for (const auto& batch : taken.batches) {
        for (const auto& chunk : batch.chunks) ++born[chunk];
        for (const auto& chunk : batch.dead) ++dead[chunk.chunk];
    }
    EXPECT_GT(born.size(), 5U);
    EXPECT_GT(dead.size(), 2U);
    const auto live = files.live_table_chunks();
    EXPECT_EQ(born.size(), io.chunk_count());
    EXPECT_EQ(born.size(), live.size() + dead.size());
    for (const auto& [chunk, count] : born) EXPECT_EQ(count, 1);
    for (const auto& [chunk, count] : dead) EXPECT_EQ(count, 1);
    // What is dead is needed by nobody.
    for (const auto& [chunk, count] : dead) io.drop(chunk);
    metadata_files again(io, small_cache);
    ASSERT_TRUE(again.load_edits(files.snapshot()));
    EXPECT_EQ(check(again, work, 0), work.mutations());
}

TEST(metadata_db, snapshot_and_later_edits_equal_the_whole_stream) {
    memory_table_io io(piece_size);
    workload work(77);
    metadata_files files(io, small_cache);
    std::vector<byte_vector> after;
    byte_vector snapshot;
    {
        auto db = open(files, metadata_db_mode::create);
        for (int round = 0; round < 30; ++round) {
            for (int i = 0; i < 10; ++i) work.mutate(*db);
            if (round % 7 == 3) ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
            ASSERT_TRUE(db->FlushWAL(false).ok());
            while (true) {
                auto batch = files.take_edits(edit_batch_size_min);
                if (batch.bytes.empty()) break;
                if (!snapshot.empty()) after.push_back(std::move(batch.bytes));
            }
            if (round == 15) {
                // Edits that are pending when the snapshot is made are not in it.
                for (int i = 0; i < 10; ++i) work.mutate(*db);
                ASSERT_TRUE(db->FlushWAL(false).ok());
                ASSERT_TRUE(files.has_edits());
                snapshot = files.snapshot();
                EXPECT_EQ(snapshot.size(), files.snapshot_size());
            }
        }
    }
    while (true) {
        auto batch = files.take_edits(1U << 20U);
        if (batch.bytes.empty()) break;
        after.push_back(std::move(batch.bytes));
    }
    metadata_files again(io, small_cache);
    ASSERT_TRUE(again.load_edits(snapshot));
    for (const auto& edits : after) ASSERT_TRUE(again.load_edits(edits));
    EXPECT_EQ(again.snapshot(), files.snapshot());
    EXPECT_EQ(check(again, work, work.mutations()), work.mutations());
}

TEST(metadata_db, reopens_again_and_again_and_makes_no_edits_when_read_only) {
    memory_table_io io(piece_size);
    workload work(3);
    metadata_files files(io, small_cache);
    EXPECT_EQ(open_metadata_db(files, memory, metadata_db_mode::write).error().code, errc::not_found);
    for (int i = 0; i < 5; ++i) {
        auto db = open(files, i == 0 ? metadata_db_mode::create : metadata_db_mode::write);
        for (int j = 0; j < 40; ++j) work.mutate(*db);
    }
    EXPECT_EQ(open_metadata_db(files, memory, metadata_db_mode::create).error().code, errc::exists);
    while (!files.take_edits(1U << 20U).bytes.empty()) {
    }
    auto db = open(files, metadata_db_mode::read_only);
    EXPECT_EQ(contents(*db), work.states.back());
    EXPECT_FALSE(files.has_edits());
    EXPECT_FALSE(db->Put(rocksdb::WriteOptions(), "a", "b").ok());
}

TEST(metadata_db, a_follower_catches_up) {
    memory_table_io io(piece_size);
    workload work(9);
    metadata_files files(io, small_cache);
    metadata_files copy(io, small_cache);
    auto db = open(files, metadata_db_mode::create);
    std::unique_ptr<rocksdb::DB> follower;
    for (int round = 0; round < 12; ++round) {
        for (int i = 0; i < 20; ++i) work.mutate(*db);
        if (round % 3 == 1) ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
        if (round % 5 == 4) ASSERT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
        ASSERT_TRUE(db->FlushWAL(false).ok());
        while (true) {
            const auto batch = files.take_edits(1U << 20U);
            if (batch.bytes.empty()) break;
            ASSERT_TRUE(copy.load_edits(batch.bytes));
        }
        follower = open(copy, metadata_db_mode::read_only);
        EXPECT_TRUE(contents(*follower) == work.states.back()) << "round " << round;
        EXPECT_FALSE(copy.has_edits());
    }
}

TEST(metadata_db, a_failed_put_stops_writes_until_it_recovers) {
    memory_table_io io(piece_size);
    workload work(4);
    metadata_files files(io, small_cache);
    auto db = open(files, metadata_db_mode::create);
    for (int i = 0; i < 50; ++i) work.mutate(*db);
    EXPECT_FALSE(metadata_db_error(*db));
    io.set_put_error(errc::unreachable);
    const auto status = db->Flush(rocksdb::FlushOptions());
    EXPECT_NE(status.ToString().find("put refused by the test"), std::string::npos) << status.ToString();
    ASSERT_TRUE(metadata_db_error(*db));
    EXPECT_NE(metadata_db_error(*db)->text.find("put refused by the test"), std::string::npos);
    EXPECT_TRUE(contents(*db) == work.states.back());
    EXPECT_FALSE(resume_metadata_db(*db));
    io.set_put_error(std::nullopt);
    // It is retried every second; nobody needs to call resume.
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (metadata_db_error(*db) && std::chrono::steady_clock::now() < until) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    ASSERT_FALSE(metadata_db_error(*db));
    for (int i = 0; i < 50; ++i) work.mutate(*db);
    ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
    db.reset();
    EXPECT_EQ(check(files, work, work.mutations()), work.mutations());
}

TEST(metadata_db, what_failed_is_resumed_by_hand_at_once) {
    memory_table_io io(piece_size);
    workload work(4);
    metadata_files files(io, small_cache);
    auto db = open(files, metadata_db_mode::create);
    EXPECT_TRUE(resume_metadata_db(*db)) << "there is nothing to do";
    for (int i = 0; i < 50; ++i) work.mutate(*db);
    io.set_put_error(errc::denied);
    EXPECT_FALSE(db->Flush(rocksdb::FlushOptions()).ok());
    const auto refused = resume_metadata_db(*db);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("put refused by the test"), std::string::npos) << refused.error().text;
    ASSERT_TRUE(metadata_db_error(*db));
    io.set_put_error(std::nullopt);
    const auto resumed = resume_metadata_db(*db);
    ASSERT_TRUE(resumed) << resumed.error().message();
    EXPECT_FALSE(metadata_db_error(*db));
    EXPECT_GT(files.counters().chunks_put, 0U);
    for (int i = 0; i < 50; ++i) work.mutate(*db);
    ASSERT_TRUE(db->FlushWAL(false).ok());
    EXPECT_TRUE(contents(*db) == work.states.back());
}

TEST(metadata_db, a_lost_epoch_stops_writes_for_good) {
    memory_table_io io(piece_size);
    workload work(4);
    metadata_files files(io, small_cache);
    auto db = open(files, metadata_db_mode::create);
    for (int i = 0; i < 50; ++i) work.mutate(*db);
    io.set_put_error(errc::stale_epoch);
    EXPECT_FALSE(db->Flush(rocksdb::FlushOptions()).ok());
    io.set_put_error(std::nullopt);
    EXPECT_FALSE(resume_metadata_db(*db));
    EXPECT_TRUE(metadata_db_error(*db));
    EXPECT_FALSE(db->Put(rocksdb::WriteOptions(), "a", "b").ok());
    EXPECT_TRUE(contents(*db) == work.states.back());
    db.reset();
    EXPECT_EQ(check(files, work, work.mutations()), work.mutations());
}

TEST(metadata_db, writes_fail_rather_than_hang_when_tables_cannot_be_put) {
    memory_table_io io(piece_size);
    metadata_files files(io, small_cache);
    auto db = open(files, metadata_db_mode::create);
    io.set_put_error(errc::no_key);
    rocksdb::Status status;
    std::size_t written = 0;
    const std::string value(10'000, 'x');
    for (; status.ok() && written < 100U << 20U; written += value.size())
        status = db->Put(rocksdb::WriteOptions(), "key" + std::to_string(written), value);
    EXPECT_FALSE(status.ok());
    EXPECT_LT(written, memory);
    EXPECT_LT(files.counters().file_size, memory);
    ASSERT_TRUE(metadata_db_error(*db));
}

/// Opens, fails to flush, resumes `resumes` times in vain and closes after `wait`.
void fail_and_close(int resumes, std::chrono::milliseconds wait) {
    memory_table_io io(piece_size);
    workload work(4);
    metadata_files files(io, small_cache);
    auto db = open(files, metadata_db_mode::create);
    for (int i = 0; i < 20; ++i) work.mutate(*db);
    io.set_put_error(errc::unreachable);
    EXPECT_FALSE(db->Flush(rocksdb::FlushOptions()).ok());
    for (int i = 0; i < resumes; ++i) EXPECT_FALSE(resume_metadata_db(*db));
    std::this_thread::sleep_for(wait);
    db.reset();
    io.set_put_error(std::nullopt);
    EXPECT_EQ(check(files, work, work.mutations()), work.mutations());
}

// A failed flush makes RocksDB sleep for a second, so these go side by side.
TEST(metadata_db, closes_at_any_moment_while_tables_cannot_be_put) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([i] { fail_and_close(i % 2, std::chrono::milliseconds(400 * i)); });
    for (auto& thread : threads) thread.join();
}

TEST(metadata_db, a_failed_read_is_an_error_and_the_next_read_works) {
    memory_table_io io(piece_size);
    workload work(8);
    metadata_files files(io, small_cache);
    {
        auto db = open(files, metadata_db_mode::create);
        for (int i = 0; i < 300; ++i) work.mutate(*db);
        ASSERT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
    }
    while (!files.take_edits(1U << 20U).bytes.empty()) {
    }
    metadata_files cold(io, small_cache);
    ASSERT_TRUE(cold.load_edits(files.snapshot()));
    io.set_get_error(errc::timed_out);
    const auto refused = open_metadata_db(cold, memory, metadata_db_mode::write);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text.find("get refused by the test"), std::string::npos) << refused.error().text;
    io.set_get_error(std::nullopt);
    auto db = open(cold, metadata_db_mode::write);
    io.set_get_error(errc::timed_out);
    std::string value;
    const auto status = db->Get(rocksdb::ReadOptions(), "n", &value);
    EXPECT_TRUE(status.IsIOError()) << status.ToString();
    io.set_get_error(std::nullopt);
    EXPECT_TRUE(db->Get(rocksdb::ReadOptions(), "n", &value).ok());
    EXPECT_TRUE(contents(*db) == work.states.back());
}

TEST(metadata_db, compaction_of_recent_tables_reads_nothing_from_the_sites) {
    memory_table_io io(piece_size);
    workload work(6);
    metadata_files files(io, {piece_size, 32U << 20U});
    auto db = open(files, metadata_db_mode::create);
    for (int round = 0; round < 6; ++round) {
        for (int i = 0; i < 100; ++i) work.mutate(*db);
        ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
    }
    ASSERT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
    EXPECT_TRUE(contents(*db) == work.states.back());
    EXPECT_EQ(io.gets, 0);
    EXPECT_GT(files.counters().pieces_hit, 0U);
    EXPECT_LE(files.counters().cached_size, 32U << 20U);
}

}  // namespace
}  // namespace warifu
