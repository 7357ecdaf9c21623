// The link under cuts, crashes, restored copies and forged messages. After each the recorder must not have seen a byte
// of control pad serve two messages, and both ends must agree on every byte of pad.

#include <random>

#include "keyd/link/test_support.h"

namespace warifu {
namespace {

struct robust_test : testing::Test, link_world {
    robust_test() {
        for (auto* s : {&a, &b}) s->options.stock_target = 50'000;  // one block of 64 KiB fills it
    }
    /// Compares what there is, then forgets the blocks: the streams go on behind them.
    void check_and_forget() {
        check();
        for (auto* s : {&a, &b}) {
            for (const auto& [name, blocks] : s->pool.streams)
                for (const auto& [offset, one] : blocks) s->pool.base = std::max(s->pool.base, one.header.range.end());
            s->pool.streams.clear();
        }
    }
    bool both_connected() { return a.service->is_connected() && b.service->is_connected(); }
    /// One undisturbed stretch: both streams fill, control pad comes in.
    void recover(const std::string& what) {
        ASSERT_TRUE(run_until_full()) << what;
        check_and_forget();
    }
};

TEST_F(robust_test, the_connection_is_cut_at_each_byte) {
    start();
    ASSERT_TRUE(run_until_full());
    cut_all();
    check_and_forget();
    ASSERT_TRUE(run_until_full());
    run_for(std::chrono::milliseconds(5));
    const std::uint64_t whole = last_size;  // greeting, both directions' rounds
    ASSERT_GT(whole, 600U);
    const std::uint64_t before = recorder.messages;
    for (std::uint64_t n = 1; n <= whole + 16 && !HasFailure(); ++n) {
        cut_after = n;
        cut_all();
        check_and_forget();
        const auto started = a.service->counters().sessions + a.service->counters().sessions_failed;
        ASSERT_TRUE(run_until([&] {
            return cut_after == 0 || (full(a) && full(b)) ||
                   a.service->counters().sessions + a.service->counters().sessions_failed > started + 1;
        })) << n;
        cut_after = 0;
        recover("cut after " + std::to_string(n));
    }
    EXPECT_GT(recorder.messages, before + whole);
}

struct crash_test : robust_test, testing::WithParamInterface<link_end> {};

TEST_P(crash_test, dies_at_each_durable_step_and_comes_back) {
    start();
    recover("first");
    site& victim = at(GetParam());
    std::uint64_t survived = 0;
    for (std::uint64_t n = 1; survived < 3 && n < 200 && !HasFailure(); ++n) {
        stop(victim);
        victim.steps = 0;
        victim.die_at = n;
        start(victim);
        check_and_forget();
        ASSERT_TRUE(run_until([&] { return victim.dead || (full(a) && full(b)); })) << n;
        if (!victim.dead) ++survived;
        victim.die_at = 0;
        stop(victim);
        start(victim);
        recover("death at step " + std::to_string(n));
    }
    EXPECT_EQ(survived, 3U);
}
INSTANTIATE_TEST_SUITE_P(ends, crash_test, testing::Values(link_end::caller, link_end::listener));

struct restore_test : crash_test {
    std::string copy() const { return root + "/copy"; }
    void snapshot(site& s) {
        std::filesystem::remove_all(copy());
        std::filesystem::copy(s.options.directory, copy());
        pool_copy = s.pool.streams;
        base_copy = s.pool.base;
    }
    void restore(site& s) {
        stop(s);
        std::filesystem::remove_all(s.options.directory);
        std::filesystem::copy(copy(), s.options.directory);
        s.pool.streams = pool_copy;
        s.pool.base = base_copy;
        start(s);
    }
    decltype(fake_pool::streams) pool_copy;
    std::uint64_t base_copy = 0;
};

TEST_P(restore_test, from_an_older_copy_skips_what_the_other_end_has_spent) {
    start();
    site& s = at(GetParam());
    ASSERT_TRUE(run_until_full());
    for (int round = 0; round < 8 && !HasFailure(); ++round) {
        snapshot(s);
        for (int i = 0; i < round * 2; ++i) {
            cut_all();
            check_and_forget();
            ASSERT_TRUE(run_until_full());
        }
        restore(s);
        cut_all();
        check_and_forget();
        recover("restored " + std::to_string(round));
    }
}
INSTANTIATE_TEST_SUITE_P(ends, restore_test, testing::Values(link_end::caller, link_end::listener));

TEST_F(robust_test, an_end_restored_from_a_copy_without_common_hello_slots_needs_a_new_enrolment) {
    start();
    recover("first");
    stop(a);
    std::filesystem::copy(a.options.directory, root + "/copy");
    start(a);
    for (int i = 0; i < 260 && !HasFailure(); ++i) {  // more sessions than there were hello slots
        cut_all();
        check_and_forget();
        ASSERT_TRUE(run_until_full()) << i;
    }
    stop(a);
    std::filesystem::remove_all(a.options.directory);
    std::filesystem::copy(root + "/copy", a.options.directory);
    start(a);
    check_and_forget();
    const auto refused = b.service->counters().greetings_refused;
    ASSERT_TRUE(run_until([&] { return b.service->counters().greetings_refused > refused + 3; }));
    EXPECT_FALSE(a.service->is_connected());
    enrol();
    recover("enrolled again");
}

enum class forgery { flip_first, flip_middle, flip_last, repeat, drop, swap, truncate };

TEST_F(robust_test, forged_repeated_dropped_and_swapped_messages_end_the_session_and_nothing_else) {
    start();
    recover("first");
    for (const auto kind : {forgery::flip_first, forgery::flip_middle, forgery::flip_last, forgery::repeat,
                            forgery::drop, forgery::swap, forgery::truncate}) {
        for (std::size_t n = 0; n < 14 && !HasFailure(); ++n) {
            std::size_t seen = 0;
            byte_vector held;
            bool done = false;
            tamper = [&](link_end, byte_vector bytes) -> std::vector<byte_vector> {
                if (done || seen++ != n) {
                    if (held.empty()) return {bytes};
                    return {bytes, std::exchange(held, {})};
                }
                done = true;
                switch (kind) {
                    case forgery::flip_first: bytes.front() ^= std::byte{1}; return {bytes};
                    case forgery::flip_middle: bytes[bytes.size() / 2] ^= std::byte{0x40}; return {bytes};
                    case forgery::flip_last: bytes.back() ^= std::byte{0x80}; return {bytes};
                    case forgery::repeat: return {bytes, bytes};
                    case forgery::drop: return {};
                    case forgery::swap: held = bytes; return {};
                    case forgery::truncate: bytes.pop_back(); return {bytes};
                }
                return {};
            };
            cut_all();
            check_and_forget();
            run_until_for(std::chrono::milliseconds(60), [&] { return full(a) && full(b); });
            tamper = {};
            cut_all();  // what a dropped message left waiting
            recover("kind " + std::to_string(static_cast<int>(kind)) + " message " + std::to_string(n));
        }
    }
    EXPECT_GT(a.service->counters().protocol_errors + b.service->counters().protocol_errors, 0U);
}

TEST_F(robust_test, random_events_for_ever) {
    std::mt19937 random(7);
    a.kme->lose = [](std::uint64_t n) { return n % 17 == 3; };
    b.kme->wrong = [](std::uint64_t n) { return n % 101 == 50; };
    start();
    std::optional<link_end> rolled;  // one end only: both rolled back are not protected
    std::string copy = root + "/copy";
    decltype(fake_pool::streams) pool_copy;
    for (int i = 0; i < 120 && !HasFailure(); ++i) {
        site& s = at(static_cast<link_end>(random() % 2));
        run_for(std::chrono::milliseconds(random() % 6));
        switch (random() % 5) {
            case 0: cut_all(); break;
            case 1: cut_after = 1 + random() % 3000; cut_all(); break;
            case 2:
                s.steps = 0;
                s.die_at = 1 + random() % 12;
                run_for(std::chrono::milliseconds(random() % 8));
                s.die_at = 0;
                stop(s);
                start(s);
                break;
            case 3:
                if (!rolled) {
                    stop(b);
                    std::filesystem::copy(b.options.directory, copy);
                    pool_copy = b.pool.streams;
                    rolled = link_end::listener;
                    start(b);
                } else {
                    stop(b);
                    std::filesystem::remove_all(b.options.directory);
                    std::filesystem::copy(copy, b.options.directory);
                    b.pool.streams = pool_copy;
                    start(b);
                }
                break;
            default: a.pool.used = b.pool.used = random() % 400'000; break;
        }
        check();
    }
    cut_after = 0;
    a.kme->lose = {};
    b.kme->wrong = {};
    cut_all();
    if (a.service->store().state().hello_count() < 8 || b.service->store().state().hello_count() < 8) enrol();
    for (auto* s : {&a, &b}) {  // all is used up: a stock between the watermarks would not be filled
        s->pool.used = 0;
        s->pool.used = s->pool.level({s->options.own, s->options.peer}).available;
    }
    ASSERT_TRUE(run_until_full());
    check();
}

TEST_F(robust_test, strangers_use_up_few_hello_slots) {
    b.options.offer_interval_ms = 600'000;
    start(b);
    run_for(std::chrono::milliseconds(1));
    ASSERT_TRUE(b.service->store_for_tests().take_enrolment());
    const auto before = b.service->store().state().hello_count();
    ASSERT_EQ(before, control_hello_slots_target);
    for (int i = 0; i < 60; ++i) {
        auto wire = std::make_shared<memory_wire>(core.get_executor());
        asio::co_spawn(core, answer(b.service, std::make_shared<memory_pipe>(wire, link_end::listener)),
                       asio::detached);
        link_protocol::call m;
        m.control = b.service->store().state().id;
        m.from = "a";
        m.to = "b";
        const std::uint64_t slot = static_cast<std::uint64_t>(i) * 2;
        m.hello_slots = {{slot, slot + 1}};
        const auto raw = encode(m);
        const byte_vector sized = writer().put_be(static_cast<std::uint32_t>(raw.size())).put_bytes(raw).take();
        const byte_vector bogus = writer().put_be(std::uint32_t{27}).put_bytes(
            encode(link_protocol::confirm_slot{})).take();
        bool done = false;
        asio::co_spawn(core, [](auto w, auto first, auto second, bool* ended) -> awaitable<void> {
            co_await w->write(link_end::caller, first);
            co_await w->write(link_end::caller, second);
            *ended = true;
        }(wire, sized, bogus, &done), asio::detached);
        ASSERT_TRUE(run_until([&] { return done && b.service->counters().greetings_refused > std::uint64_t(i); }));
        wire->close();
    }
    EXPECT_GE(b.service->store().state().hello_count() + link_offer_burst + 2, before);
    EXPECT_FALSE(b.service->is_connected());
}

}  // namespace
}  // namespace warifu
