#include "keyd/dealer.h"

#include <algorithm>
#include <csignal>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/limits.h"
#include "keyd/daemon/keyd.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

struct dealer_test : testing::Test {
    dealer_test() {
        spdlog::set_level(spdlog::level::critical);
        for (const std::string site : {"a", "b", "c"}) start(site);
        options.links = {{"a", "b"}, {"a", "c"}};
        options.target = 1U << 20U;
        options.block_size_min = 128U << 10U;
        options.poll_ms = 5;
        options.disk_reserve = 0;
    }
    void start(const std::string& site) {
        keyd_options with;
        with.site = site;
        with.directory = directory / site;
        with.control_reserve = 0;
        with.poll_ms = 2;
        auto started = keyd::start(core.get_executor(), with);
        ASSERT_TRUE(started) << started.error().message();
        keyds[site] = *started;
        if (std::ranges::count(options.sites, site, &dealer_options::end::site) == 0)
            options.sites.push_back({site, directory / (site + "/incoming"), directory / (site + "/keyd.sock")});
    }
    void run(std::function<awaitable<void>()> body) {
        asio::co_spawn(core, body(), [&](std::exception_ptr thrown) {
            core.stop();
            if (thrown) std::rethrow_exception(thrown);
        });
        core.restart();
        core.run();
    }
    awaitable<void> stop_all() {
        for (const auto& [site, daemon] : keyds) co_await daemon->stop();
    }
    awaitable<pad_broker::stock> stock_of(std::string site, std::string peer) {
        auto client = co_await keyd_client::connect(directory / (site + "/keyd.sock"));
        const auto stock = co_await (*client)->available(std::move(peer));
        co_return stock ? *stock : pad_broker::stock{};
    }
    bool undelivered() {
        return std::ranges::any_of(
            keyds, [&](const auto& one) { return !std::filesystem::is_empty(directory / (one.first + "/incoming")); });
    }
    /// Steps until nothing is missing and all is imported; how many blocks were dealt.
    awaitable<std::size_t> settle(dealer& works) {
        std::size_t total = 0;
        for (int quiet = 0; quiet < 5;) {
            const auto written = co_await works.step();
            total += written ? *written : 0;
            quiet = written && *written == 0 && !undelivered() ? quiet + 1 : 0;
            co_await sleep_for(std::chrono::milliseconds(20));
        }
        co_return total;
    }

    temporary_directory directory;
    asio::io_context core{1};
    std::map<std::string, std::shared_ptr<keyd>> keyds;
    dealer_options options;
};

TEST_F(dealer_test, keeps_every_stream_at_its_target_and_both_ends_equal) {
    auto works = *dealer::create(options);
    run([&]() -> awaitable<void> {
        const auto block_size = dealt_block_size(options);
        EXPECT_EQ(block_size, 128U << 10U);
        co_await settle(*works);
        for (const std::string peer : {"b", "c"}) {
            const auto near = co_await stock_of("a", peer), far = co_await stock_of(peer, "a");
            EXPECT_GE(near.outbound, options.target);
            EXPECT_LT(near.outbound, options.target + block_size);
            EXPECT_EQ(near.outbound, far.inbound);
            EXPECT_EQ(near.inbound, far.outbound);
        }
        const auto client = co_await keyd_client::connect(directory / "a/keyd.sock");
        const auto peer = co_await keyd_client::connect(directory / "b/keyd.sock");
        std::uint64_t taken = 0;
        while (taken < options.target / 2) {
            const auto sent =
                co_await (*client)->claim_send(ab, session_id{}, 1, 65'536, key_use::bulk, deadline_in_ms(100));
            if (!sent) break;
            const auto got = co_await (*peer)->claim_receive(ab, session_id{}, (*sent)->range());
            EXPECT_TRUE(got && std::ranges::equal((*sent)->bytes(), (*got)->bytes()));
            taken += (*sent)->range().size;
        }
        const auto more = co_await settle(*works);
        EXPECT_GE(more * block_size, options.target / 2);
        const auto near = co_await stock_of("a", "b");
        EXPECT_GE(near.outbound, options.target);
        // A new dealer goes on behind the old one's blocks.
        works = *dealer::create(options);
        const auto none = co_await settle(*works);
        EXPECT_EQ(none, 0U);
        co_await stop_all();
    });
}

TEST_F(dealer_test, waits_for_a_keyd_that_is_down_and_heeds_the_disk) {
    auto works = *dealer::create(options);
    run([&]() -> awaitable<void> {
        co_await keyds["c"]->stop();
        keyds.erase("c");
        co_await settle(*works);
        const auto stock = co_await stock_of("a", "c");
        EXPECT_EQ(stock.outbound, 0U) << "nothing piles up for a keyd that is down";
        const auto other = co_await stock_of("a", "b");
        EXPECT_GE(other.outbound, options.target);
        start("c");
        co_await settle(*works);
        const auto later = co_await stock_of("a", "c");
        EXPECT_GE(later.outbound, options.target);
        auto greedy = options;
        greedy.target = 1U << 30U;
        greedy.disk_reserve = std::uint64_t{1} << 60U;
        works = *dealer::create(greedy);
        const auto none = co_await settle(*works);
        EXPECT_EQ(none, 0U);
        co_await stop_all();
    });
}

TEST_F(dealer_test, a_rate_is_kept) {
    options.rate_bits = 8 * (1U << 20U);  // 1 MiB a second
    auto works = *dealer::create(options);
    run([&]() -> awaitable<void> {
        const auto begin = steady_clock::now();
        std::size_t written = 0;
        while (steady_clock::now() - begin < std::chrono::milliseconds(600)) {
            const auto step = co_await works->step();
            written += step ? *step : 0;
            co_await sleep_for(std::chrono::milliseconds(5));
        }
        const double seconds = std::chrono::duration<double>(steady_clock::now() - begin).count();
        const double bytes = static_cast<double>(written * dealt_block_size(options));
        EXPECT_GT(written, 0U);
        EXPECT_LE(bytes, 4 * seconds * (1U << 20U)) << "four streams, never above the rate";
        co_await stop_all();
    });
}

TEST_F(dealer_test, refuses_links_to_nowhere) {
    auto bad = options;
    bad.links.emplace_back("a", "x");
    EXPECT_EQ(dealer::create(bad).error().code, errc::bad_argument);
    bad = options;
    bad.block_size_min = 100;
    EXPECT_EQ(dealer::create(bad).error().code, errc::bad_argument);
    run([&]() -> awaitable<void> { co_await stop_all(); });
}

TEST_F(dealer_test, runs_as_a_process_until_sigterm) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(run_dealer(options) ? 0 : 1);
    run([&]() -> awaitable<void> {
        for (int i = 0; i < 1000; ++i) {
            const auto stock = co_await stock_of("c", "a");
            if (std::min(stock.inbound, stock.outbound) >= options.target) break;
            co_await sleep_for(std::chrono::milliseconds(5));
        }
        const auto stock = co_await stock_of("c", "a");
        EXPECT_GE(stock.outbound, options.target);
        ::kill(child, SIGTERM);
        co_await stop_all();
    });
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace warifu
