#include "keyd/memory_broker.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "fs/base/limits.h"
#include "keyd/limits.h"

namespace warifu {
namespace {

const stream_name ab{"a", "b"};

template <typename T>
result<T> wait_for(task<T> work) {
    asio::io_context core;
    auto done = asio::co_spawn(core, std::move(work), asio::use_future);
    core.run();
    return done.get();
}

deadline soon() {
    return deadline_in_ms(20);
}

memory_pads_options small() {
    memory_pads_options options;
    options.stock = 64U << 10U;
    options.block_size = 32U << 10U;
    options.random_stock = 100;
    return options;
}

struct memory_broker_test : testing::Test {
    memory_broker_test() { pads.link("a", "b"); }
    result<std::unique_ptr<pad_window>> send(std::uint64_t min, std::uint64_t want, key_use use = key_use::bulk) {
        return wait_for(a->claim_send(ab, session_id{}, min, want, use, soon()));
    }
    memory_pads pads{small()};
    std::unique_ptr<pad_broker> a = pads.end("a");
    std::unique_ptr<pad_broker> b = pads.end("b");
};

TEST_F(memory_broker_test, both_ends_see_the_same_bytes_once) {
    const auto sent = send(1000, 5000);
    ASSERT_TRUE(sent);
    EXPECT_EQ((*sent)->range(), (pad_range{4096, 5000}));
    const auto received = wait_for(b->claim_receive(ab, session_id{}, (*sent)->range()));
    ASSERT_TRUE(received);
    EXPECT_TRUE(std::ranges::equal((*sent)->bytes(), (*received)->bytes()));
    EXPECT_EQ(wait_for(b->claim_receive(ab, session_id{}, (*sent)->range())).error().code, errc::conflict);
    EXPECT_EQ(wait_for(b->next_free(ab, 0)).value(), 9096U);
    EXPECT_EQ((*send(1, 1))->range().offset, 9096U);
    EXPECT_EQ(wait_for(b->claim_send(ab, session_id{}, 1, 1, key_use::bulk, soon())).error().code, errc::bad_argument);
    EXPECT_EQ(wait_for(a->claim_receive(ab, session_id{}, pad_range{20000, 1})).error().code, errc::bad_argument);
    EXPECT_EQ(wait_for(a->available("c")).error().code, errc::not_found);
}

TEST_F(memory_broker_test, runs_out_and_refills) {
    std::uint64_t total = 0;
    for (auto window = send(1, 10000); window; window = send(1, 10000)) total += (*window)->range().size;
    EXPECT_EQ(total, (64U << 10U) - 2 * 4096U) << "hello regions are never data";
    EXPECT_EQ(send(1, 1).error().code, errc::no_key);
    pads.add_stock(ab, 1);
    EXPECT_EQ((*send(1, 10))->range().offset, (64U << 10U) + 4096U);
    EXPECT_EQ(wait_for(a->available("b"))->outbound, (32U << 10U) - 4096U - 10U);
}

TEST_F(memory_broker_test, a_released_tail_returns_unless_it_was_skipped) {
    const auto first = (*send(5000, 5000))->range();
    ASSERT_TRUE(wait_for(a->release(ab, first, first.offset + 1000)));
    EXPECT_EQ(wait_for(a->release(ab, first, first.end())).error().code, errc::not_found);
    const auto again = (*send(100, 100))->range();
    EXPECT_EQ(again.offset, first.offset + 1000);
    ASSERT_TRUE(wait_for(a->skip_to(ab, 20000)));
    ASSERT_TRUE(wait_for(a->release(ab, again, again.offset)));
    EXPECT_EQ((*send(1, 1))->range().offset, 20000U);
}

TEST_F(memory_broker_test, hello_slots_serve_one_greeting) {
    const auto slot = wait_for(a->take_hello_slot(ab, soon()));
    ASSERT_TRUE(slot);
    const auto other = wait_for(a->take_hello_slot(ab, soon()));
    EXPECT_NE(slot->offset, other->offset);
    const auto seen = wait_for(b->peek_hello_slot(ab, slot->offset));
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->key, slot->key);
    ASSERT_TRUE(wait_for(b->spend_hello_slot(ab, slot->offset)));
    EXPECT_EQ(wait_for(b->spend_hello_slot(ab, slot->offset)).error().code, errc::conflict);
    EXPECT_EQ(wait_for(b->peek_hello_slot(ab, slot->offset)).error().code, errc::conflict);
    for (unsigned i = 0; i < hello_looks_max; ++i) EXPECT_TRUE(wait_for(b->peek_hello_slot(ab, other->offset)));
    EXPECT_EQ(wait_for(b->peek_hello_slot(ab, other->offset)).error().code, errc::conflict);
    EXPECT_EQ(wait_for(b->peek_hello_slot(ab, 1U << 30U)).error().code, errc::not_found);
    EXPECT_EQ(wait_for(b->peek_hello_slot(ab, 5)).error().code, errc::bad_argument);
}

TEST_F(memory_broker_test, one_end_restored_from_a_copy_is_caught_by_the_other) {
    const auto copy = pads.save("a");
    const auto used = (*send(5000, 5000))->range();
    ASSERT_TRUE(wait_for(b->claim_receive(ab, session_id{}, used)));
    pads.restore("a", copy);
    const auto again = (*send(5000, 5000))->range();
    EXPECT_EQ(again, used) << "the restored end does not know better";
    EXPECT_EQ(wait_for(b->claim_receive(ab, session_id{}, again)).error().code, errc::conflict);
    ASSERT_TRUE(wait_for(a->skip_to(ab, *wait_for(b->next_free(ab, again.offset)))));
    const auto fresh = (*send(5000, 5000))->range();
    EXPECT_GE(fresh.offset, used.end());
    EXPECT_TRUE(wait_for(b->claim_receive(ab, session_id{}, fresh)));
}

TEST_F(memory_broker_test, a_refused_window_never_leads_back_to_itself) {
    ASSERT_TRUE(wait_for(b->claim_receive(ab, session_id{}, pad_range{6000, 1000})));
    EXPECT_EQ(wait_for(b->claim_receive(ab, session_id{}, pad_range{4096, 5000})).error().code, errc::conflict);
    EXPECT_EQ(wait_for(b->next_free(ab, 4096)).value(), 9096U);
}

TEST_F(memory_broker_test, missing_blocks_random_bytes_and_a_dead_keyd) {
    pads.lose("b", ab, pad_range{0, 32U << 10U});
    const auto range = (*send(10, 10))->range();
    EXPECT_EQ(wait_for(b->claim_receive(ab, session_id{}, range)).error().code, errc::conflict);
    EXPECT_EQ(wait_for(b->next_free(ab, range.offset)).value(), (32U << 10U) + 4096U);
    const auto first = wait_for(a->take_random(60, soon()));
    ASSERT_TRUE(first);
    EXPECT_EQ(wait_for(a->take_random(60, soon())).error().code, errc::no_key);
    EXPECT_NE(wait_for(a->take_random(40, soon())).value(), byte_vector(first->begin(), first->begin() + 40));
    pads.set_down("a", true);
    EXPECT_EQ(send(1, 1).error().code, errc::unreachable);
    EXPECT_EQ(wait_for(a->take_random(1, soon())).error().code, errc::unreachable);
}

TEST(memory_broker, control_may_use_the_reserve) {
    auto options = small();
    options.control_reserve = 50'000;
    memory_pads pads(options);
    pads.link("a", "b");
    const auto a = pads.end("a");
    const auto claim = [&](key_use use) { return wait_for(a->claim_send(ab, session_id{}, 5000, 20000, use, soon())); };
    EXPECT_EQ((*claim(key_use::bulk))->range().size, (64U << 10U) - 8192U - 50'000U);
    EXPECT_EQ(claim(key_use::interactive).error().code, errc::no_key);
    EXPECT_TRUE(claim(key_use::control));
}

}  // namespace
}  // namespace warifu
