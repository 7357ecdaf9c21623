#include "fs/files/dirty_ranges.h"

#include <gtest/gtest.h>
#include <random>

namespace warifu {
namespace {

constexpr std::size_t run_size = 64U << 10U;

/// What the ranges hold, as a byte per offset; -1: not dirty.
struct model {
    std::vector<int> bytes = std::vector<int>(1U << 20U, -1);

    void compare(const dirty_ranges& ranges) const {
        std::vector<int> seen(bytes.size(), -1);
        std::uint64_t last = 0;
        for (const auto& part : ranges.find(0, bytes.size())) {
            ASSERT_GE(part.offset, last);
            last = part.offset + part.bytes.size();
            for (std::size_t i = 0; i < part.bytes.size(); ++i)
                seen[static_cast<std::size_t>(part.offset) + i] = std::to_integer<int>(part.bytes[i]);
        }
        ASSERT_EQ(seen, bytes);
        ASSERT_EQ(ranges.bytes(),
                  static_cast<std::uint64_t>(std::count_if(bytes.begin(), bytes.end(), [](int b) { return b >= 0; })));
        ASSERT_GE(ranges.memory(), ranges.bytes());
    }
};

TEST(dirty_ranges, random_operations_equal_an_array) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 20; ++round) {
        dirty_ranges ranges(run_size);
        model expected;
        for (int step = 0; step < 120; ++step) {
            const std::uint64_t offset = random() % (900U << 10U);
            const std::size_t size = 1 + random() % (random() % 4 == 0 ? 120U << 10U : 5000U);
            const std::uint64_t end = std::min<std::uint64_t>(offset + size, expected.bytes.size());
            const auto from = expected.bytes.begin() + static_cast<std::ptrdiff_t>(offset);
            const auto to = expected.bytes.begin() + static_cast<std::ptrdiff_t>(end);
            switch (random() % 8) {
                case 0:
                    ranges.erase(offset, end);
                    std::fill(from, to, -1);
                    break;
                case 1:
                    ranges.merge_small();
                    break;
                case 2:
                    if (const auto* run = ranges.front(random() % 2 == 0)) {
                        const auto taken = ranges.take(run->offset);
                        std::fill_n(expected.bytes.begin() + static_cast<std::ptrdiff_t>(taken.offset), taken.size, -1);
                    }
                    break;
                default: {
                    const auto value = static_cast<std::byte>(random());
                    const std::vector<std::byte> bytes(static_cast<std::size_t>(end - offset), value);
                    ranges.write(offset, bytes);
                    std::fill(from, to, std::to_integer<int>(value));
                }
            }
        }
        expected.compare(ranges);
        while (const auto* run = ranges.front(false)) ranges.take(run->offset);
        EXPECT_EQ(ranges.bytes(), 0U);
        EXPECT_EQ(ranges.memory(), 0U);
    }
}

TEST(dirty_ranges, sequential_writes_fill_whole_runs) {
    dirty_ranges ranges(run_size);
    const std::vector<std::byte> step(run_size / 4, std::byte{1});
    int filled = 0;
    for (std::uint64_t i = 0; i < 16; ++i)
        if (ranges.write(i * step.size(), step)) ++filled;
    EXPECT_EQ(filled, 4);
    EXPECT_EQ(ranges.run_count(), 4U);
    EXPECT_EQ(ranges.memory(), ranges.bytes());
    ASSERT_NE(ranges.front(true), nullptr);
    EXPECT_EQ(ranges.front(true)->size, run_size);
}

TEST(dirty_ranges, seeks_data_and_its_end) {
    dirty_ranges ranges(run_size);
    const std::vector<std::byte> bytes(10, std::byte{1});
    ranges.write(100, bytes);
    ranges.write(300, bytes);
    EXPECT_EQ(ranges.next_data(0), 100U);
    EXPECT_EQ(ranges.next_data(105), 105U);
    EXPECT_EQ(ranges.next_data(110), 300U);
    EXPECT_FALSE(ranges.next_data(310).has_value());
    EXPECT_EQ(ranges.data_end(100), 110U);
    EXPECT_EQ(ranges.data_end(110), 110U);
    EXPECT_EQ(ranges.end(), 310U);
}

TEST(dirty_ranges, small_neighbours_become_one_run) {
    dirty_ranges ranges(run_size);
    const std::vector<std::byte> bytes(4096, std::byte{1});
    for (const std::uint64_t block : {3U, 2U, 1U, 0U}) ranges.write(block * 4096, bytes);
    EXPECT_GT(ranges.run_count(), 1U);
    ranges.merge_small();
    EXPECT_EQ(ranges.run_count(), 1U);
    EXPECT_EQ(ranges.bytes(), 4U * 4096U);
}

}  // namespace
}  // namespace warifu
