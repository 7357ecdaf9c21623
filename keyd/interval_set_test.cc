#include "keyd/interval_set.h"

#include <bitset>
#include <gtest/gtest.h>
#include <random>

namespace warifu {
namespace {

constexpr std::size_t universe = 96;
using bitmap = std::bitset<universe>;

void expect_same(const interval_set& set, const bitmap& model) {
    ASSERT_EQ(set.size(), model.count());
    bitmap seen;
    std::uint64_t last_end = 0;
    bool first = true;
    for (const auto& piece : set.intervals()) {
        ASSERT_LT(piece.begin, piece.end);
        if (!first) ASSERT_GT(piece.begin, last_end) << "touching intervals are merged";
        first = false;
        last_end = piece.end;
        for (auto i = piece.begin; i < piece.end; ++i) seen.set(i);
    }
    ASSERT_EQ(seen, model);
}

void expect_same_questions(const interval_set& set, const bitmap& model, std::uint64_t begin, std::uint64_t end) {
    std::size_t inside = 0;
    std::optional<interval_set::interval> gap;
    for (auto i = begin; i < end; ++i) {
        inside += model.test(i) ? 1 : 0;
        if (!gap && !model.test(i)) {
            gap = interval_set::interval{i, i};
            while (gap->end < end && !model.test(gap->end)) ++gap->end;
        }
    }
    EXPECT_EQ(set.overlap(begin, end), inside);
    EXPECT_EQ(set.intersects(begin, end), inside != 0);
    EXPECT_EQ(set.contains(begin, end), inside == end - begin);
    EXPECT_EQ(set.first_gap(begin, end), gap);
}

TEST(interval_set, agrees_with_a_bitmap) {
    std::mt19937 random(4711);
    for (int round = 0; round < 200; ++round) {
        interval_set set;
        bitmap model;
        for (int step = 0; step < 60; ++step) {
            const auto a = random() % (universe + 1), b = random() % (universe + 1);
            const std::uint64_t begin = std::min(a, b), end = std::max(a, b);
            const std::uint64_t stop = std::min<std::uint64_t>(end, begin + random() % 20);
            if (random() % 2 == 0) {
                set.add(begin, stop);
                for (auto i = begin; i < stop; ++i) model.set(i);
            } else {
                ASSERT_TRUE(set.subtract(begin, stop));
                for (auto i = begin; i < stop; ++i) model.reset(i);
            }
            expect_same(set, model);
            expect_same_questions(set, model, begin, end);
        }
    }
}

TEST(interval_set, at_its_bound_it_only_ever_grows) {
    std::mt19937 random(99);
    for (int round = 0; round < 200; ++round) {
        interval_set set(4);
        bitmap model;
        for (int step = 0; step < 60; ++step) {
            const std::uint64_t begin = random() % universe;
            const std::uint64_t end = std::min<std::uint64_t>(universe, begin + 1 + random() % 6);
            if (random() % 3 != 0) {
                set.add(begin, end);
                for (auto i = begin; i < end; ++i) model.set(i);
            } else if (set.subtract(begin, end)) {
                for (auto i = begin; i < end; ++i) model.reset(i);
            }
            ASSERT_LE(set.count(), 4U);
            for (std::uint64_t i = 0; i < universe; ++i)
                if (model.test(i)) ASSERT_TRUE(set.contains(i, i + 1)) << "a spent mark was lost";
        }
    }
}

TEST(interval_set, closes_the_smallest_gap) {
    interval_set set(3);
    set.add(0, 1);
    set.add(10, 11);
    set.add(13, 14);
    set.add(30, 31);
    EXPECT_EQ(set.intervals(), (std::vector<interval_set::interval>{{0, 1}, {10, 14}, {30, 31}}));
    EXPECT_FALSE(set.subtract(11, 12)) << "no room for another interval: nothing changes";
    EXPECT_EQ(set.size(), 6U);
}

}  // namespace
}  // namespace warifu
