// The claim itself, by enumeration and by rank: any k-1 shares are independent of the secret, any k determine it and
// every other share.

#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include "fs/sharing/schedule.h"
#include "fs/sharing/test_support.h"

namespace warifu {
namespace {

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool instrumented = true;
#else
constexpr bool instrumented = false;
#endif

/// All randomness at once: a sub-block has one bit (lane) per value of the randomness, so bit b of lane L's value is
/// the L-th bit of random block b. The product's own split then computes every lane of the 1-bit scheme.
class all_randomness {
  public:
    explicit all_randomness(const scheme& shape)
        : shape_(shape), bits_(shape.random_blocks_per_unit()), sub_block_(std::max<std::size_t>(16, lanes() / 8)) {
        WARIFU_ASSERT(sub_block_ <= sub_block_size);
    }
    std::size_t lanes() const { return std::size_t{1} << bits_; }

    std::vector<byte_vector> shares_of(unsigned secret) const {
        byte_vector random(bits_ * sub_block_);
        for (unsigned b = 0; b < bits_; ++b)
            for (std::size_t lane = 0; lane < lanes(); ++lane)
                if (((lane >> b) & 1U) != 0) random[b * sub_block_ + lane / 8] |= std::byte{1} << (lane % 8);
        byte_vector secret_bytes(shape_.sub_blocks() * sub_block_);
        for (unsigned s = 0; s < shape_.sub_blocks(); ++s)
            if (((secret >> s) & 1U) != 0)
                std::fill_n(secret_bytes.begin() + static_cast<std::ptrdiff_t>(s * sub_block_), sub_block_,
                            std::byte{0xff});
        given_random source(random);
        auto shares = split_to_vectors(shape_, secret_bytes, source);
        EXPECT_EQ(source.used(), random.size());
        return shares;
    }

    /// How often each joint value of the shares in `which` occurs over all randomness.
    std::map<std::uint64_t, unsigned> histogram(const std::vector<byte_vector>& shares,
                                                std::span<const share_index> which) const {
        std::map<std::uint64_t, unsigned> counts;
        for (std::size_t lane = 0; lane < lanes(); ++lane) {
            std::uint64_t value = 0;
            for (const share_index i : which)
                for (unsigned b = 0; b < shape_.sub_blocks(); ++b) {
                    const auto byte = std::to_integer<unsigned>(shares[i.value][b * sub_block_ + lane / 8]);
                    value = (value << 1U) | ((byte >> (lane % 8)) & 1U);
                }
            ++counts[value];
        }
        return counts;
    }

  private:
    scheme shape_;
    unsigned bits_;
    std::size_t sub_block_;
};

class enumeration : public testing::TestWithParam<std::pair<unsigned, unsigned>> {};

TEST_P(enumeration, fewer_than_k_shares_have_one_distribution_for_every_secret) {
    const auto shape = *scheme::make(GetParam().first, GetParam().second);
    const all_randomness world(shape);
    const auto groups = subsets(shape.k() - 1, shape.n());
    std::vector<std::map<std::uint64_t, unsigned>> expected;
    const auto zero = world.shares_of(0);
    for (const auto& group : groups) expected.push_back(world.histogram(zero, group));
    const unsigned secrets = 1U << shape.sub_blocks();
    for (unsigned secret = 1; secret < secrets; ++secret) {
        const auto shares = world.shares_of(secret);
        for (std::size_t g = 0; g < groups.size(); ++g) EXPECT_EQ(world.histogram(shares, groups[g]), expected[g]);
    }
}

/// The test above can fail: k shares together do not have one distribution.
TEST_P(enumeration, k_shares_tell_every_secret_apart) {
    const auto shape = *scheme::make(GetParam().first, GetParam().second);
    const all_randomness world(shape);
    const auto groups = subsets(shape.k(), shape.n());
    const auto zero = world.shares_of(0);
    for (unsigned secret = 1; secret < (1U << shape.sub_blocks()); ++secret) {
        const auto shares = world.shares_of(secret);
        for (const auto& group : groups) {
            const auto zero_values = world.histogram(zero, group);
            for (const auto& [value, count] : world.histogram(shares, group)) EXPECT_FALSE(zero_values.contains(value));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(small, enumeration,
                         testing::Values(std::pair{2U, 2U}, std::pair{2U, 3U}, std::pair{3U, 3U}, std::pair{2U, 4U},
                                         std::pair{2U, 5U}, std::pair{3U, 4U}, std::pair{3U, 5U}, std::pair{4U, 5U}),
                         [](const auto& info) {
                             return std::to_string(info.param.first) + "_of_" + std::to_string(info.param.second);
                         });

/// Walks all subsets of up to k shares, adding one share's rows at a time.
class rank_walk {
  public:
    explicit rank_walk(const scheme& shape) : shape_(shape) {
        row_space all;
        for (unsigned share = 0; share < shape.n(); ++share) add(all, share);
        EXPECT_EQ(all.rank(), shape.k() * shape.sub_blocks())
            << "k shares' rank is all there is: they span every other share";
        visit(row_space{}, 0, 0);
    }
    std::size_t checked() const { return checked_; }

  private:
    void add(row_space& space, unsigned share) const {
        for (unsigned block = 0; block < shape_.sub_blocks(); ++block) space.add(share_row(shape_, share, block));
    }
    void visit(const row_space& space, unsigned next, unsigned size) {
        const unsigned leaked = space.rank_from(shape_.random_blocks_per_unit());
        if (size + 1 == shape_.k()) {
            ++checked_;
            ASSERT_EQ(leaked, 0U) << "k-1 shares combine to something without randomness";
        }
        if (size == shape_.k()) {
            ++checked_;
            ASSERT_EQ(leaked, shape_.sub_blocks()) << "k shares do not determine the secret";
            ASSERT_EQ(space.rank(), shape_.k() * shape_.sub_blocks()) << "k shares do not span the others";
            return;
        }
        for (unsigned share = next; share < shape_.n(); ++share) {
            row_space larger = space;
            add(larger, share);
            visit(larger, share + 1, size + 1);
            if (testing::Test::HasFatalFailure()) return;
        }
    }

    scheme shape_;
    std::size_t checked_ = 0;
};

std::size_t binomial(unsigned n, unsigned k) {
    std::size_t value = 1;
    for (unsigned i = 1; i <= k; ++i) value = value * (n - k + i) / i;
    return value;
}

/// Shares depend on k and p alone, so the largest n of each prime holds every smaller n as a subset of its shares.
TEST(rank, all_schemes_up_to_sixteen) {
    for (const unsigned n : {3U, 5U, 7U, 11U, 13U}) {
        for (unsigned k = 2; k <= n; ++k) {
            const rank_walk walk(*scheme::make(k, n));
            EXPECT_EQ(walk.checked(), binomial(n, k) + binomial(n, k - 1)) << k << ',' << n;
        }
    }
}

TEST(rank, sixteen_shares) {
    for (unsigned k = 2; k <= 16; ++k) {
        if (instrumented && k > 3 && k < 15) continue;  // the walk is arithmetic: sanitizers add minutes, not findings
        const rank_walk walk(*scheme::make(k, 16));
        EXPECT_EQ(walk.checked(), binomial(16, k) + binomial(16, k - 1)) << k;
    }
}

TEST(rank, echelon_form_expresses_what_it_spans) {
    row_space space;
    bit_row a = bit_row::single(0), b = bit_row::single(1), c = bit_row::single(0);
    a.flip(5);
    b.flip(5);
    c.flip(1);
    EXPECT_TRUE(space.add(a));
    EXPECT_TRUE(space.add(b));
    EXPECT_FALSE(space.add(c));  // c = a + b
    EXPECT_EQ(space.rank(), 2U);
    const auto made = space.express(c);
    ASSERT_TRUE(made.has_value());
    EXPECT_TRUE(made->test(0) && made->test(1) && made->count() == 2);
    EXPECT_FALSE(space.express(bit_row::single(5)).has_value());
}

}  // namespace
}  // namespace warifu
