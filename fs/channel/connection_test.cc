#include <thread>

#include "fs/channel/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t stream_stock = 256U << 20U;

struct connection_test : channel_fixture {
    void echo_many(transport mode) {
        const auto c = connect(mode);
        ASSERT_TRUE(c) << c.error().message();
        for (const std::size_t size : {0U, 1U, 100U, 4096U, 65535U, 262143U, 262144U, 1000000U, 4194304U, 8388608U}) {
            const auto echoed = echo_now(*c, size, size + 3);
            ASSERT_TRUE(echoed) << size << ": " << echoed.error().message();
        }
        std::size_t good = 0;
        std::size_t done = 0;
        for (std::uint64_t i = 0; i < 600; ++i) {
            const auto size = static_cast<std::size_t>(i % 7 == 0 ? 300000 + i : i * 13);
            asio::co_spawn(core, echo(*c, size, i, i % 3 == 0 ? verb::append : verb::get),
                           [&good, &done](std::exception_ptr, result<void> r) {
                               good += r ? 1 : 0;
                               ++done;
                           });
        }
        ASSERT_TRUE(run_until(core, [&] { return done == 600; }));
        EXPECT_EQ(good, 600U);
    }
};

TEST_F(connection_test, requests_of_every_size_and_many_at_once_come_back_sealed) {
    echo_many(transport::otp);
}

TEST_F(connection_test, requests_of_every_size_and_many_at_once_come_back_plain) {
    echo_many(transport::plain);
}

TEST_F(connection_test, clean_end_burns_nothing) {
    const auto c = connect();
    ASSERT_TRUE(c);
    for (std::uint64_t i = 0; i < 40; ++i) ASSERT_TRUE(echo_now(*c, 500000, i));
    const auto before = (*c)->counters();
    EXPECT_TRUE(run_on_this(core, closing(*c)));
    ASSERT_TRUE(run_until(core, [&] { return b->ends.size() == 1 && ends.size() == 1; }));
    EXPECT_EQ(ends[0].code, errc::cancelled);
    EXPECT_EQ(b->ends[0].code, errc::cancelled);
    run_for(core, std::chrono::milliseconds(20));
    const auto after = (*c)->counters();
    EXPECT_GT(after.pad_sent, before.pad_sent);
    const std::uint64_t hello_regions =
        stream_stock / (16U << 20U) * std::max<std::uint64_t>(4096, (16U << 20U) / 1024);
    const auto a_stock = run_on_this(core, a_keys->available("b"));
    const auto b_stock = run_on_this(core, b_keys->available("a"));
    ASSERT_TRUE(a_stock && b_stock);
    // What is left at both ends is the same, and nothing but what was sealed (and the first 16 bytes of windows) is
    // gone.
    EXPECT_EQ(a_stock->outbound, b_stock->inbound);
    EXPECT_EQ(a_stock->inbound, b_stock->outbound);
    EXPECT_LE(stream_stock - hello_regions - a_stock->outbound, after.pad_sent + 64);
    EXPECT_GE(stream_stock - hello_regions - a_stock->outbound + 16, after.pad_sent);
    EXPECT_TRUE(connect());
}

TEST_F(connection_test, the_responder_may_end_too) {
    const auto c = connect();
    ASSERT_TRUE(c && echo_now(*c, 1000));
    EXPECT_TRUE(run_on_this(core, closing(b->connections.at(0))));
    ASSERT_TRUE(run_until(core, [&] { return ends.size() == 1; }));
    EXPECT_EQ(ends[0].code, errc::cancelled);
    EXPECT_EQ(echo_now(*c, 10).error().code, errc::unreachable);
}

TEST_F(connection_test, windows_grow_with_use) {
    const auto c = connect();
    ASSERT_TRUE(c);
    for (std::uint64_t i = 0; i < 15; ++i) ASSERT_TRUE(echo_now(*c, 4U << 20U, i));
    const auto counters = (*c)->counters();
    EXPECT_GT(counters.pad_sent, 60U << 20U);
    EXPECT_LT(counters.pad_sent, 61U << 20U);  // overhead under 1 %
    EXPECT_EQ(counters.frames.forged + counters.frames.replayed + counters.frames.out_of_place, 0U);
}

TEST_F(connection_test, a_lost_connection_is_not_a_clean_end) {
    for (const transport mode : {transport::otp, transport::plain}) {
        const auto c = connect(mode);
        ASSERT_TRUE(c && echo_now(*c, 1000));
        b->connections.back()->abort(error(errc::unreachable, "killed"));
        ends.clear();
        ASSERT_TRUE(run_until(core, [&] { return ends.size() == 1; }));
        EXPECT_EQ(ends[0].code, errc::unreachable);
        EXPECT_NE(ends[0].text.find("without an authenticated end"), std::string::npos) << ends[0].text;
        EXPECT_FALSE((*c)->is_open());
    }
}

TEST_F(connection_test, requests_in_flight_fail_with_unreachable_when_the_peer_goes) {
    b->answers = false;
    const auto c = connect();
    ASSERT_TRUE(c);
    std::vector<result<void>> outcomes;
    for (std::uint64_t i = 0; i < 20; ++i)
        asio::co_spawn(core, echo(*c, 1000, i, verb::get, 60000),
                       [&outcomes](std::exception_ptr, result<void> r) { outcomes.push_back(std::move(r)); });
    ASSERT_TRUE(run_until(core, [&] { return b->requests == 20; }));
    b->connections.back()->abort(error(errc::unreachable));
    ASSERT_TRUE(run_until(core, [&] { return outcomes.size() == 20; }));
    for (const auto& outcome : outcomes) EXPECT_EQ(outcome.error().code, errc::unreachable);
}

TEST_F(connection_test, a_silent_peer_costs_a_deadline_and_the_connection) {
    b->answers = false;
    const auto c = connect();
    ASSERT_TRUE(c);
    const auto late = run_on_this(core, echo(*c, 1000, 1, verb::get, 100));
    EXPECT_EQ(late.error().code, errc::timed_out);
    EXPECT_FALSE((*c)->is_open());
}

TEST_F(connection_test, in_flight_requests_are_bounded_and_the_rest_waits) {
    b->answers = false;
    const auto c = connect();
    ASSERT_TRUE(c);
    std::size_t done = 0;
    for (std::uint64_t i = 0; i < requests_in_flight_max + 50; ++i)
        asio::co_spawn(core, echo(*c, 10, i, verb::get, 3000), [&done](std::exception_ptr, result<void>) { ++done; });
    ASSERT_TRUE(run_until(core, [&] { return b->requests >= requests_in_flight_max; }));
    run_for(core, std::chrono::milliseconds(100));
    EXPECT_EQ(b->requests, requests_in_flight_max);
    std::size_t control = 0;  // not behind them
    asio::co_spawn(core, echo(*c, 10, 1, verb::heartbeat, 3000),
                   [&control](std::exception_ptr, result<void>) { ++control; });
    ASSERT_TRUE(run_until(core, [&] { return b->requests == requests_in_flight_max + 1; }));
    ASSERT_TRUE(run_until(core, [&] { return done == requests_in_flight_max + 50 && control == 1; }));
}

TEST_F(connection_test, answers_larger_than_asked_for_are_not_sent) {
    const auto c = connect();
    ASSERT_TRUE(c);
    message_body body;
    body.payload.push_back(patterned(1000, 1));
    const auto answer = run_on_this(core, (*c)->call(verb::get, std::move(body), 999, deadline_in_ms(patience_ms)));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, errc::too_large);
    message_body huge;
    huge.payload.push_back(slice(buffer(message_size_max + 1)));
    EXPECT_EQ(run_on_this(core, (*c)->call(verb::put, std::move(huge), 0, deadline_in_ms(patience_ms))).error().code,
              errc::too_large);
    EXPECT_TRUE((*c)->is_open());
}

TEST_F(connection_test, ends_on_two_threads) {
    // Answers may arrive before the write that carried them has returned.
    asio::io_context other_core;
    auto other = std::make_unique<echo_site>(other_core, b_keys);
    std::jthread thread([&] {
        const auto guard = asio::make_work_guard(other_core);
        other_core.run();
    });
    b->path.swap(other->path);
    for (const transport mode : {transport::otp, transport::plain}) {
        const auto c = connect(mode, other->tcp.local_endpoint().port());
        ASSERT_TRUE(c);
        std::size_t good = 0;
        std::size_t done = 0;
        for (std::uint64_t i = 0; i < 400; ++i)
            asio::co_spawn(core, echo(*c, i % 20 == 0 ? 3000000 : 100 * i, i), [&](std::exception_ptr, result<void> r) {
                good += r ? 1 : 0;
                ++done;
            });
        ASSERT_TRUE(run_until(core, [&] { return done == 400; }));
        EXPECT_EQ(good, 400U);
        EXPECT_TRUE(run_on_this(core, closing(*c)));
    }
    b->path.swap(other->path);
    other_core.stop();
    thread.join();
    other.reset();
}

TEST_F(connection_test, a_network_connection_never_runs_plain) {
    auto how = greeting(transport::otp);
    how.mode = transport::plain;
    const auto over_tcp = [this](initiator_options options) -> task<greeted> {
        CO_TRY(auto socket,
               co_await connect_tcp("127.0.0.1", b->tcp.local_endpoint().port(), deadline_in_ms(patience_ms)));
        co_return co_await greet(socket, std::move(options), deadline_in_ms(patience_ms));
    };
    EXPECT_EQ(run_on_this(core, over_tcp(how)).error().code, errc::denied);
    EXPECT_EQ(b->connections.size(), 0U);
}

TEST_F(connection_test, wrong_names_and_refused_volumes) {
    auto how = greeting();
    how.peer_site = "c";
    EXPECT_EQ(run_on_this(core, open(b->tcp.local_endpoint().port(), how, 1000)).error().code, errc::unreachable);
    b->greeting.admit = [](const std::string& site, const volume_id&) -> result<void> {
        return fail(errc::denied, "no grant for " + site);
    };
    EXPECT_EQ(connect().error().code, errc::denied);
    EXPECT_EQ(connect(transport::plain).error().code, errc::denied);
    b->greeting.admit = [](const std::string&, const volume_id&) { return result<void>{}; };
    EXPECT_TRUE(connect());
    // The denied attempt's windows were not used and came back at both ends.
    EXPECT_EQ(run_on_this(core, a_keys->available("b"))->outbound, run_on_this(core, b_keys->available("a"))->inbound);
}

}  // namespace
}  // namespace warifu
