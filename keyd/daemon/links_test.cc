// Key managers in one process that get their pads from (simulated) key delivery services: what a consumer claims at one
// end is the same at the other, over restarts of either. Site a has a link to each of the others.

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "keyd/client.h"
#include "keyd/daemon/keyd.h"
#include "keyd/link/test_support.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

/// That was free a moment ago: a site listens there again after its restart.
std::uint16_t free_port() {
    asio::io_context io;
    asio::ip::tcp::acceptor probe(io, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    return probe.local_endpoint().port();
}

struct keyd_links_test : testing::Test {
    keyd_links_test() {
        spdlog::set_level(spdlog::level::critical);
        for (const std::string peer : {"b", "c"}) {
            const std::string out = directory / ("courier-" + peer);
            EXPECT_TRUE(make_directory(out));
            const auto files = write_enrolments(out, "a", peer);
            EXPECT_TRUE(files);
            if (files) enrol("a", peer, (*files)[0]);
            if (files) enrol(peer, "a", (*files)[1]);
        }
    }
    void enrol(const std::string& site, const std::string& peer, const std::string& file) {
        std::filesystem::create_directories(directory / site);
        EXPECT_TRUE(accept_enrolment(directory / (site + "/links"), site, {peer}, file));
    }

    std::shared_ptr<keyd> start(const std::string& site) { return start(site, {site == "a" ? "b" : "a"}); }
    std::shared_ptr<keyd> start(const std::string& site, const std::vector<std::string>& peers) {
        keyd_options options;
        options.site = site;
        options.directory = directory / site;
        options.control_reserve = 0;
        options.poll_ms = 5;
        options.peers = peers;
        for (const auto& peer : peers) {
            keyd_link link;
            link.peer = peer;
            link.stock = 1U << 20U;
            const auto quantum = links.at(site == "a" ? peer : site);
            link.connect_kme = [quantum](asio::any_io_executor) -> result<std::shared_ptr<key_delivery>> {
                return std::make_shared<fake_delivery>(quantum);
            };
            if (site == "a") link.control = endpoint{"127.0.0.1", ports.at(peer)};
            options.links.push_back(link);
        }
        if (site != "a") options.listen = endpoint{"127.0.0.1", ports.at(site)};
        auto started = keyd::start(core.get_executor(), std::move(options));
        EXPECT_TRUE(started) << started.error().message();
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
    awaitable<bool> filled(std::string site) { co_return co_await filled(site, site == "a" ? "b" : "a"); }
    awaitable<bool> filled(std::string site, std::string peer) {
        auto client = co_await keyd_client::connect(directory / (site + "/keyd.sock"));
        const auto until = deadline_in_ms(20'000);
        while (client && steady_clock::now() < until) {
            const auto stock = co_await (*client)->available(peer);
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
    /// Uses a window of a's stream to b, which must lie after those before.
    awaitable<void> use_on(std::uint64_t& used_end) {
        EXPECT_TRUE(co_await filled("a"));
        EXPECT_TRUE(co_await filled("b"));
        const auto client = co_await keyd_client::connect(directory / "a/keyd.sock");
        EXPECT_TRUE(client);
        if (!client) co_return;
        const auto got =
            co_await (*client)->claim_send(ab, session_id{}, 1000, 100'000, key_use::bulk, deadline_in_ms(10'000));
        EXPECT_TRUE(got) << got.error().message();
        if (!got) co_return;
        EXPECT_GE((*got)->range().offset, used_end) << "used before";
        used_end = (*got)->range().end();
        (void)co_await (*client)->release(ab, (*got)->range(), used_end);
    }
    /// Stops them, one after the other; their directories are free then.
    template <typename... Keyd>
    void stop(Keyd&... daemons) {
        run([&]() -> awaitable<void> { (co_await daemons->stop(), ...); });
        (daemons.reset(), ...);
    }

    const stream_name ab{"a", "b"};
    temporary_directory directory;
    asio::io_context core{1};
    const std::map<std::string, std::shared_ptr<fake_quantum_link>> links{{"b", std::make_shared<fake_quantum_link>()},
                                                                          {"c", std::make_shared<fake_quantum_link>()}};
    const std::map<std::string, std::uint16_t> ports{{"b", free_port()}, {"c", free_port()}};
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
    stop(a, b);
}

TEST_F(keyd_links_test, what_is_out_follows_the_rate_of_the_service) {
    auto b = start("b"), a = start("a");
    ASSERT_TRUE(a && b);
    run([&]() -> awaitable<void> {
        EXPECT_TRUE(co_await filled("a"));
        const auto client = co_await keyd_client::connect(directory / "a/keyd.sock");
        EXPECT_TRUE(client);
        if (!client) co_return;
        const auto got =
            co_await (*client)->claim_send(ab, session_id{}, 65'536, 8U << 20U, key_use::bulk, deadline_in_ms(10'000));
        EXPECT_TRUE(got) << got.error().message();
        if (got) EXPECT_LT((*got)->range().size, 700'000U) << "a quarter of what may be out, of a stock that has more";
    });
    stop(a, b);
}

TEST_F(keyd_links_test, an_end_that_was_restored_from_an_older_copy_is_told_so_by_its_peer) {
    auto b = start("b"), a = start("a");
    ASSERT_TRUE(a && b);
    std::uint64_t used_end = 0;
    run([&] { return use_on(used_end); });
    stop(a);
    std::filesystem::copy(directory / "a", directory / "older", std::filesystem::copy_options::recursive);
    a = start("a");
    run([&] { return use_on(used_end); });
    EXPECT_FALSE(a->describe()["alarms"].dump().find("older copy") != std::string::npos);
    stop(a);
    a = start("a");  // b hears how far it is
    run([&] { return use_on(used_end); });
    stop(a);
    std::filesystem::remove_all(directory / "a");
    std::filesystem::rename(directory / "older", directory / "a");
    a = start("a");
    run([&] { return use_on(used_end); });  // from key that came afterwards
    const auto status = a->describe();
    EXPECT_NE(status["alarms"].dump().find("restored from an older copy"), std::string::npos) << status["alarms"];
    EXPECT_GT(status["renounced_bytes"], 0);
    EXPECT_EQ(status["witness"], "1 of 1 peers told what they remember of this ledger");
    stop(a);
    a = start("a");
    run([&] { return use_on(used_end); });
    EXPECT_EQ(a->describe()["renounced_bytes"], 0) << "once";
    stop(a, b);
}

TEST_F(keyd_links_test, any_peer_remembers_how_far_the_ledger_was) {
    auto b = start("b"), c = start("c"), a = start("a", {"b", "c"});
    ASSERT_TRUE(a && b && c);
    std::uint64_t used_end = 0;
    run([&] { return use_on(used_end); });
    stop(a);
    std::filesystem::copy(directory / "a", directory / "older", std::filesystem::copy_options::recursive);
    for (int i = 0; i < 2; ++i) {  // the second start tells both peers what was done after the first
        a = start("a", {"b", "c"});
        run([&]() -> awaitable<void> {
            co_await use_on(used_end);
            EXPECT_TRUE(co_await filled("a", "c"));
        });
        stop(a);
    }
    // The peer of the stream is away when the old copy comes; only the other one can tell.
    stop(b);
    std::filesystem::remove_all(directory / "a");
    std::filesystem::rename(directory / "older", directory / "a");
    a = start("a", {"b", "c"});
    run([&]() -> awaitable<void> {
        const auto until = deadline_in_ms(20'000);
        while (a->describe()["renounced_bytes"] == 0 && steady_clock::now() < until)
            co_await sleep_for(std::chrono::milliseconds(5));
    });
    const auto status = a->describe();
    EXPECT_GT(status["renounced_bytes"], 0);
    EXPECT_EQ(status["witness"], "1 of 2 peers told what they remember of this ledger");
    EXPECT_NE(status["alarms"].dump().find("restored from an older copy"), std::string::npos) << status["alarms"];
    b = start("b");
    run([&] { return use_on(used_end); });
    stop(a, b, c);
}

TEST_F(keyd_links_test, stops_with_several_links_whatever_they_are_doing) {
    auto b = start("b"), c = start("c");
    for (const char* state : {"both are being filled", "one is full", "a peer is away", "both are away"}) {
        auto a = start("a", {"b", "c"});
        ASSERT_TRUE(a);
        if (state == std::string("one is full")) run([&]() -> awaitable<void> { EXPECT_TRUE(co_await filled("a")); });
        if (state == std::string("a peer is away")) stop(b);
        if (state == std::string("both are away")) stop(c);
        for (int i = 0; i < 200; ++i) core.poll_one();
        stop(a);
    }
    b = start("b");
    c = start("c");
    auto a = start("a", {"b", "c"});
    run([&]() -> awaitable<void> {
        EXPECT_TRUE(co_await filled("a"));
        EXPECT_TRUE(co_await filled("c"));
        co_await use_some();
    });
    stop(a, b, c);
}

}  // namespace
}  // namespace warifu
