#include "fs/sharing/tags.h"

#include <gtest/gtest.h>

#include "fs/sharing/share_hash.h"
#include "fs/sharing/test_support.h"

namespace warifu {
namespace {

struct tagged {
    scheme shape = *scheme::make(2, 3);
    gf128_point point{gf128{0x1122334455667788ULL, 0x99aabbccddeeff01ULL}};
    piece_name name{chunk_id{ballot{7, 0xabcdef}, 42}, 3};

    byte_vector tags_of(const piece_name& of, bytes_view secret) const {
        const piece_layout layout(shape, secret.size());
        byte_vector tags(layout.tags_size());
        compute_tags(point, of, shape, layout, {0, layout.units()}, secret, tags);
        return tags;
    }
};

/// The polynomial symbol by symbol, from the encoding as the header documents it.
gf128 tag_by_hand(const tagged& w, bytes_view padded, std::uint32_t length, std::uint32_t number) {
    byte_vector symbols;
    const auto put = [&](std::uint64_t value, unsigned bytes) {
        for (unsigned i = bytes; i-- > 0;) symbols.push_back(static_cast<std::byte>(value >> (8 * i)));
    };
    for (const char c : std::string_view("wtag")) symbols.push_back(static_cast<std::byte>(c));
    put(padded.size(), 4);
    put(length, 4);
    put(w.name.piece, 4);
    put(w.name.chunk.epoch.counter, 8);
    put(w.name.chunk.epoch.nonce, 8);
    put(w.name.chunk.sequence, 8);
    put(number, 4);
    put(0, 4);
    symbols.insert(symbols.end(), padded.begin(), padded.end());
    gf128 value;
    for (std::size_t i = 0; i < symbols.size(); i += 16)
        value = multiply(value ^ gf128::load(symbols.data() + i), w.point.value());
    return value;
}

TEST(tags, are_the_documented_polynomial) {
    const tagged w;
    for (const std::size_t size : {1UL, 15UL, 16UL, 33UL, 100UL, 8192UL, 8192UL + 5000UL, 16384UL + 8190UL}) {
        const auto secret = noise(size, size);
        const piece_layout layout(w.shape, size);
        auto padded = secret;
        padded.resize(layout.share_size());
        const auto tags = w.tags_of(w.name, secret);
        for (std::uint32_t number = 0; number < layout.sub_blocks(); ++number) {
            const auto place = layout.place_of(number);
            const auto expected = tag_by_hand(w, bytes_view(padded).subspan(place.offset, place.size),
                                              static_cast<std::uint32_t>(place.length), number);
            EXPECT_EQ(gf128::load(tags.data() + number * tag_size), expected) << size << ' ' << number;
        }
        EXPECT_TRUE(verify_tags(w.point, w.name, w.shape, layout, {0, layout.units()}, padded, tags).has_value());
    }
}

TEST(tags, a_range_has_the_tags_of_its_place) {
    const tagged w;
    const auto secret = noise(5 * 8192 + 77, 2);
    const piece_layout layout(w.shape, secret.size());
    const auto all = w.tags_of(w.name, secret);
    for (std::uint32_t first = 0; first < layout.units(); ++first) {
        const unit_range range{first, layout.units() - first};
        const byte_range at = layout.tag_bytes_of(range, 0);
        byte_vector tags(at.size);
        compute_tags(w.point, w.name, w.shape, layout, range,
                     bytes_view(secret).subspan(layout.share_bytes_of(range).offset), tags);
        EXPECT_TRUE(std::equal(tags.begin(), tags.end(), all.begin() + static_cast<std::ptrdiff_t>(at.offset)));
    }
}

TEST(tags, every_bit_and_every_field_counts) {
    const tagged w;
    const auto secret = noise(50, 3);
    const piece_layout layout(w.shape, secret.size());
    auto padded = secret;
    padded.resize(layout.share_size());
    const auto tags = w.tags_of(w.name, secret);
    const unit_range all{0, layout.units()};
    const auto refused = [&](const piece_name& name, const piece_layout& as, bytes_view data, bytes_view given) {
        const auto done = verify_tags(w.point, name, w.shape, as, all, data, given);
        return !done && done.error().code == errc::bad_tag;
    };
    ASSERT_FALSE(refused(w.name, layout, padded, tags));
    for (std::size_t bit = 0; bit < padded.size() * 8; ++bit) {  // padding included
        auto changed = padded;
        changed[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_TRUE(refused(w.name, layout, changed, tags)) << bit;
    }
    for (std::size_t bit = 0; bit < tags.size() * 8; ++bit) {
        auto changed = tags;
        changed[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_TRUE(refused(w.name, layout, padded, changed)) << bit;
    }
    auto swapped = tags;
    std::swap_ranges(swapped.begin(), swapped.begin() + 16, swapped.begin() + 16);
    EXPECT_TRUE(refused(w.name, layout, padded, swapped));
    for (unsigned field = 0; field < 4; ++field) {
        piece_name other = w.name;
        if (field == 0) ++other.piece;
        if (field == 1) ++other.chunk.sequence;
        if (field == 2) ++other.chunk.epoch.counter;
        if (field == 3) ++other.chunk.epoch.nonce;
        EXPECT_TRUE(refused(other, layout, padded, tags)) << field;
    }
    const piece_layout longer(w.shape, secret.size() + 1);  // the same padded size
    ASSERT_EQ(longer.share_size(), layout.share_size());
    EXPECT_TRUE(refused(w.name, longer, padded, tags));
}

TEST(tags, zeros_of_different_lengths_have_different_tags) {
    const tagged w;
    const auto a = w.tags_of(w.name, byte_vector(32));
    const auto b = w.tags_of(w.name, byte_vector(64));
    EXPECT_FALSE(std::equal(a.begin(), a.begin() + 16, b.begin()));
    EXPECT_NE(a, byte_vector(a.size()));
}

TEST(share_hashes, depend_on_every_field_and_bit) {
    const gf128_point point(gf128{0xdeadbeef, 0xfeedface});
    const piece_name name{chunk_id{ballot{1, 2}, 3}, 4};
    const auto piece = noise(64, 1), tags = noise(32, 2);
    const auto right = hash_share(point, name, share_index{1}, piece, tags);
    for (std::size_t bit = 0; bit < (piece.size() + tags.size()) * 8; ++bit) {
        auto p = piece, t = tags;
        (bit < piece.size() * 8 ? p[bit / 8] : t[bit / 8 - piece.size()]) ^= std::byte{1} << (bit % 8);
        EXPECT_NE(hash_share(point, name, share_index{1}, p, t), right);
    }
    EXPECT_NE(hash_share(point, name, share_index{2}, piece, tags), right);
    for (unsigned field = 0; field < 4; ++field) {
        piece_name other = name;
        if (field == 0) ++other.piece;
        if (field == 1) ++other.chunk.sequence;
        if (field == 2) ++other.chunk.epoch.counter;
        if (field == 3) ++other.chunk.epoch.nonce;
        EXPECT_NE(hash_share(point, other, share_index{1}, piece, tags), right) << field;
    }
    // The same bytes with the border between piece and tags elsewhere.
    byte_vector joined = piece;
    joined.insert(joined.end(), tags.begin(), tags.end());
    EXPECT_NE(hash_share(point, name, share_index{1}, joined, {}), right);
    EXPECT_NE(hash_share(point, name, share_index{1}, bytes_view(joined).first(48), bytes_view(joined).subspan(48)),
              right);
}

TEST(share_hashes, table_round_trip) {
    const std::vector<std::uint32_t> sizes{100, 4096, 1};
    hash_table table(3, sizes);
    share_hash hash{};
    hash[5] = std::byte{9};
    table.set(2, share_index{1}, hash);
    const auto read = hash_table::decode(3, 3, table.view());
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->payload_size(0), 100U);
    EXPECT_EQ(read->payload_size(1), 4096U);
    EXPECT_TRUE(read->matches(2, share_index{1}, hash));
    EXPECT_FALSE(read->matches(2, share_index{0}, hash));
    EXPECT_FALSE(hash_table::decode(3, 2, table.view()).has_value());
    EXPECT_FALSE(hash_table::decode(4, 3, table.view()).has_value());
    EXPECT_FALSE(hash_table::decode(3, 1, hash_table(3, std::vector<std::uint32_t>{0}).view()).has_value());
    EXPECT_FALSE(hash_table::decode(3, 0, {}).has_value());
}

}  // namespace
}  // namespace warifu
