// keyd as a process of its own: a clean stop by SIGTERM, and kill -9 at random moments under load.

#include <csignal>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keyd/client.h"
#include "keyd/daemon/keyd.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t process_block_size = 1U << 20U;

/// Of site a, whose directory is ready for deliveries.
keyd_options options_in(const temporary_directory& directory) {
    std::filesystem::create_directories(directory / "a/incoming");
    keyd_options options;
    options.site = "a";
    options.directory = directory / "a";
    options.control_reserve = 0;
    return options;
}

struct keyd_process {
    explicit keyd_process(const keyd_options& options) {
        pid = ::fork();
        if (pid == 0) {
            spdlog::set_level(spdlog::level::off);
            const auto ended = run_keyd(options);
            ::_exit(ended ? 0 : 1);
        }
    }
    /// The exit status, or minus the signal.
    int end(int signal) {
        ::kill(pid, signal);
        return wait();
    }
    int wait() {
        int status = 0;
        ::waitpid(pid, &status, 0);
        pid = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    ~keyd_process() {
        if (pid > 0) end(SIGKILL);
    }
    pid_t pid = -1;
};

awaitable<std::unique_ptr<keyd_client>> reach(std::string socket) {
    for (int i = 0; i < 2000; ++i) {
        auto client = co_await keyd_client::connect(socket);
        if (client) co_return std::move(*client);
        co_await sleep_for(std::chrono::milliseconds(2));
    }
    co_return nullptr;
}

void run(awaitable<void> body) {
    asio::io_context core(1);
    asio::co_spawn(core, std::move(body), [&](std::exception_ptr thrown) {
        core.stop();
        if (thrown) std::rethrow_exception(thrown);
    });
    core.run();
}

/// What was ever handed out: a range must never overlap an earlier one, except in its released tail.
struct recorder {
    interval_set used{~std::size_t{0}};
    std::size_t windows = 0;
};

/// Claims and releases until the connection is lost. What is held then counts as used.
awaitable<void> consume(std::string socket, unsigned seed, recorder& record, pid_t victim) {
    const auto client = co_await reach(socket);
    EXPECT_NE(client, nullptr);
    if (client == nullptr) co_return;
    std::mt19937 random(seed);
    std::vector<std::unique_ptr<pad_window>> held;
    const std::size_t kill_after = random() % 40;
    for (std::size_t i = 0;; ++i) {
        if (i == kill_after) ::kill(victim, SIGKILL);
        auto window = co_await client->claim_send(ab, session_id{}, 1, 1 + random() % 20'000, key_use::bulk,
                                                  deadline_in_ms(1000));
        if (!window) break;
        ++record.windows;
        const auto range = (*window)->range();
        EXPECT_FALSE(record.used.intersects(range.offset, range.end())) << "handed out twice";
        record.used.add(range.offset, range.end());
        held.push_back(std::move(*window));
        if (held.size() < 4) continue;
        const auto given = held.front()->range();
        held.erase(held.begin());
        const std::uint64_t used_to = given.offset + random() % given.size;
        const auto released = co_await client->release(ab, given, used_to);
        if (!released) break;
        record.used.subtract(used_to, given.end());
    }
}

TEST(keyd_process, kill_9_under_load_never_hands_a_byte_out_twice) {
    const temporary_directory directory;
    keyd_options options = options_in(directory);
    options.poll_ms = 5;
    recorder record;
    for (unsigned round = 0; round < 15; ++round) {
        write_block(make_block(ab, round * process_block_size, process_block_size), {directory / "a/incoming"});
        keyd_process daemon(options);
        run(consume(directory / "a/keyd.sock", round, record, daemon.pid));
        EXPECT_EQ(daemon.end(SIGKILL), -SIGKILL);
    }
    EXPECT_GT(record.windows, 100U);
}

/// Claims and uses up windows until keyd is gone; returns the end of the last one.
awaitable<std::uint64_t> use_until_it_ends(std::string socket) {
    const auto client = co_await reach(socket);
    std::uint64_t end = 0;
    for (int i = 0; client != nullptr && i < 50'000; ++i) {
        const auto window = co_await client->claim_send(ab, session_id{}, 16, 16, key_use::bulk, deadline_in_ms(5000));
        if (!window) break;
        EXPECT_GE((*window)->range().offset, end) << "handed out before";
        end = (*window)->range().end();
        (void)co_await client->release(ab, (*window)->range(), end);
    }
    co_return end;
}

/// Which file the ledger is cannot be known after a compaction whose renaming failed: keyd ends and says so, and the
/// next one goes on from what is really there.
TEST(keyd_process, a_ledger_that_fails_ends_it_with_an_error) {
    const temporary_directory directory;
    const keyd_options options = options_in(directory);
    write_block(make_block(ab, 0, process_block_size), {directory / "a/incoming"});
    const std::string socket = directory / "a/keyd.sock";
    std::uint64_t used = 0;
    {
        keyd_process daemon(options);
        const auto work = [&]() -> awaitable<void> {
            EXPECT_NE(co_await reach(socket), nullptr);
            std::filesystem::rename(directory / "a/ledger", directory / "a/ledger.kept");
            std::filesystem::create_directories(directory / "a/ledger/in-the-way");
            used = co_await use_until_it_ends(socket);
        };
        run(work());
        EXPECT_GT(used, 4096U);
        EXPECT_EQ(daemon.wait(), 1);
    }
    std::filesystem::remove_all(directory / "a/ledger");
    std::filesystem::rename(directory / "a/ledger.kept", directory / "a/ledger");
    keyd_process next(options);
    const auto work = [&]() -> awaitable<void> {
        const auto client = co_await reach(socket);
        if (client == nullptr) co_return;
        const auto window =
            co_await client->claim_send(ab, session_id{}, 16, 16, key_use::bulk, deadline_in_ms(15'000));
        EXPECT_TRUE(window) << window.error().message();
        if (window) EXPECT_GE((*window)->range().offset, used);
    };
    run(work());
    EXPECT_EQ(next.end(SIGTERM), 0);
}

/// The status of a keyd by its client, waited for until `done` says so.
awaitable<nlohmann::json> status_when(keyd_client& client, std::function<bool(const nlohmann::json&)> done) {
    nlohmann::json status;
    for (int i = 0; i < 2000; ++i) {
        const auto text = co_await client.status_json();
        if (text) status = nlohmann::json::parse(*text);
        if (text && done(status)) break;
        co_await sleep_for(std::chrono::milliseconds(5));
    }
    co_return status;
}

/// SIGTERM burns nothing: what was used is erased, what a living consumer holds it releases to the next keyd.
TEST(keyd_process, sigterm_is_a_clean_stop_that_burns_nothing) {
    const temporary_directory directory;
    const keyd_options options = options_in(directory);
    const auto block = make_block(ab, 0, process_block_size);
    write_block(block, {directory / "a/incoming"});
    const auto data = [&] { return read_all(directory / "a/blocks/" + to_text(block.id) + ".pad"); };
    const auto is_zero = [](const byte_vector& bytes, std::size_t from, std::size_t to) {
        const auto begin = bytes.begin() + pad_header_size;
        return std::all_of(begin + static_cast<std::ptrdiff_t>(from), begin + static_cast<std::ptrdiff_t>(to),
                           [](std::byte b) { return b == std::byte{0}; });
    };
    const std::string socket = directory / "a/keyd.sock";
    keyd_process daemon(options);
    const auto work = [&]() -> awaitable<void> {
        const auto client = co_await reach(socket);
        if (client == nullptr) co_return;
        const auto until = deadline_in_ms(15'000);
        const auto used = co_await client->claim_send(ab, session_id{}, 100'000, 100'000, key_use::bulk, until);
        const auto held = co_await client->claim_send(ab, session_id{}, 500'000, 500'000, key_use::bulk, until);
        EXPECT_TRUE(used && held);
        const auto released = co_await client->release(ab, (*used)->range(), (*used)->range().end());
        EXPECT_TRUE(released);
        EXPECT_EQ(daemon.end(SIGTERM), 0);
        EXPECT_FALSE(std::filesystem::exists(socket));
        EXPECT_TRUE(is_zero(data(), 4096, 104'096));
        EXPECT_FALSE(is_zero(data(), 104'096, 104'196));
        keyd_process next(options);
        auto status = co_await status_when(*client, [](const auto& s) { return s["windows_reclaimed"] == 1; });
        EXPECT_EQ(status["windows_reclaimed"], 1);
        const auto rest = co_await client->release(ab, (*held)->range(), (*held)->range().offset + 50'000);
        EXPECT_TRUE(rest);
        status = co_await status_when(*client, [](const auto&) { return true; });
        EXPECT_EQ(status["streams"][0]["burnt_bytes"], 0);
        EXPECT_EQ(status["streams"][0]["used_bytes"], 150'000);
        EXPECT_EQ(next.end(SIGTERM), 0);
        EXPECT_TRUE(is_zero(data(), 4096, 154'096));
        EXPECT_FALSE(is_zero(data(), 154'096, 154'196));
    };
    run(work());
}

}  // namespace
}  // namespace warifu
