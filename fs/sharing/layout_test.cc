#include "fs/sharing/layout.h"

#include <gtest/gtest.h>

namespace warifu {
namespace {

TEST(scheme, accepts_exactly_the_documented_range) {
    for (unsigned k = 0; k <= 18; ++k) {
        for (unsigned n = 0; n <= 18; ++n) {
            const bool valid = 2 <= k && k <= n && n <= 16;
            const auto made = scheme::make(k, n);
            EXPECT_EQ(made.has_value(), valid) << k << ',' << n;
            if (!made) EXPECT_EQ(made.error().code, errc::bad_argument);
        }
    }
}

TEST(scheme, prime_is_the_least_that_fits) {
    const unsigned primes[] = {0, 0, 3, 3, 5, 5, 7, 7, 11, 11, 11, 11, 13, 13, 17, 17, 17};
    for (unsigned n = 2; n <= 16; ++n) EXPECT_EQ(scheme::make(2, n)->prime(), primes[n]) << n;
    const auto s = *scheme::make(3, 5);
    EXPECT_EQ(s.sub_blocks(), 4U);
    EXPECT_EQ(s.unit_size(), 16384U);
    EXPECT_EQ(s.random_blocks_per_unit(), 9U);
    EXPECT_EQ(s.chunk_units_max(), 256U);
    EXPECT_EQ(scheme::make(2, 7)->chunk_units_max(), 170U);  // 24 KiB units do not divide 4 MiB
}

TEST(scheme, two_of_three_is_as_written_out) {
    const auto s = *scheme::make(2, 3);
    using terms = std::vector<unsigned>;  // 0, 1: r0, r1; 2, 3: s1, s2
    EXPECT_EQ(share_terms(s, 0, 0), (terms{0}));
    EXPECT_EQ(share_terms(s, 0, 1), (terms{1, 2}));
    EXPECT_EQ(share_terms(s, 1, 0), (terms{0, 3}));
    EXPECT_EQ(share_terms(s, 1, 1), (terms{1}));
    EXPECT_EQ(share_terms(s, 2, 0), (terms{0, 2}));
    EXPECT_EQ(share_terms(s, 2, 1), (terms{1, 3}));
}

TEST(layout, sizes_of_two_of_three) {
    const auto s = *scheme::make(2, 3);
    const piece_layout one(s, 1);
    EXPECT_EQ(one.full_units(), 0U);
    EXPECT_EQ(one.short_sub_block(), 16U);
    EXPECT_EQ(one.share_size(), 32U);
    EXPECT_EQ(one.tags_size(), 32U);
    EXPECT_EQ(one.random_size(), 32U);

    const piece_layout unit(s, 8192);
    EXPECT_EQ(unit.full_units(), 1U);
    EXPECT_EQ(unit.short_sub_block(), 0U);
    EXPECT_EQ(unit.units(), 1U);
    EXPECT_EQ(unit.share_size(), 8192U);

    const piece_layout more(s, 8192 * 3 + 100);
    EXPECT_EQ(more.full_units(), 3U);
    EXPECT_EQ(more.short_sub_block(), 64U);
    EXPECT_EQ(more.units(), 4U);
    EXPECT_EQ(more.sub_blocks(), 8U);
    EXPECT_EQ(more.share_size(), 8192U * 3 + 128);
    EXPECT_EQ(more.sub_block_size_of(2), 4096U);
    EXPECT_EQ(more.sub_block_size_of(3), 64U);
    const auto last = more.place_of(7);
    EXPECT_EQ(last.offset, 8192U * 3 + 64);
    EXPECT_EQ(last.size, 64U);
    EXPECT_EQ(last.length, 36U);
}

TEST(layout, ranges_of_two_of_three) {
    const auto s = *scheme::make(2, 3);
    const piece_layout layout(s, 8192 * 3 + 100);
    EXPECT_EQ(layout.units_of(0, 1), (unit_range{0, 1}));
    EXPECT_EQ(layout.units_of(8191, 2), (unit_range{0, 2}));
    EXPECT_EQ(layout.units_of(8192, 8192), (unit_range{1, 1}));
    EXPECT_EQ(layout.units_of(8192 * 3 + 99, 1), (unit_range{3, 1}));
    EXPECT_EQ(layout.units_of(0, layout.size()), (unit_range{0, 4}));
    EXPECT_EQ(layout.share_bytes_of({1, 2}), (byte_range{8192, 16384}));
    EXPECT_EQ(layout.share_bytes_of({2, 2}), (byte_range{16384, 8192 + 128}));
    EXPECT_EQ(layout.tag_bytes_of({2, 2}, 5), (byte_range{7 * 32, 64}));
}

/// Every size near unit boundaries and every scheme: units tile the piece, padding is less than what one step per
/// sub-block explains, places tile the padded secret.
TEST(layout, tiles_every_size) {
    for (unsigned n = 2; n <= 16; ++n) {
        const auto s = *scheme::make(2, n);
        for (std::size_t base : {std::size_t{0}, s.unit_size(), 3 * s.unit_size()}) {
            for (std::size_t delta = 0; delta < 2 * s.unit_size(); delta += 1 + delta / 3) {
                const std::size_t size = base + 1 + delta;
                const piece_layout layout(s, size);
                EXPECT_GE(layout.share_size(), size);
                EXPECT_LT(layout.share_size() - size, s.sub_blocks() * sub_block_step);
                std::size_t at = 0, length = 0;
                for (std::uint32_t number = 0; number < layout.sub_blocks(); ++number) {
                    const auto place = layout.place_of(number);
                    EXPECT_EQ(place.offset, at);
                    EXPECT_EQ(place.size % sub_block_step, 0U);
                    at += place.size;
                    length += place.length;
                }
                EXPECT_EQ(at, layout.share_size());
                EXPECT_EQ(length, size);
                // Padding a piece to its share's size does not change the layout of its share.
                EXPECT_EQ(piece_layout(s, layout.share_size()).share_size(), layout.share_size());
            }
        }
    }
}

}  // namespace
}  // namespace warifu
