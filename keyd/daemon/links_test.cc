// Two key managers in one process that get their pads from a (simulated) key delivery service: what a consumer claims
// at one end is the same at the other, over restarts of either.

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "keyd/client.h"
#include "keyd/daemon/keyd.h"
#include "keyd/link/test_support.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

struct keyd_links_test : testing::Test {
    keyd_links_test() {
        spdlog::set_level(spdlog::level::critical);
        const std::string out = directory / "courier";
        EXPECT_TRUE(make_directory(out));
        const auto files = write_enrolments(out, "a", "b");
        EXPECT_TRUE(files);
        for (const char* site : {"a", "b"}) {
            EXPECT_TRUE(make_directory(directory / site));
            const std::string peer = site[0] == 'a' ? "b" : "a";
            EXPECT_TRUE(accept_enrolment(directory / (std::string(site) + "/links"), site, {peer},
                                         (*files)[site[0] == 'a' ? 0 : 1]));
        }
    }

    std::shared_ptr<keyd> start(const std::string& site) {
        keyd_options options;
        options.site = site;
        options.directory = directory / site;
        options.control_reserve = 0;
        options.poll_ms = 5;
        options.peers = {site == "a" ? "b" : "a"};
        keyd_link link;
        link.peer = options.peers[0];
        link.stock = 1U << 20U;
        link.connect_kme = [this](asio::any_io_executor) -> result<std::shared_ptr<key_delivery>> {
            return std::make_shared<fake_delivery>(quantum);
        };
        if (site == "a") link.control = endpoint{"127.0.0.1", port};
        else options.listen = endpoint{"127.0.0.1", port};
        options.links.push_back(link);
        auto started = keyd::start(core.get_executor(), std::move(options));
        EXPECT_TRUE(started) << started.error().message();
        if (started && site == "b") port = (*started)->links()->port();
        return started ? *started : nullptr;
    }
    template <typename Work>
    void run(Work work) {
        bool ended = false;
        asio::co_spawn(core, work(), [&](std::exception_ptr thrown) {
            ended = true;
            if (thrown) std::rethrow_exception(thrown);
        });
        while (!ended) {
            if (core.stopped()) core.restart();
            core.run_one();
        }
    }
    awaitable<bool> filled(std::string site) {
        auto client = co_await keyd_client::connect(directory / (site + "/keyd.sock"));
        const auto until = deadline_in_ms(20'000);
        while (client && steady_clock::now() < until) {
            const auto stock = co_await (*client)->available(site == "a" ? "b" : "a");
            if (stock && stock->outbound >= 700'000 && stock->inbound >= 700'000) co_return true;
            co_await sleep_for(std::chrono::milliseconds(5));
        }
        co_return false;
    }
    /// A window goes out at a; the same range at b holds the same bytes.
    awaitable<void> use_some() {
        const auto near = co_await keyd_client::connect(directory / "a/keyd.sock");
        const auto far = co_await keyd_client::connect(directory / "b/keyd.sock");
        EXPECT_TRUE(near && far);
        if (!near || !far) co_return;
        const auto until = deadline_in_ms(10'000);
        const auto sent = co_await (*near)->claim_send(ab, session_id{}, 1000, 100'000, key_use::bulk, until);
        EXPECT_TRUE(sent) << sent.error().message();
        if (!sent) co_return;
        const auto taken = co_await (*far)->claim_receive(ab, session_id{}, (*sent)->range());
        EXPECT_TRUE(taken) << taken.error().message();
        if (taken) EXPECT_TRUE(std::ranges::equal((*sent)->bytes(), (*taken)->bytes()));
        const auto slot = co_await (*near)->take_hello_slot(ab, until);
        EXPECT_TRUE(slot);
        if (!slot) co_return;
        const auto seen = co_await (*far)->peek_hello_slot(ab, slot->offset);
        EXPECT_TRUE(seen && seen->key == slot->key);
    }

    const stream_name ab{"a", "b"};
    temporary_directory directory;
    asio::io_context core{1};
    std::shared_ptr<fake_quantum_link> quantum = std::make_shared<fake_quantum_link>();
    std::uint16_t port = [] {
        // A port that was free a moment ago: b listens there again after its restart.
        asio::io_context io;
        asio::ip::tcp::acceptor probe(io, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
        return probe.local_endpoint().port();
    }();
};

TEST_F(keyd_links_test, keyds_get_equal_pads_from_their_service_over_restarts) {
    auto b = start("b"), a = start("a");
    ASSERT_TRUE(a && b);
    for (int round = 0; round < 3; ++round) {
        run([&]() -> awaitable<void> {
            EXPECT_TRUE(co_await filled("a"));
            EXPECT_TRUE(co_await filled("b"));
            co_await use_some();
        });
        const auto status = a->describe();
        ASSERT_EQ(status["links"].size(), 1U);
        if (round == 0) EXPECT_EQ(status["links"][0]["connected"], true);  // later the stock may still be full
        EXPECT_EQ(status["claim"], "simulated");
        run([&]() -> awaitable<void> { co_await (round % 2 == 0 ? a : b)->stop(); });
        if (round % 2 == 0) {
            a.reset();
            a = start("a");
        } else {
            b.reset();
            b = start("b");
        }
        ASSERT_TRUE(a && b);
    }
    run([&]() -> awaitable<void> {
        co_await a->stop();
        co_await b->stop();
    });
}

TEST_F(keyd_links_test, what_is_out_follows_the_rate_of_the_service) {
    auto b = start("b"), a = start("a");
    ASSERT_TRUE(a && b);
    run([&]() -> awaitable<void> {
        EXPECT_TRUE(co_await filled("a"));
        const auto client = co_await keyd_client::connect(directory / "a/keyd.sock");
        EXPECT_TRUE(client);
        if (!client) co_return;
        const auto got = co_await (*client)->claim_send(ab, session_id{}, 65'536, 8U << 20U, key_use::bulk,
                                                        deadline_in_ms(10'000));
        EXPECT_TRUE(got) << got.error().message();
        if (got) EXPECT_LT((*got)->range().size, 700'000U) << "a quarter of what may be out, of a stock that has more";
    });
    run([&]() -> awaitable<void> {
        co_await a->stop();
        co_await b->stop();
    });
}

TEST_F(keyd_links_test, an_end_that_was_restored_from_an_older_copy_is_told_so_by_its_peer) {
    auto b = start("b"), a = start("a");
    ASSERT_TRUE(a && b);
    std::uint64_t used_end = 0;
    const auto use = [&]() -> awaitable<void> {
        EXPECT_TRUE(co_await filled("a"));
        EXPECT_TRUE(co_await filled("b"));
        const auto client = co_await keyd_client::connect(directory / "a/keyd.sock");
        EXPECT_TRUE(client);
        if (!client) co_return;
        const auto got = co_await (*client)->claim_send(ab, session_id{}, 1000, 100'000, key_use::bulk,
                                                        deadline_in_ms(10'000));
        EXPECT_TRUE(got) << got.error().message();
        if (!got) co_return;
        EXPECT_GE((*got)->range().offset, used_end) << "used before";
        used_end = (*got)->range().end();
        (void)co_await (*client)->release(ab, (*got)->range(), used_end);
    };
    const auto restart = [&] {
        run([&]() -> awaitable<void> { co_await a->stop(); });
        a.reset();
    };
    run(use);
    restart();
    std::filesystem::copy(directory / "a", directory / "older", std::filesystem::copy_options::recursive);
    a = start("a");
    run(use);
    EXPECT_FALSE(a->describe()["alarms"].dump().find("older copy") != std::string::npos);
    restart();
    a = start("a");  // b hears how far it is
    run(use);
    restart();
    std::filesystem::remove_all(directory / "a");
    std::filesystem::rename(directory / "older", directory / "a");
    a = start("a");
    run(use);  // from key that came afterwards
    const auto status = a->describe();
    EXPECT_NE(status["alarms"].dump().find("restored from an older copy"), std::string::npos) << status["alarms"];
    EXPECT_GT(status["renounced_bytes"], 0);
    EXPECT_EQ(status["witness"], "1 of 1 peers told what they remember of this ledger");
    restart();
    a = start("a");
    run(use);
    EXPECT_EQ(a->describe()["renounced_bytes"], 0) << "once";
    run([&]() -> awaitable<void> {
        co_await a->stop();
        co_await b->stop();
    });
}

}  // namespace
}  // namespace warifu
