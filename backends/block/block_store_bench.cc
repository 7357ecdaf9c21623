// What the sector store does beside what the disk below it does with the same pattern. Run by hand; TMPDIR says on
// which disk.

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include "backends/block/block_store.h"
#include "backends/block/sector_crc.h"
#include "backends/block/test_files.h"
#include "backends/run_task.h"
#include "fs/base/random.h"

namespace warifu {
namespace {

constexpr std::uint64_t store_size = 6ULL << 30U;
constexpr ballot writer{1, 1};

struct bench_store {
    temporary_folder folder;
    asio::io_context core;
    std::unique_ptr<block_store> store;
    std::shared_ptr<share_store> volume;
    std::uint64_t next_chunk = 1;
    std::uint64_t next_record = 1;

    explicit bench_store(std::uint64_t zero_ahead) {
        block_store_options options;
        options.path = (folder.path / "store").string();
        options.size = store_size;
        options.zero_ahead = zero_ahead;
        if (!block_store::format(options)) std::abort();
        store = std::move(*run_task(core, block_store::open(core, options)));
        volume = *store->open_volume(random_uuid<volume_id>());
        if (!run_task(core, volume->promise(writer))) std::abort();
        settle();
    }
    ~bench_store() {
        volume.reset();
        store.reset();
        core.restart();
        core.run();
    }
    /// Lets zero-writing ahead and erasing finish.
    void settle() {
        core.restart();
        core.run();
    }
    share_put share(std::size_t size) {
        share_put out;
        out.chunk = chunk_id{writer, next_chunk++};
        out.authority = writer;
        out.side = slice(buffer::zeroed(64));
        buffer piece(size);
        std::memset(piece.data(), static_cast<int>(next_chunk), size);
        out.pieces.emplace_back(std::move(piece));
        return out;
    }
    append_request record(std::vector<chunk_id> chunks) {
        append_request out;
        out.authority = writer;
        out.entry.epoch = writer;
        out.entry.sequence = next_record++;
        out.entry.chunks = std::move(chunks);
        out.entry.share = slice(buffer::zeroed(400));
        return out;
    }
    task<> commit(share_put put) {
        std::vector<chunk_id> chunks{put.chunk};
        CO_TRY_VOID(co_await volume->put(std::move(put)));
        CO_TRY_VOID(co_await volume->append(record(std::move(chunks))));
        co_return co_await volume->cut_journal(writer, next_record - 1);
    }
};

void check(const result<void>& done, benchmark::State& state) {
    if (!done) state.SkipWithError(done.error().message().c_str());
}

/// The disk alone: one 4 KiB write and fdatasync in a file that was written before.
void disk_write_4k_fdatasync(benchmark::State& state) {
    const temporary_folder folder;
    const int fd = ::open((folder.path / "raw").c_str(), O_RDWR | O_CREAT | O_DIRECT, 0600);
    const buffer bytes = buffer::zeroed(1U << 20U);
    for (off_t at = 0; at < 64; ++at)
        if (::pwrite(fd, bytes.data(), bytes.size(), at << 20) < 0) state.SkipWithError("write");
    ::fsync(fd);
    off_t at = 0;
    for (auto _ : state) {
        if (::pwrite(fd, bytes.data(), 4096, at) < 0 || ::fdatasync(fd) != 0) state.SkipWithError("write");
        at = (at + 4096) % (64 << 20);
    }
    ::close(fd);
}
BENCHMARK(disk_write_4k_fdatasync)->UseRealTime();

void put_4k_append(benchmark::State& state) {
    bench_store t(1U << 30U);
    const std::uint64_t flushes = t.store->status().flush_count;
    for (auto _ : state) check(run_task(t.core, t.commit(t.share(4096))), state);
    const auto commits = static_cast<double>(state.iterations());
    state.counters["flushes_per_commit"] = static_cast<double>(t.store->status().flush_count - flushes) / commits;
}
BENCHMARK(put_4k_append)->UseRealTime();

void put_4k_append_8_at_once(benchmark::State& state) {
    bench_store t(1U << 30U);
    for (auto _ : state) {
        int left = 8;
        for (int i = 0; i < 8; ++i)
            asio::co_spawn(t.core, t.volume->put(t.share(4096)), [&](std::exception_ptr, result<void> done) {
                check(done, state);
                --left;
            });
        while (left > 0) {
            t.core.restart();
            t.core.run_one();
        }
        check(run_task(t.core, t.volume->append(t.record({}))), state);
        check(run_task(t.core, t.volume->cut_journal(writer, t.next_record - 1)), state);
    }
    state.SetItemsProcessed(state.iterations() * 8);
}
BENCHMARK(put_4k_append_8_at_once)->UseRealTime();

/// The disk alone: 1 MiB writes, one after the other, into space that was written before.
void disk_write_sequential(benchmark::State& state) {
    const temporary_folder folder;
    const int fd = ::open((folder.path / "raw").c_str(), O_RDWR | O_CREAT | O_DIRECT, 0600);
    const buffer bytes = buffer::zeroed(4U << 20U);
    for (off_t at = 0; at < 256; ++at)
        if (::pwrite(fd, bytes.data(), bytes.size(), at << 22) < 0) state.SkipWithError("write");
    ::fsync(fd);
    off_t at = 0;
    for (auto _ : state) {
        if (::pwrite(fd, bytes.data(), bytes.size(), at << 22) < 0) state.SkipWithError("write");
        at = (at + 1) % 256;
    }
    ::close(fd);
    state.SetBytesProcessed(state.iterations() * (4 << 20));
}
BENCHMARK(disk_write_sequential)->UseRealTime()->Iterations(256);

/// Argument: puts at once. One append per 64.
void put_4m(benchmark::State& state) {
    bench_store t(2ULL << 30U);
    const auto at_once = static_cast<std::size_t>(state.range(0));
    std::vector<share_put> ready;
    for (std::size_t i = 0; i < 256; ++i) ready.push_back(t.share(4U << 20U));
    for (auto _ : state) {
        std::size_t next = 0, running = 0;
        while (next < ready.size() || running > 0) {
            while (next < ready.size() && running < at_once) {
                ++running;
                asio::co_spawn(t.core, t.volume->put(ready[next++]), [&](std::exception_ptr, result<void> done) {
                    check(done, state);
                    --running;
                });
            }
            t.core.restart();
            t.core.run_one();
        }
        check(run_task(t.core, t.volume->sync()), state);
    }
    state.SetBytesProcessed(state.iterations() * 256 * (4 << 20));
}
BENCHMARK(put_4m)->Arg(1)->Arg(4)->UseRealTime()->Iterations(1);

void get_4k_random(benchmark::State& state) {
    bench_store t(1ULL << 30U);
    constexpr std::uint64_t chunks = 64;
    for (std::uint64_t i = 0; i < chunks; ++i) check(run_task(t.core, t.volume->put(t.share(4U << 20U))), state);
    check(run_task(t.core, t.volume->sync()), state);
    std::uint64_t x = 88172645463325252ULL;
    for (auto _ : state) {
        x ^= x << 13U, x ^= x >> 7U, x ^= x << 17U;
        share_range range;
        range.offset = static_cast<std::uint32_t>((x >> 8U) % 1024 * 4096);
        range.size = 4096;
        auto got = run_task(t.core, t.volume->get(chunk_id{writer, 1 + x % chunks}, std::vector{range}));
        if (!got) state.SkipWithError(got.error().message().c_str());
    }
}
BENCHMARK(get_4k_random)->UseRealTime();

void get_1m_sequential(benchmark::State& state) {
    bench_store t(1ULL << 30U);
    constexpr std::uint64_t chunks = 64;
    for (std::uint64_t i = 0; i < chunks; ++i) check(run_task(t.core, t.volume->put(t.share(4U << 20U))), state);
    std::uint64_t at = 0;
    for (auto _ : state) {
        share_range range;
        range.offset = static_cast<std::uint32_t>(at % 4 << 20U);
        range.size = 1U << 20U;
        auto got = run_task(t.core, t.volume->get(chunk_id{writer, 1 + at / 4 % chunks}, std::vector{range}));
        if (!got) state.SkipWithError(got.error().message().c_str());
        ++at;
    }
    state.SetBytesProcessed(state.iterations() << 20);
}
BENCHMARK(get_1m_sequential)->UseRealTime();

void checksum_4m(benchmark::State& state) {
    const buffer bytes = buffer::zeroed(4U << 20U);
    const std::vector<bytes_view> views{bytes.view()};
    for (auto _ : state) benchmark::DoNotOptimize(sector_checksums(views));
    state.SetBytesProcessed(state.iterations() * (4 << 20));
}
BENCHMARK(checksum_4m);

}  // namespace
}  // namespace warifu
