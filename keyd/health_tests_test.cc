#include "keyd/health_tests.h"

#include <gtest/gtest.h>
#include <random>

namespace warifu {
namespace {

TEST(health_tests, cutoffs_are_those_of_the_standards_formulas) {
    struct row {
        double min_entropy;
        unsigned run, window;
    };
    // Computed with exact binomial sums (Python's fractions), alpha = 2^-30, W = 512.
    const std::vector<row> rows{{8, 5, 16}, {7, 6, 22}, {4, 9, 71}, {2, 16, 190}, {1, 31, 325}, {0.5, 61, 422}};
    for (const auto& [h, run, window] : rows) {
        EXPECT_EQ(health_tests::run_cutoff(h), run) << h;
        EXPECT_EQ(health_tests::window_cutoff(h), window) << h;
    }
}

byte_vector noise(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    byte_vector out(size);
    for (auto& b : out) b = static_cast<std::byte>(random() & 0xffU);
    return out;
}

TEST(health_tests, good_noise_passes) {
    health_tests tests(8);
    EXPECT_TRUE(tests.feed(noise(1U << 20U, 1)));
    EXPECT_EQ(tests.failed(), "");
}

TEST(health_tests, a_run_of_equal_bytes_fails_at_the_cutoff) {
    for (const unsigned length : {4U, 5U, 6U}) {
        health_tests tests(8);
        auto bytes = noise(1000, 2);
        for (unsigned i = 0; i < length; ++i) bytes[500 + i] = std::byte{0x77};
        bytes[499] = bytes[500 + length] = std::byte{0x11};
        EXPECT_EQ(tests.feed(bytes), length < health_tests::run_cutoff(8)) << length;
        EXPECT_EQ(tests.failed().empty(), length < health_tests::run_cutoff(8));
    }
    health_tests stuck(8);
    EXPECT_FALSE(stuck.feed(byte_vector(100)));
    EXPECT_FALSE(stuck.feed(noise(100, 3))) << "once failed, always failed";
}

/// The first byte of a window comes back every `step` samples.
TEST(health_tests, a_byte_that_is_too_frequent_fails) {
    const unsigned cutoff = health_tests::window_cutoff(8);
    for (const unsigned count : {cutoff - 1, cutoff}) {
        health_tests tests(8);
        byte_vector bytes(health_tests::window_size);
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i % 200 + 50);
        for (unsigned i = 0; i < count; ++i) bytes[i * 20] = std::byte{7};
        EXPECT_EQ(tests.feed(bytes), count < cutoff) << count;
    }
}

TEST(health_tests, a_biased_source_fails_soon) {
    health_tests tests(8);
    std::mt19937 random(5);
    byte_vector bytes(64U << 10U);
    for (auto& b : bytes) b = random() % 10 == 0 ? std::byte{0xff} : static_cast<std::byte>(random() & 0xffU);
    EXPECT_FALSE(tests.feed(bytes));
    health_tests honest(3);  // the same source, if it had claimed no more than it has
    EXPECT_TRUE(honest.feed(bytes));
}

}  // namespace
}  // namespace warifu
