#include "fs/sharing/amd.h"

#include <gtest/gtest.h>

#include "fs/base/gf128.h"
#include "fs/sharing/layout.h"
#include "fs/sharing/test_support.h"

namespace warifu {
namespace {

static_assert(codeword_overhead == 96);
static_assert(codeword_size(0) == 96);

struct world {
    scheme shape = *scheme::make(2, 3);
    codeword_name name{volume_id{{std::byte{0xaa}, std::byte{0xbb}}}, codeword_type::journal_record, ballot{9, 0x55},
                       77, 2};

    buffer encode(bytes_view payload) const {
        const auto randomness = make_drbg();
        return std::move(*encode_codeword(shape, name, payload, *randomness));
    }
    bool refused(bytes_view received, const codeword_name& expected, std::optional<std::size_t> size = {}) const {
        const auto opened = open_codeword(shape, expected, received, size);
        return !opened && opened.error().code == errc::bad_tag;
    }
};

/// Recomputes T from the definition: sum of s_i x^i with the first symbol at the highest power, and x^e.
gf128 tag_by_hand(bytes_view codeword, std::size_t payload_size) {
    const gf128 x = gf128::load(codeword.data() + 16);
    byte_vector symbols(codeword.begin() + 32, codeword.begin() + static_cast<std::ptrdiff_t>(96 + payload_size));
    symbols.resize(round_up(symbols.size(), 16));
    const std::size_t d = symbols.size() / 16;
    std::size_t e = d + 2;
    if (e % 2 == 0) ++e;
    gf128 sum = power(x, e);
    for (std::size_t i = 1; i <= d; ++i) sum = sum ^ multiply(gf128::load(symbols.data() + (d - i) * 16), power(x, i));
    return sum;
}

TEST(amd, round_trip_of_every_short_size) {
    const world w;
    for (std::size_t size = 0; size < 300; ++size) {
        const auto payload = noise(size, size);
        const buffer codeword = w.encode(payload);
        EXPECT_EQ(codeword.size(), piece_layout(w.shape, 96 + size).share_size());
        EXPECT_EQ(gf128::load(codeword.data()), tag_by_hand(codeword.view(), size)) << size;
        const auto opened = open_codeword(w.shape, w.name, codeword.view(), size);
        ASSERT_TRUE(opened.has_value()) << size;
        EXPECT_TRUE(std::ranges::equal(*opened, payload));
        EXPECT_TRUE(open_codeword(w.shape, w.name, codeword.view()).has_value());
    }
}

TEST(amd, largest_payload) {
    const world w;
    const auto payload = noise(codeword_payload_size_max, 1);
    const buffer codeword = w.encode(payload);
    const auto opened = open_codeword(w.shape, w.name, codeword.view());
    ASSERT_TRUE(opened.has_value());
    EXPECT_TRUE(std::ranges::equal(*opened, payload));
    const auto randomness = make_drbg();
    const auto over = encode_codeword(w.shape, w.name, noise(codeword_payload_size_max + 1, 1), *randomness);
    ASSERT_FALSE(over.has_value());
    EXPECT_EQ(over.error().code, errc::too_large);
}

TEST(amd, randomness_is_fresh) {
    const world w;
    const buffer a = w.encode(noise(10, 1)), b = w.encode(noise(10, 1));
    EXPECT_FALSE(std::ranges::equal(a.view(), b.view()));
    given_random dry(byte_vector(15));
    EXPECT_EQ(encode_codeword(w.shape, w.name, noise(10, 1), dry).error().code, errc::no_key);
}

TEST(amd, any_changed_bit_is_refused) {
    const world w;
    for (const std::size_t size : {0UL, 1UL, 20UL, 100UL}) {
        const buffer codeword = w.encode(noise(size, 5));
        for (std::size_t bit = 0; bit < codeword.size() * 8; ++bit) {
            buffer changed = buffer::copy_of(codeword.view());
            changed.data()[bit / 8] ^= std::byte{1} << (bit % 8);
            EXPECT_TRUE(w.refused(changed.view(), w.name)) << size << ' ' << bit;
        }
    }
}

/// The attack that sharing allows: a site flips bits of its share, which flips bits of the reconstruction.
TEST(amd, any_changed_bit_of_any_share_is_refused) {
    const world w;
    const auto randomness = make_drbg();
    const buffer codeword = w.encode(noise(40, 6));
    const auto shares = split_to_vectors(w.shape, codeword.view(), *randomness);
    for (const auto& which : subsets(2, 3)) {
        for (const share_index liar : which) {
            for (std::size_t bit = 0; bit < codeword.size() * 8; ++bit) {
                auto changed = shares;
                changed[liar.value][bit / 8] ^= std::byte{1} << (bit % 8);
                buffer out(codeword.size());
                ASSERT_TRUE(reconstruct(w.shape, which, views_of(changed, which), out.span()).has_value());
                EXPECT_TRUE(w.refused(out.view(), w.name));
            }
        }
    }
}

TEST(amd, genuine_codewords_of_other_names_are_refused) {
    const world w;
    const buffer codeword = w.encode(noise(40, 6));
    const auto decoded = decode_codeword(w.shape, codeword.view());
    ASSERT_TRUE(decoded.has_value());
    EXPECT_EQ(decoded->name, w.name);
    for (unsigned field = 0; field < 6; ++field) {
        codeword_name other = w.name;
        if (field == 0) other.volume.bytes[15] = std::byte{1};
        if (field == 1) other.type = codeword_type::volume_record;
        if (field == 2) ++other.epoch.counter;
        if (field == 3) ++other.epoch.nonce;
        if (field == 4) ++other.sequence;
        if (field == 5) ++other.piece;
        EXPECT_TRUE(w.refused(codeword.view(), other)) << field;
    }
    EXPECT_TRUE(w.refused(codeword.view(), w.name, 39));
    EXPECT_TRUE(w.refused(codeword.view(), w.name, 41));
    // The same p, so the same sizes, but another threshold: only the header's k tells.
    const auto other_shape = *scheme::make(3, 3);
    ASSERT_EQ(codeword_share_size(other_shape, 40), codeword.size());
    const auto opened = open_codeword(other_shape, w.name, codeword.view());
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().code, errc::bad_tag);
}

/// A liar who changes the length in the header, also to one that fits what was received.
TEST(amd, length_lies_are_refused) {
    const world w;
    const buffer codeword = w.encode(noise(40, 6));
    for (std::uint32_t length = 0; length < 400; ++length) {
        if (length == 40) continue;
        buffer changed = buffer::copy_of(codeword.view());
        for (unsigned i = 0; i < 4; ++i) changed.data()[40 + i] = static_cast<std::byte>(length >> (24U - 8U * i));
        EXPECT_TRUE(w.refused(changed.view(), w.name)) << length;
    }
    for (std::size_t size = 0; size < codeword.size(); ++size)
        EXPECT_TRUE(w.refused(codeword.view().first(size), w.name)) << size;
    buffer longer = buffer::zeroed(codeword.size() + 32);
    std::ranges::copy(codeword.view(), longer.data());
    EXPECT_TRUE(w.refused(longer.view(), w.name));
}

}  // namespace
}  // namespace warifu
