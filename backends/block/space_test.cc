#include "backends/block/space.h"

#include <gtest/gtest.h>

#include <random>

namespace warifu {
namespace {

TEST(layout, parts_of_extent_lists) {
    const extent_list whole = {{100, 3}, {50, 1}, {200, 10}};
    EXPECT_EQ(part_of(whole, 0, 14), whole);
    EXPECT_EQ(part_of(whole, 2, 3), (extent_list{{102, 1}, {50, 1}, {200, 1}}));
    EXPECT_EQ(part_of(whole, 4, 2), (extent_list{{200, 2}}));
    EXPECT_TRUE(part_of(whole, 14, 0).empty());
    EXPECT_EQ(joined({{1, 2}, {3, 1}, {10, 0}, {4, 2}, {9, 1}}), (extent_list{{1, 5}, {9, 1}}));
    EXPECT_EQ(unshared({{10, 10}, {30, 5}}, {{12, 2}, {18, 14}}), (extent_list{{10, 2}, {14, 4}, {32, 3}}));
    EXPECT_TRUE(unshared({{10, 2}}, {{9, 9}}).empty());
}

TEST(space, gives_low_addresses_first_and_joins_what_comes_back) {
    auto made = space::make(10'000, 10'000, {{data_first, 100}, {1000, 10}}, true);
    ASSERT_TRUE(made);
    space& s = *made;
    EXPECT_EQ(s.free_count(), 10'000 - data_first - 110);
    const auto a = s.take_clean(50);
    EXPECT_EQ(*a, (extent_list{{data_first + 100, 50}}));
    const auto b = s.take_clean(2000);  // does not fit before sector 1000
    EXPECT_EQ(*b, (extent_list{{1010, 2000}}));
    s.give_back(*a);
    EXPECT_EQ(*s.take_clean(60), (extent_list{{data_first + 100, 60}}));
}

TEST(space, refuses_overlaps) {
    EXPECT_FALSE(space::make(10'000, 10'000, {{300, 10}, {309, 1}}, true));
    EXPECT_FALSE(space::make(10'000, 10'000, {{data_first - 1, 1}}, true));
    EXPECT_FALSE(space::make(10'000, 10'000, {{9'999, 2}}, true));
    EXPECT_FALSE(space::make(10'000, 10'000, {{UINT64_MAX - 1, 5}}, true));
}

TEST(space, freed_sectors_come_back_only_after_erasing) {
    auto made = space::make(1'000, 1'000, {}, true);
    space& s = *made;
    const auto all = s.take_clean(s.free_count());
    ASSERT_TRUE(all);
    s.add_dirty(*all);
    EXPECT_FALSE(s.take_clean(1));
    const auto step = s.take_dirty(10);
    EXPECT_EQ(*step, (extent{data_first, 10}));
    EXPECT_EQ(s.free_count(), 1'000 - data_first);
    EXPECT_FALSE(s.take_clean(1));
    s.add_clean(*step);
    EXPECT_EQ(s.take_clean(10)->front(), *step);
}

TEST(space, after_a_crash_everything_free_is_suspect_and_the_rest_raw) {
    auto made = space::make(10'000, 600, {{300, 10}, {650, 10}}, false);
    space& s = *made;
    EXPECT_EQ(s.zeroed_end(), 660U);  // what is used was written
    EXPECT_EQ(s.clean_count(), 0U);
    EXPECT_EQ(s.unclean_count(), 660 - data_first - 20);
    EXPECT_EQ(s.raw_count(), 10'000 - 660U);
    EXPECT_EQ(*s.take_raw(100), (extent{660, 100}));
    EXPECT_EQ(s.zeroed_end(), 760U);
}

TEST(space, scattered_runs_serve_one_request) {
    auto made = space::make(2'000, 2'000, {}, true);
    space& s = *made;
    ASSERT_TRUE(s.take_clean(s.free_count()));
    for (std::uint64_t at = data_first; at < 2'000; at += 2) s.give_back({{at, 1}});
    const auto got = s.take_clean(200);
    ASSERT_TRUE(got);
    EXPECT_EQ(sectors_of(*got), 200U);
    EXPECT_EQ(got->size(), 200U);
    EXPECT_FALSE(s.take_clean(extent_count_max + 1));  // would need too many runs
    EXPECT_EQ(s.clean_count(), (2'000 - data_first) / 2 - 200);
}

/// Random takes and gives against a plain map of sectors.
TEST(space, agrees_with_a_bitmap) {
    std::mt19937 random(7);
    constexpr std::uint64_t end = 4'000;
    auto made = space::make(end, end, {}, true);
    space& s = *made;
    std::vector<bool> used(end);
    std::vector<extent_list> held;
    for (int step = 0; step < 20'000; ++step) {
        if (random() % 2 == 0 || held.empty()) {
            const auto got = s.take_clean(1 + random() % 60);
            if (!got) continue;
            for (const extent& e : *got)
                for (std::uint64_t i = e.first; i < e.end(); ++i) {
                    ASSERT_FALSE(used[i]);
                    ASSERT_GE(i, data_first);
                    used[i] = true;
                }
            held.push_back(*got);
        } else {
            std::swap(held[random() % held.size()], held.back());
            for (const extent& e : held.back())
                for (std::uint64_t i = e.first; i < e.end(); ++i) used[i] = false;
            s.give_back(held.back());
            held.pop_back();
        }
    }
    const auto count = static_cast<std::uint64_t>(std::count(used.begin() + data_first, used.end(), false));
    EXPECT_EQ(s.clean_count(), count);
}

}  // namespace
}  // namespace warifu
