// Two link services over a network in memory: the good case, key that is lost, late or wrong, demand, and what is told.

#include <nlohmann/json.hpp>

#include "keyd/link/test_support.h"

namespace warifu {
namespace {

struct link_test : testing::Test, link_world {};

TEST_F(link_test, both_directions_fill_to_the_target_with_equal_blocks) {
    start();
    ASSERT_TRUE(run_until_full());
    check();
    check_joined_everywhere();
    EXPECT_GT(a.service->counters().blocks_out, 0U);
    // The last confirmation may be on its way.
    EXPECT_TRUE(run_until([&] { return a.service->counters().blocks_out == b.service->counters().blocks_in; }));
    EXPECT_EQ(a.service->counters().sessions, 1U);
    EXPECT_EQ(a.service->counters().keys_lost + b.service->counters().keys_lost, 0U);
    const auto status = a.service->status();
    EXPECT_EQ(status["connected"], true);
    EXPECT_EQ(status["peer"], "b");
}

TEST_F(link_test, blocks_lie_behind_whatever_either_end_ever_saw) {
    a.pool.base = 1U << 20U;
    b.pool.base = (5U << 20U) + 4096;
    start();
    ASSERT_TRUE(run_until_full());
    check();
    for (const auto& [name, blocks] : a.pool.streams)
        for (const auto& [offset, one] : blocks) EXPECT_GE(offset, (5U << 20U) + 4096);
}

TEST_F(link_test, the_control_pad_is_fed_by_the_links_own_key) {
    a.options.stock_target = 12U << 20U;  // 96 blocks, a slot each, and enrolment gave 64
    start();
    ASSERT_TRUE(run_until([&] { return full(a); }));
    const auto& left = a.service->store().state();
    EXPECT_GT(left.next[static_cast<std::size_t>(slot_shelf::work_caller)],
              first_slot(slot_shelf::work_caller) + control_work_slots_target);
    EXPECT_GT(left.work_count(), control_work_slots_target / 2);
    check();
}

TEST_F(link_test, each_end_tells_what_it_will_never_use) {
    const stream_name ab{"a", "b"}, ba{"b", "a"};
    const std::vector<pad_range> sent{{0, 4096}, {8192, 100}}, lost{{1U << 20U, 5000}};
    a.pool.gone_here[ab] = sent;  // at the sender
    a.pool.gone_here[ba] = lost;  // at the receiver
    b.options.gone_settle_ms = 400;
    start();
    ASSERT_TRUE(run_until([&] { return b.pool.given_up.contains(ba); }));
    EXPECT_EQ(b.pool.given_up[ba], lost) << "the sender gives it up at once";
    EXPECT_FALSE(b.pool.given_up.contains(ab)) << "the receiver waits for windows that are on their way";
    ASSERT_TRUE(run_until([&] { return b.pool.given_up.contains(ab); }));
    EXPECT_EQ(b.pool.given_up[ab], sent);
    EXPECT_TRUE(a.pool.given_up.empty());
    check();
}

struct fault_case {
    const char* name;
    std::function<void(link_world&)> arrange;
    bool lossy;   // keys were lost
    bool differ;  // blocks were dropped because they differ
};
std::ostream& operator<<(std::ostream& out, const fault_case& c) {
    return out << c.name;
}
struct link_fault_test : link_test, testing::WithParamInterface<fault_case> {};

TEST_P(link_fault_test, is_skipped_by_both_ends) {
    GetParam().arrange(*this);
    start();
    ASSERT_TRUE(run_until_full());
    check();
    check_joined_everywhere();
    const auto lost = a.service->counters().keys_lost + b.service->counters().keys_lost;
    const auto different = a.service->counters().blocks_different + b.service->counters().blocks_different;
    EXPECT_EQ(lost > 0, GetParam().lossy);
    EXPECT_EQ(different > 0, GetParam().differ);
}
INSTANTIATE_TEST_SUITE_P(
    faults, link_fault_test,
    testing::Values(
        fault_case{"every third key is unknown at b",
                   [](link_world& w) { w.b.kme->lose = [](std::uint64_t n) { return n % 3 == 0; }; }, true, false},
        fault_case{"a key expires at either end now and then",
                   [](link_world& w) {
                       w.a.kme->lose = [](std::uint64_t n) { return n == 2; };
                       w.b.kme->lose = [](std::uint64_t n) { return n == 5; };
                   },
                   true, false},
        fault_case{"a key has other bytes at b",
                   [](link_world& w) { w.b.kme->wrong = [](std::uint64_t n) { return n == 3; }; }, false, true},
        fault_case{"keys have other bytes at a",
                   [](link_world& w) { w.a.kme->wrong = [](std::uint64_t n) { return n % 50 == 7; }; }, false, true},
        fault_case{"a key is shorter at b",
                   [](link_world& w) { w.b.kme->cut = [](std::uint64_t n) { return n == 1; }; }, true, false},
        fault_case{"keys of 256 bits", [](link_world& w) { w.a.options.key_size = w.b.options.key_size = 32; }, false,
                   false},
        fault_case{"a service with fixed keys of 1250 bytes",
                   [](link_world& w) {
                       w.quantum->key_size = w.quantum->key_size_min = w.quantum->key_size_max = 1250;
                   },
                   false, false}),
    [](const auto& info) { return "case_" + std::to_string(info.index); });

TEST_F(link_test, goes_on_when_the_key_delivery_services_come_back) {
    a.kme->enc_error = errc::unreachable;
    b.kme->dec_error = errc::denied;
    b.kme->status_error = errc::timed_out;
    start();
    ASSERT_TRUE(run_until(
        [&] { return a.service->counters().kme_errors > 3 && b.service->counters().kme_errors > 3; }));
    EXPECT_EQ(a.service->counters().blocks_out + b.service->counters().blocks_out, 0U);
    a.kme->enc_error.reset();
    ASSERT_TRUE(run_until([&] { return b.service->counters().kme_errors > 6; }));
    b.kme->dec_error.reset();
    b.kme->status_error.reset();
    ASSERT_TRUE(run_until_full());
    check();
}

TEST_F(link_test, a_full_disk_at_the_receiver_stops_the_stream_until_there_is_room) {
    b.pool.refuse = errc::no_space;
    start();
    ASSERT_TRUE(run_until([&] { return a.service->counters().blocks_refused > 2; }));
    EXPECT_EQ(a.service->counters().blocks_out, 0U);
    b.pool.refuse.reset();
    ASSERT_TRUE(run_until_full());
    check();
    check_joined_everywhere();
}

TEST_F(link_test, a_trickle_of_key_still_makes_blocks) {
    quantum->key_size = 4096;
    quantum->budget = 0;
    start();
    ASSERT_TRUE(run_until([&] { return a.service->is_connected(); }));
    for (int i = 0; i < 200 && a.service->counters().blocks_out == 0; ++i) {
        quantum->budget += 4096;
        run_for(std::chrono::milliseconds(8));
    }
    ASSERT_TRUE(run_until([&] {
        quantum->budget += 4096;
        return a.service->counters().blocks_out > 0;
    }));
    check();
}

TEST_F(link_test, without_work_slots_slow_key_still_refills_the_control_pad) {
    quantum->key_size = 512;
    for (auto* s : {&a, &b}) {
        s->kme->at_once = 1;
        s->options.stock_target = 50'000;
        s->options.key_size = 512;
    }
    start();
    leave_work_slots(0);
    ASSERT_TRUE(run_until([&] {
        return full(a) && full(b) && a.service->store().state().work_count() > control_work_slots_target / 2;
    }));
    EXPECT_EQ(a.service->counters().sessions, 1U) << "more than a hundred keys a block, and no hello slot for them";
    check();
}

TEST_F(link_test, an_end_without_control_pad_gives_up_at_once_and_saves_hello_slots) {
    a.kme->enc_error = b.kme->enc_error = errc::unreachable;
    for (auto* s : {&a, &b}) {
        s->options.backoff_min_ms = 50;
        s->options.state_interval_ms = 0;
    }
    start();
    leave_work_slots(0);
    a.options.answer_timeout_ms = b.options.answer_timeout_ms = 60'000;
    ASSERT_TRUE(run_until([&] { return a.service->counters().sessions >= 3; })) << "nobody waits for slots";
    const auto sessions = a.service->counters().sessions;
    run_for(std::chrono::milliseconds(200));
    EXPECT_LE(a.service->counters().sessions, sessions + 1) << "the pause doubles while no block comes";
    check();
}

TEST_F(link_test, an_outage_of_the_service_leaves_the_control_pad_alone) {
    a.kme->enc_error = b.kme->enc_error = errc::unreachable;
    for (auto* s : {&a, &b}) s->options.state_interval_ms = 40;
    start();
    leave_work_slots(control_work_slots_target / 2);
    run_for(std::chrono::milliseconds(1500));
    EXPECT_GT(a.service->counters().kme_errors, 50U);
    EXPECT_EQ(a.service->counters().sessions, 1U);
    EXPECT_GE(a.service->store().state().work_count(), control_work_slots_target / 2 - 1)
        << "a round that offered nothing is not given up, and states become rare";
}

TEST_F(link_test, refused_blocks_and_lost_keys_are_tried_again_with_growing_pauses) {
    b.pool.refuse = errc::no_space;
    for (auto* s : {&a, &b}) s->options.backoff_min_ms = 50;
    start();
    ASSERT_TRUE(run_until([&] { return a.service->counters().blocks_refused > 0; }));
    run_for(std::chrono::milliseconds(500));
    EXPECT_GT(a.service->counters().blocks_refused, 1U);
    EXPECT_LE(a.service->counters().blocks_refused, 6U) << "after 50, 100, 200, 400 ms, two at once";
    b.kme->dec_error = errc::denied;
    b.pool.refuse.reset();
    const auto calls = a.kme->calls;
    run_for(std::chrono::milliseconds(500));
    EXPECT_LE(a.kme->calls, calls + 8);
    b.kme->dec_error.reset();
    ASSERT_TRUE(run_until_full());
    check();
}

TEST_F(link_test, a_stop_does_not_wait_for_the_key_delivery_service) {
    a.kme->hangs = true;
    start();
    ASSERT_TRUE(run_until([&] { return a.kme->calls != 0; }));
    const auto begun = steady_clock::now();
    stop(a);
    EXPECT_LT(steady_clock::now() - begun, std::chrono::seconds(2));
}

TEST_F(link_test, a_new_enrolment_ends_the_session_that_runs_on_the_old_one) {
    start();
    ASSERT_TRUE(run_until_full());
    enrol();
    asio::co_spawn(core, [this]() -> awaitable<void> {  // anybody's call makes the listener look
        auto pipe = co_await connect();
        link_protocol::call m;
        m.from = "a";
        m.to = "b";
        const auto raw = encode(m);
        const byte_vector sized = writer().put_be(static_cast<std::uint32_t>(raw.size())).put_bytes(raw).take();
        (void)co_await (*pipe)->write_all(sized);
        co_await sleep_for(std::chrono::milliseconds(50));
    }, asio::detached);
    ASSERT_TRUE(run_until([&] { return a.service->counters().sessions == 2 && b.service->counters().sessions == 2; }));
    EXPECT_EQ(b.service->store().state().id, a.service->store().state().id);
    for (auto* s : {&a, &b}) s->pool.used += 300'000;
    ASSERT_TRUE(run_until_full());
    EXPECT_EQ(a.service->counters().protocol_errors + b.service->counters().protocol_errors, 0U);
    check();
}

TEST_F(link_test, a_peer_cannot_name_nodes_without_end) {
    a.options.stock_target = 30U << 20U;
    a.options.block_size_max = 64U << 10U;
    std::uint64_t named = 0;
    start();
    a.kme->path = {"\xff\xfe"};
    ASSERT_TRUE(run_until([&] {
        if (named < 2000) a.kme->path = {"node-" + std::to_string(++named), "caf\xc3"};
        return b.service->counters().blocks_refused != 0 || named > 1990;
    }));
    EXPECT_LE(b.service->paths().nodes().size(), link_nodes_max);
    EXPECT_TRUE(b.service->paths().nodes().contains("caf%C3"));
    EXPECT_NO_THROW((void)b.service->status().dump());
}

TEST_F(link_test, relays_are_recorded_at_both_ends) {
    a.kme->path = {"relay-2", "relay-1"};
    start();
    ASSERT_TRUE(run_until_full());
    for (const auto* s : {&a, &b}) {
        EXPECT_EQ(s->service->paths().nodes(), (std::set<std::string>{"relay-1", "relay-2"}));
        // Recorded before the block joins; one may be on its way.
        EXPECT_GE(s->service->paths().blocks().size(), a.service->counters().blocks_out);
    }
    stop(a);
    start(a);
    EXPECT_EQ(a.service->paths().nodes().size(), 2U);
}

TEST_F(link_test, a_restarted_end_is_greeted_again) {
    start();
    ASSERT_TRUE(run_until_full());
    for (int i = 0; i < 5; ++i) {
        auto& s = i % 2 == 0 ? a : b;
        const auto before = s.service->counters().sessions;
        EXPECT_GT(before, 0U);
        stop(s);
        start(s);
        ASSERT_TRUE(run_until([&] { return a.service->is_connected() && b.service->is_connected(); })) << i;
    }
    for (auto* s : {&a, &b})
        s->pool.used += s->pool.level({s->options.own, s->options.peer}).available - 100'000;
    ASSERT_TRUE(run_until_full());
    check();
    check_joined_everywhere();
}

}  // namespace
}  // namespace warifu
