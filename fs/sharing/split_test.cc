#include "fs/sharing/split.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <thread>

#include "fs/sharing/schedule.h"
#include "fs/sharing/test_support.h"

namespace warifu {
namespace {

/// Splits `size` bytes and checks that the subset gives the secret, zero padding, and every share bit for bit.
void check_subset(const scheme& shape, bytes_view secret, const std::vector<byte_vector>& shares,
                  std::span<const share_index> which) {
    byte_vector out(shares[0].size(), std::byte{0xee});
    ASSERT_TRUE(reconstruct(shape, which, views_of(shares, which), out).has_value());
    ASSERT_TRUE(std::equal(secret.begin(), secret.end(), out.begin()));
    for (std::size_t i = secret.size(); i < out.size(); ++i) ASSERT_EQ(out[i], std::byte{0});
    for (unsigned target = 0; target < shape.n(); ++target) {
        std::fill(out.begin(), out.end(), std::byte{0xee});
        ASSERT_TRUE(repair(shape, at(target), which, views_of(shares, which), out).has_value());
        ASSERT_EQ(out, shares[target]) << target;
    }
}

TEST(split, every_subset_reconstructs_and_repairs) {
    const auto randomness = make_drbg();
    for (unsigned n = 2; n <= 7; ++n) {
        for (unsigned k = 2; k <= n; ++k) {
            const auto shape = *scheme::make(k, n);
            const auto secret = noise(shape.unit_size() * 2 + 1234, k * 100 + n);
            const auto shares = split_to_vectors(shape, secret, *randomness);
            for (const auto& which : subsets(k, n)) check_subset(shape, secret, shares, which);
        }
    }
}

TEST(split, large_schemes_reconstruct_and_repair) {
    const auto randomness = make_drbg();
    std::mt19937 engine(3);
    for (unsigned n = 8; n <= 16; ++n) {
        for (unsigned k = 2; k <= n; ++k) {
            const auto shape = *scheme::make(k, n);
            const auto secret = noise(1000, k * 100 + n);
            const auto shares = split_to_vectors(shape, secret, *randomness);
            std::vector<share_index> which;
            for (unsigned i = 0; i < n; ++i) which.push_back(at(i));
            std::shuffle(which.begin(), which.end(), engine);
            which.resize(k);
            check_subset(shape, secret, shares, which);
        }
    }
}

TEST(split, short_units_of_every_rest) {
    const auto randomness = make_drbg();
    for (const auto [k, n] : {std::pair{2U, 3U}, std::pair{3U, 5U}}) {
        const auto shape = *scheme::make(k, n);
        const auto secret = noise(3 * shape.unit_size(), 5);
        const auto groups = subsets(k, n);
        for (std::size_t size = 1; size <= 2 * shape.unit_size() + 40; size += (size < 300 ? 1 : 97)) {
            const bytes_view piece = bytes_view(secret).first(size);
            const auto shares = split_to_vectors(shape, piece, *randomness);
            check_subset(shape, piece, shares, groups[size % groups.size()]);
        }
        for (std::size_t size = shape.unit_size() - 33; size <= shape.unit_size() + 33; ++size) {
            const bytes_view piece = bytes_view(secret).first(size);
            const auto shares = split_to_vectors(shape, piece, *randomness);
            check_subset(shape, piece, shares, groups[size % groups.size()]);
        }
    }
}

TEST(split, a_range_of_units_reconstructs_alone) {
    const auto randomness = make_drbg();
    const auto shape = *scheme::make(3, 4);
    const auto secret = noise(5 * shape.unit_size() + 77, 9);
    const piece_layout layout(shape, secret.size());
    const auto shares = split_to_vectors(shape, secret, *randomness);
    const std::vector<share_index> which{at(3), at(0), at(2)};  // any order
    for (std::uint32_t first = 0; first < layout.units(); ++first) {
        for (std::uint32_t count = 1; first + count <= layout.units(); ++count) {
            const byte_range range = layout.share_bytes_of({first, count});
            std::vector<bytes_view> parts;
            for (const share_index i : which)
                parts.push_back(bytes_view(shares[i.value]).subspan(range.offset, range.size));
            byte_vector out(range.size);
            ASSERT_TRUE(reconstruct(shape, which, parts, out).has_value());
            const std::size_t real = std::min(range.end(), secret.size()) - range.offset;
            ASSERT_TRUE(std::equal(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(real),
                                   secret.begin() + static_cast<std::ptrdiff_t>(range.offset)));
        }
    }
}

TEST(split, given_and_drawn_randomness_agree) {
    const auto shape = *scheme::make(3, 5);
    const auto secret = noise(20 * shape.unit_size() + 5000, 1);
    const auto random = noise(piece_layout(shape, secret.size()).random_size(), 2);
    given_random source(random);
    const auto drawn = split_to_vectors(shape, secret, source);
    EXPECT_EQ(source.used(), random.size());
    std::vector<byte_vector> given(shape.n(), byte_vector(drawn[0].size()));
    ASSERT_TRUE(split_given(shape, secret, random, spans_of(given)).has_value());
    EXPECT_EQ(given, drawn);
}

TEST(split, a_source_that_runs_dry_is_an_error) {
    const auto shape = *scheme::make(2, 3);
    const auto secret = noise(shape.unit_size() * 4, 1);
    given_random source(noise(piece_layout(shape, secret.size()).random_size() - 1, 2));
    std::vector<byte_vector> shares(3, byte_vector(secret.size()));
    const auto done = split(shape, secret, source, spans_of(shares));
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().code, errc::no_key);
}

TEST(split, refuses_wrong_arguments) {
    const auto shape = *scheme::make(2, 3);
    const auto randomness = make_drbg();
    std::vector<byte_vector> shares(3, byte_vector(32));
    const auto refused = [](const result<void>& done) { return !done && done.error().code == errc::bad_argument; };
    EXPECT_TRUE(refused(split(shape, {}, *randomness, spans_of(shares))));
    EXPECT_TRUE(refused(split(shape, noise(33, 1), *randomness, spans_of(shares))));
    EXPECT_TRUE(refused(split_given(shape, noise(32, 1), noise(31, 1), spans_of(shares))));
    auto few = spans_of(shares);
    few.pop_back();
    EXPECT_TRUE(refused(split(shape, noise(32, 1), *randomness, few)));

    byte_vector out(32), longer(48);
    const std::vector<bytes_view> two{shares[0], shares[1]}, three{shares[0], shares[1], shares[2]};
    const std::vector<share_index> pair{at(0), at(1)}, twice{at(1), at(1)}, beyond{at(0), at(3)};
    EXPECT_TRUE(reconstruct(shape, pair, two, out).has_value());
    EXPECT_TRUE(refused(reconstruct(shape, twice, two, out)));
    EXPECT_TRUE(refused(reconstruct(shape, beyond, two, out)));
    EXPECT_TRUE(refused(reconstruct(shape, pair, three, out)));
    EXPECT_TRUE(refused(reconstruct(shape, pair, two, longer)));
    EXPECT_TRUE(refused(reconstruct(shape, pair, two, bytes_span(out).first(16))));
    EXPECT_TRUE(refused(reconstruct(shape, pair, {}, {})));
    EXPECT_TRUE(refused(repair(shape, at(3), pair, two, out)));
}

TEST(split, tags_are_shared_by_the_same_scheme) {
    const auto randomness = make_drbg();
    for (const auto [k, n] : {std::pair{2U, 3U}, std::pair{4U, 6U}}) {
        const auto shape = *scheme::make(k, n);
        const auto tags = noise(shape.sub_blocks() * tag_size * 70, 4);
        std::vector<byte_vector> shares(n, byte_vector(tags.size()));
        ASSERT_TRUE(split_tags(shape, tags, *randomness, spans_of(shares)).has_value());
        for (const auto& which : subsets(k, n)) {
            byte_vector out(tags.size());
            ASSERT_TRUE(reconstruct_tags(shape, which, views_of(shares, which), out).has_value());
            ASSERT_EQ(out, tags);
            ASSERT_TRUE(repair_tags(shape, at(n - 1), which, views_of(shares, which), out).has_value());
            ASSERT_EQ(out, shares[n - 1]);
        }
    }
}

TEST(kernels, all_agree_with_a_byte_loop) {
    ASSERT_EQ(available_xor_kernels().front().name, "portable");
    const auto bytes = noise(64 * 1024, 8);
    for (const named_xor_kernel& kernel : available_xor_kernels()) {
        for (std::size_t count = 1; count <= 9; ++count) {
            for (std::size_t size = 16; size <= 1104; size += 16) {
                std::vector<const std::byte*> sources;
                for (std::size_t s = 0; s < count; ++s) sources.push_back(bytes.data() + s * 4099 + size % 13);
                byte_vector expected(size);
                for (std::size_t i = 0; i < size; ++i)
                    for (const std::byte* source : sources) expected[i] ^= source[i];
                byte_vector out(size + 2, std::byte{0x77});  // one guard byte on each side
                kernel.run(out.data() + 1, sources.data(), count, size);
                ASSERT_TRUE(std::equal(expected.begin(), expected.end(), out.begin() + 1)) << kernel.name;
                ASSERT_TRUE(out.front() == std::byte{0x77} && out.back() == std::byte{0x77}) << kernel.name;
            }
        }
    }
}

/// More subsets than the table holds, from several threads: evicted programs are made again and stay the same.
TEST(schedules, table_is_bounded_and_thread_safe) {
    const auto shape = *scheme::make(3, 16);
    const auto groups = subsets(3, 16);  // 560 > schedule_count_max
    ASSERT_GT(groups.size(), schedule_count_max);
    const auto randomness = make_drbg();
    const auto secret = noise(256, 4);
    const auto shares = split_to_vectors(shape, secret, *randomness);
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t g = t % 2; g < groups.size(); ++g) {
                byte_vector out(shares[0].size());
                ASSERT_TRUE(reconstruct(shape, groups[g], views_of(shares, groups[g]), out).has_value());
                ASSERT_EQ(out, secret);
            }
        });
    }
}

TEST(schedules, chaining_saves_reads) {
    const auto shape = *scheme::make(2, 3);
    EXPECT_EQ(reconstruct_program(shape, 0b011)->source_count(), 4U);  // FACTS: 2 + 2
    EXPECT_EQ(reconstruct_program(shape, 0b101)->source_count(), 5U);  // 2 + 3
    EXPECT_EQ(repair_program(shape, 0b110, at(0))->source_count(), 6U);
    EXPECT_EQ(split_program(shape)->source_count(), 10U);
}

}  // namespace
}  // namespace warifu
