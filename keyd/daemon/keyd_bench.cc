// The whole way of a window: marked, copied into lent memory, released, erased. On a disk erasing waits for the bench's
// own pauses, unless a stock lasts longer than erase_delay_time_max_ms.
// Pads lie in WARIFU_BENCH_DIR (default: /dev/shm). On a disk they are read from there and not from memory; read_blocks
// is what the disk gives to whoever only reads, through the machine's memory or past it.

#include <benchmark/benchmark.h>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <spdlog/spdlog.h>
#include <thread>

#include "keyd/client.h"
#include "keyd/daemon/keyd.h"

namespace warifu {
namespace {

const stream_name ab{"a", "b"};
constexpr std::uint64_t block_size = 64U << 20U;

void write_blocks(const std::string& directory, std::uint64_t& offset, int count) {
    buffer bytes(8U << 20U);
    (void)make_drbg()->fill(bytes.span());
    for (int i = 0; i < count; ++i, offset += block_size) {
        block_header block;
        block.id = random_uuid<block_id>();
        block.stream = ab;
        block.range = {offset, block_size};
        block.hello_size = hello_region_size(block_size);
        auto file = *pad_file_writer::create(directory, block);
        for (std::uint64_t done = 0; done < block_size; done += bytes.size()) (void)file.append(bytes.view());
        (void)file.finish();
    }
}

std::string new_directory() {
    const char* base = std::getenv("WARIFU_BENCH_DIR");
    std::string directory = std::string(base == nullptr ? "/dev/shm" : base) + "/warifu-bench-XXXXXX";
    return ::mkdtemp(directory.data()) == nullptr ? std::string() : directory;
}

/// Leaves the disk alone with the files: what is in memory of them is dropped. Nothing on a tmpfs.
void cool(const std::string& directory) {
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        const auto file = open_file(entry.path(), O_RDONLY);
        if (!file) continue;
        ::fsync(file->get());
        ::posix_fadvise(file->get(), 0, 0, POSIX_FADV_DONTNEED);
    }
}

void read_blocks(benchmark::State& state) {
    const std::string directory = new_directory();
    if (directory.empty()) return state.SkipWithError("no directory");
    std::uint64_t offset = 0;
    write_blocks(directory, offset, 8);
    constexpr std::size_t step = 4U << 20U;
    buffer memory(static_cast<std::size_t>(state.range(1)) << 20U);
    const auto read = state.range(0) == 0 ? read_at : read_cold;
    for (auto _ : state) {
        state.PauseTiming();
        cool(directory);
        state.ResumeTiming();
        for (const auto& entry : std::filesystem::directory_iterator(directory)) {
            const auto file = open_file(entry.path(), O_RDONLY);
            for (std::size_t at = 0; at < block_size; at += step) {
                const auto out = memory.span(at % memory.size(), step);
                if (!file || !read(file->get(), at, out, entry.path())) state.SkipWithError("cannot read");
            }
        }
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(offset));
    std::filesystem::remove_all(directory);
}
// Into the same memory again and again, which stays in the processor's cache, or into as much as consumers hold.
BENCHMARK(read_blocks)
    ->ArgNames({"cold", "MiB"})
    ->Args({0, 4})
    ->Args({1, 4})
    ->Args({1, 16})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void hand_over(benchmark::State& state) {
    spdlog::set_level(spdlog::level::warn);
    const auto size = static_cast<std::uint64_t>(state.range(0)) << 20U;
    const int in_flight = static_cast<int>(state.range(1));
    const std::string directory = new_directory();
    if (directory.empty()) return state.SkipWithError("no directory");
    keyd_options options;
    options.site = "a";
    options.directory = directory;
    options.control_reserve = 0;
    options.poll_ms = 1;
    asio::io_context core(1), own(1);
    auto daemon = *keyd::start(core.get_executor(), options);
    std::jthread server([&] { core.run(); });
    std::uint64_t offset = 0;
    std::unique_ptr<keyd_client> client;
    const auto connect = [&]() -> awaitable<void> {
        auto connected = co_await keyd_client::connect(directory + "/keyd.sock");
        if (connected) client = std::move(*connected);
        own.stop();
    };
    asio::co_spawn(own, connect(), asio::detached);
    own.run();
    std::uint64_t bytes = 0, left = 0, due = 0;
    int under_way = 0;
    const auto claim = [&]() -> awaitable<void> {
        while (due != 0) {
            --due;
            const auto window =
                co_await client->claim_send(ab, session_id{}, 1U << 20U, size, key_use::bulk, deadline_in_ms(30'000));
            if (!window) {
                state.SkipWithError(window.error().message().c_str());
                break;
            }
            const auto range = (*window)->range();
            bytes += range.size;
            left -= range.size;
            (void)co_await client->release(ab, range, range.end());
        }
        if (--under_way == 0) own.stop();
    };
    for (auto _ : state) {
        if (left < 3 * block_size) {
            state.PauseTiming();
            write_blocks(directory + "/incoming", offset, 8);
            while (!std::filesystem::is_empty(directory + "/incoming")) std::this_thread::yield();
            cool(directory + "/blocks");
            left += 8 * (block_size - hello_region_size(block_size));
            state.ResumeTiming();
        }
        due = block_size / size;
        for (under_way = 0; under_way < in_flight; ++under_way) asio::co_spawn(own, claim(), asio::detached);
        own.restart();
        own.run();
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
    client.reset();
    const auto stop = [&]() -> awaitable<void> {
        co_await daemon->stop();
        core.stop();
    };
    asio::co_spawn(core, stop(), asio::detached);
    server.join();
    daemon.reset();
    std::filesystem::remove_all(directory);
}
BENCHMARK(hand_over)
    ->ArgNames({"MiB", "in_flight"})
    ->Args({1, 1})
    ->Args({4, 1})
    ->Args({4, 2})
    ->Args({16, 2})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace warifu
