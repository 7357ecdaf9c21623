// What the namespace costs by itself: RocksDB in memory, its log in the host's memory too. Counters: bytes of log per
// operation.

#include <benchmark/benchmark.h>
#include <memory>
#include <random>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/statistics.h>
#include <rocksdb/table.h>
#include <sys/stat.h>

#include "fs/base/assert.h"
#include "fs/metadata/name_space.h"

namespace warifu {
namespace {

class bench_volume {
  public:
    bench_volume() : env_(rocksdb::NewMemEnv(rocksdb::Env::Default())) {
        rocksdb::Options options;
        options.env = env_.get();
        options.create_if_missing = true;
        options.manual_wal_flush = true;
        options.write_buffer_size = 8U << 20U;
        rocksdb::BlockBasedTableOptions table;  // as fs/volume/metadata_db.cc has it, but for the memory budget
        table.block_cache = rocksdb::NewLRUCache(64U << 20U);
        table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
        options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
        options.statistics = statistics_ = rocksdb::CreateDBStatistics();
        rocksdb::DB* db = nullptr;
        WARIFU_ASSERT(rocksdb::DB::Open(options, "/db", &db).ok());
        db_.reset(db);
        names = std::make_unique<name_space>(*db_);
        WARIFU_ASSERT(names->format(0755, 0, 0, time_stamp::now()));
        new_directory();
    }
    void new_directory() {
        const new_inode fresh{.mode = S_IFDIR | 0755, .symlink_target = {}, .now = time_stamp::now()};
        directory = names->create(root_inode, "d" + std::to_string(++directories_), fresh)->number;
    }
    inode create(std::uint64_t i) {
        const new_inode fresh{
            .mode = S_IFREG | 0644, .uid = 1000, .gid = 1000, .symlink_target = {}, .now = time_stamp::now()};
        const auto made = names->create(directory, name(i), fresh);
        WARIFU_ASSERT(made);
        return *made;
    }
    void write(inode file, std::uint64_t i) {
        extent e;
        e.size = e.piece_size = 6000;
        e.chunk = {{1, 0x0123456789abcdef}, i / 500};
        e.piece = static_cast<std::uint16_t>(i % 500);
        file.size = 6000;
        file.modify_time = file.change_time = time_stamp::now();
        WARIFU_ASSERT(names->replace_extents(file, 0, 6000, {e}));
    }
    static std::string name(std::uint64_t i) { return "sample_" + std::to_string(i) + ".vcf.gz"; }
    double logged() const { return static_cast<double>(statistics_->getTickerCount(rocksdb::WAL_FILE_BYTES)); }

    inode_number directory = 0;

  private:
    std::unique_ptr<rocksdb::Env> env_;
    std::shared_ptr<rocksdb::Statistics> statistics_;
    std::unique_ptr<rocksdb::DB> db_;
    int directories_ = 0;

  public:
    std::unique_ptr<name_space> names;
};

void count_log(benchmark::State& state, double bytes) {
    state.counters["log_bytes"] = benchmark::Counter(bytes, benchmark::Counter::kAvgIterations);
    state.SetItemsProcessed(state.iterations());
}

void create_file(benchmark::State& state) {
    bench_volume v;
    std::uint64_t i = 0;
    const double before = v.logged();
    for (auto _ : state) v.create(i++);
    count_log(state, v.logged() - before);
}
BENCHMARK(create_file);

void create_and_write_small_file(benchmark::State& state) {
    bench_volume v;
    std::uint64_t i = 0;
    const double before = v.logged();
    for (auto _ : state) {
        v.write(v.create(i), i);
        ++i;
    }
    count_log(state, v.logged() - before);
}
BENCHMARK(create_and_write_small_file);

void lookup(benchmark::State& state) {
    bench_volume v;
    constexpr std::uint64_t count = 100'000;
    for (std::uint64_t i = 0; i < count; ++i) v.create(i);
    std::mt19937_64 random(1);
    for (auto _ : state) {
        const auto found = v.names->lookup(v.directory, bench_volume::name(random() % count));
        WARIFU_ASSERT(found);
        benchmark::DoNotOptimize(found);
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(lookup);

void list_1000_entries(benchmark::State& state) {
    bench_volume v;
    for (std::uint64_t i = 0; i < 100'000; ++i) v.create(i);
    std::uint64_t cookie = 0;
    for (auto _ : state) {
        const auto entries = v.names->list(v.directory, cookie, 1000);
        WARIFU_ASSERT(entries);
        cookie = entries->empty() ? 0 : entries->back().cookie;
    }
    state.SetItemsProcessed(1000 * state.iterations());
}
BENCHMARK(list_1000_entries);

void overwrite_4k_of_a_file_of_100000_extents(benchmark::State& state) {
    bench_volume v;
    auto file = v.create(0);
    constexpr std::uint64_t count = 100'000, size = 4096;
    std::uint64_t sequence = 0;
    const auto write = [&](std::uint64_t block) {
        extent e;
        e.file_offset = block * size;
        e.size = e.piece_size = size;
        e.chunk = {{1, 1}, ++sequence};
        WARIFU_ASSERT(v.names->replace_extents(file, e.file_offset, size, {e}));
    };
    file.size = count * size;
    for (std::uint64_t i = 0; i < count; ++i) write(i);
    std::mt19937_64 random(1);
    const double before = v.logged();
    for (auto _ : state) write(random() % count);
    count_log(state, v.logged() - before);
}
BENCHMARK(overwrite_4k_of_a_file_of_100000_extents);

void unlink_and_forget(benchmark::State& state) {
    bench_volume v;
    std::uint64_t made = 0, gone = 0;
    double logged = 0;
    for (auto _ : state) {
        if (gone == made) {
            state.PauseTiming();
            for (int i = 0; i < 5000; ++i, ++made) v.write(v.create(made), made);
            state.ResumeTiming();
        }
        const double before = v.logged();
        const auto victim = v.names->unlink(v.directory, bench_volume::name(gone++), time_stamp::now());
        WARIFU_ASSERT(victim);
        WARIFU_ASSERT(*v.names->forget_orphan(victim->number, 1000));
        logged += v.logged() - before;
    }
    count_log(state, logged);
}
BENCHMARK(unlink_and_forget);

}  // namespace
}  // namespace warifu
