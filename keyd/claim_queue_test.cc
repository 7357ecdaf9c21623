#include "keyd/claim_queue.h"

#include <gtest/gtest.h>

#include "keyd/window_budget.h"

namespace warifu {
namespace {

constexpr auto control = key_use::control;
constexpr auto interactive = key_use::interactive;
constexpr auto bulk = key_use::bulk;
using consumer = claim_queue::consumer;

/// Each consumer always has a claim waiting; `rounds` pieces of key arrive. Returns how many each got.
std::map<consumer, int> share_out(const std::map<consumer, std::uint32_t>& weights,
                                  const std::map<consumer, std::uint64_t>& sizes, int rounds) {
    claim_queue queue;
    std::map<consumer, claim_queue::place> places;
    for (const auto& [who, weight] : weights) places[who] = queue.enter(who, bulk);
    std::map<consumer, int> got;
    for (int i = 0; i < rounds; ++i) {
        const auto first = std::ranges::find_if(places, [&](const auto& one) { return queue.is_first(one.second); });
        const auto who = first->first;
        ++got[who];
        queue.leave(first->second);
        queue.served(who, bulk, sizes.at(who), weights.at(who));
        places[who] = queue.enter(who, bulk);
    }
    return got;
}

TEST(claim_queue, key_is_shared_by_weight_whatever_the_size_of_claims) {
    struct row {
        const char* what;
        std::map<consumer, std::uint32_t> weights;
        std::map<consumer, std::uint64_t> sizes;
        int rounds;
        std::map<consumer, int> got;
    };
    const std::vector<row> rows{
        {"equal", {{1, 100}, {2, 100}}, {{1, 1000}, {2, 1000}}, 100, {{1, 50}, {2, 50}}},
        {"three to one", {{1, 300}, {2, 100}}, {{1, 1000}, {2, 1000}}, 400, {{1, 300}, {2, 100}}},
        {"larger claims, fewer of them", {{1, 100}, {2, 100}}, {{1, 4000}, {2, 1000}}, 500, {{1, 100}, {2, 400}}},
        {"three", {{1, 100}, {2, 200}, {3, 700}}, {{1, 10}, {2, 10}, {3, 10}}, 1000, {{1, 100}, {2, 200}, {3, 700}}},
    };
    for (const auto& [what, weights, sizes, rounds, expected] : rows)
        for (const auto& [who, count] : share_out(weights, sizes, rounds))
            EXPECT_NEAR(count, expected.at(who), 1) << what << ", consumer " << who;
}

TEST(claim_queue, the_more_urgent_use_goes_first_then_who_came_first) {
    claim_queue queue;
    const auto a = queue.enter(1, bulk);
    const auto b = queue.enter(2, bulk);
    const auto c = queue.enter(3, interactive);
    const auto d = queue.enter(4, control);
    for (const auto place : {d, c, a, b}) {
        ASSERT_TRUE(queue.is_first(place)) << place->who;
        queue.leave(place);
    }
    EXPECT_TRUE(queue.empty());
}

TEST(claim_queue, who_must_wait) {
    claim_queue queue;
    EXPECT_FALSE(queue.must_wait(1, bulk));
    const auto waiting = queue.enter(1, interactive);
    EXPECT_TRUE(queue.must_wait(2, bulk));
    EXPECT_TRUE(queue.must_wait(2, interactive)) << "the same use waits behind who came first";
    EXPECT_FALSE(queue.must_wait(2, control));
    queue.served(1, interactive, 1000, 100);
    EXPECT_FALSE(queue.must_wait(2, interactive)) << "the one that waits has had its share already";
    queue.leave(waiting);
    EXPECT_FALSE(queue.must_wait(2, bulk));
}

TEST(claim_queue, a_newcomer_neither_starves_nor_catches_up) {
    claim_queue queue;
    for (int i = 0; i < 1000; ++i) queue.served(1, bulk, 1000, 100);
    const auto old = queue.enter(1, bulk);
    const auto fresh = queue.enter(2, bulk);
    EXPECT_TRUE(queue.is_first(fresh));
    queue.leave(fresh);
    for (int i = 0; i < 2; ++i) queue.served(2, bulk, 1000, 100);
    const auto again = queue.enter(2, bulk);
    EXPECT_TRUE(queue.is_first(old)) << "what it never asked for in the past is not owed";
    queue.leave(old);
    EXPECT_TRUE(queue.is_first(again));
}

session_id session(std::uint8_t number) {
    session_id id;
    id.bytes[0] = std::byte{number};
    return id;
}
constexpr std::uint64_t least = 64U << 10U;
constexpr std::uint64_t wanted = 8U << 20U;

TEST(window_budget, without_a_rate_there_is_no_bound) {
    window_budget budget;
    budget.took(session(1), 1ULL << 40U);
    EXPECT_EQ(budget.grant(session(2), 1, wanted, {}), wanted);
    EXPECT_FALSE(budget.bound());
}

TEST(window_budget, at_most_two_seconds_of_key_are_out) {
    window_budget budget;
    budget.set_rate(10U << 20U);
    EXPECT_EQ(budget.bound(), 20U << 20U);
    for (std::uint8_t i = 0; budget.held() + least <= 20U << 20U; ++i) {
        const auto size = budget.grant(session(i), least, wanted, {});
        ASSERT_GE(size, least);
        budget.took(session(i), size);
    }
    EXPECT_LE(budget.held(), 20U << 20U);
}

TEST(window_budget, a_slow_link_still_carries_one_message_at_a_time) {
    window_budget budget;
    budget.set_rate(1000);
    EXPECT_EQ(budget.bound(), held_window_bytes_min);
    std::array<std::uint64_t, 2> has{};
    deadline now{};
    const auto claim_often = [&](std::uint8_t who) {
        for (int i = 0; i < 20; ++i) {
            const auto size = budget.grant(session(who), least, wanted, now);
            if (size == 0) continue;
            budget.granted(session(who), size, now);
            budget.took(session(who), size);
            has[who] += size;
        }
    };
    for (int i = 0; i < 10; ++i) {
        const auto size = budget.grant(session(1), least, least, now);
        budget.took(session(1), size);
        has[1] += size;
    }
    claim_often(0);
    claim_often(1);
    EXPECT_GT(has[0], 9U << 20U) << "the first one has what its message takes";
    EXPECT_LT(has[1], 1U << 20U) << "two may not go beyond the bound at once";
    EXPECT_LE(budget.held(), held_by_one_session_max + held_window_bytes_min);
    budget.gave_back(session(0), has[0]);
    claim_often(1);
    EXPECT_GT(has[1], 9U << 20U) << "its turn";
    const auto before = std::exchange(has[0], 0);
    claim_often(0);
    EXPECT_EQ(has[0], 0) << "not its turn";
    now += std::chrono::milliseconds(beyond_bound_time_ms);
    claim_often(0);
    EXPECT_EQ(has[0], before) << "the other one holds much and asks for nothing";
    budget.gave_back(session(0), has[0]);
    budget.gave_back(session(1), has[1]);
    EXPECT_EQ(budget.held(), 0U);
}

// Found by tests/crash/keyd.sh: a mount's window of 8 MiB came through keyd's restart, after which the link's rate was
// unknown, and was nearly used up; the rest of 10 MiB was too little for the next message, which waited for ever.
TEST(window_budget, a_message_fits_behind_a_window_that_is_nearly_used_up) {
    window_budget budget;
    budget.set_rate(0);
    budget.took(session(0), 8U << 20U);
    std::uint64_t fresh = 0;
    while (const auto size = budget.grant(session(0), pad_window_size_min, channel_window_size_max, {})) {
        budget.took(session(0), size);
        fresh += size;
    }
    EXPECT_GT(fresh, message_size_max + (512U << 10U));
}

}  // namespace
}  // namespace warifu
