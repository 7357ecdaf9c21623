// Lives of a volume in simulated time. WARIFU_SIM_SEEDS=N lives more of them, WARIFU_SIM_FIRST=S begins with seed S,
// WARIFU_SIM_VERBOSE=1 prints each.

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/sim/world.h"

namespace warifu::sim {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

TEST(simulation, no_life_breaks_a_promise) {
    const std::uint64_t first = from_environment("WARIFU_SIM_FIRST", 1);
    const std::uint64_t count = from_environment("WARIFU_SIM_SEEDS", 500);
    const bool verbose = from_environment("WARIFU_SIM_VERBOSE", 0) != 0;
    life_report all;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        const life_report one = live(seed);
        if (verbose)
            std::printf("seed %llu: %llu acknowledged, %llu openings, %llu readings, %llu requests, %.0f s\n",
                        static_cast<unsigned long long>(seed), static_cast<unsigned long long>(one.acknowledged),
                        static_cast<unsigned long long>(one.opened), static_cast<unsigned long long>(one.shown),
                        static_cast<unsigned long long>(one.requests), one.simulated_s);
        EXPECT_FALSE(one.violation) << "seed " << seed << ": " << *one.violation;
        all.acknowledged += one.acknowledged;
        all.opened += one.opened;
        all.shown += one.shown;
        all.requests += one.requests;
        all.simulated_s += one.simulated_s;
    }
    std::printf("%llu lives: %llu commits acknowledged, %llu openings, %llu readings, %llu requests, %.0f h\n",
                static_cast<unsigned long long>(count), static_cast<unsigned long long>(all.acknowledged),
                static_cast<unsigned long long>(all.opened), static_cast<unsigned long long>(all.shown),
                static_cast<unsigned long long>(all.requests), all.simulated_s / 3600);
    EXPECT_GT(all.acknowledged, count) << "lives in which nothing is ever acknowledged test nothing";
    EXPECT_GT(all.opened, count);
}

}  // namespace
}  // namespace warifu::sim
