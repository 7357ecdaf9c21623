// Encodings: known answers, round trips, and rejection of what is not ours.

#include "fs/metadata/records.h"

#include <gtest/gtest.h>
#include <random>
#include <sys/stat.h>

#include "fs/metadata/packing.h"

namespace warifu {
namespace {

std::string hex(std::string_view bytes) {
    return to_hex(as_bytes_view(bytes));
}

TEST(packing, ordered_numbers_sort_like_numbers) {
    std::mt19937_64 random(1);
    std::vector<std::uint64_t> numbers{0, 1, 255, 256, 65535, 65536, ~std::uint64_t{0}};
    for (int i = 0; i < 1000; ++i) numbers.push_back(random() >> (random() % 64));
    for (const auto a : numbers) {
        writer out_a;
        put_ordered(out_a, a);
        reader in(out_a.view());
        EXPECT_EQ(*take_ordered(in), a);
        EXPECT_EQ(in.left(), 0U);
        writer varint;
        put_varint(varint, a);
        reader varint_in(varint.view());
        EXPECT_EQ(*take_varint(varint_in), a);
        const auto b = numbers[random() % numbers.size()];
        writer out_b;
        put_ordered(out_b, b);
        EXPECT_EQ(a < b, as_text(out_a.view()) < as_text(out_b.view()));
        EXPECT_EQ(unzigzag(zigzag(static_cast<std::int64_t>(a))), static_cast<std::int64_t>(a));
    }
}

TEST(packing, refuses_numbers_that_are_not_its_own) {
    const auto ordered = [](std::string_view bytes) {
        reader in(as_bytes_view(bytes));
        return take_ordered(in).has_value();
    };
    EXPECT_TRUE(ordered(std::string_view("\0", 1)));
    EXPECT_FALSE(ordered(std::string_view("\1\0", 2)));
    EXPECT_FALSE(ordered(std::string_view("\2\0\1", 3)));
    EXPECT_FALSE(ordered("\x09xxxxxxxxx"));
    EXPECT_FALSE(ordered("\x02x"));
    EXPECT_FALSE(ordered(""));
    const auto varint = [](std::string_view bytes) {
        reader in(as_bytes_view(bytes));
        return take_varint(in).has_value();
    };
    EXPECT_TRUE(varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    EXPECT_FALSE(varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    EXPECT_FALSE(varint("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    EXPECT_FALSE(varint("\x80"));
    reader wide(as_bytes_view("\xff\xff\x04"));
    EXPECT_FALSE(take_varint_as<std::uint16_t>(wide));
}

TEST(name_hash, answers_of_the_siphash_paper) {
    name_hash_key key;
    for (unsigned i = 0; i < 16; ++i) key[i] = static_cast<std::byte>(i);
    byte_vector message;
    for (unsigned i = 0; i < 15; ++i) message.push_back(static_cast<std::byte>(i));
    EXPECT_EQ(siphash(key, message), 0xa129ca6149be45e5ULL);
    EXPECT_EQ(siphash(key, {}), 0x726fdb47dd0e0e31ULL);
    EXPECT_EQ(siphash(key, bytes_view(message).first(8)), 0x93f5f5799a932462ULL);
}

inode sample_inode() {
    inode i;
    i.number = 300;
    i.mode = S_IFREG | 0644;
    i.uid = 1000;
    i.gid = 1000;
    i.link_count = 1;
    i.size = i.stored_size = 5000;
    i.birth_time = i.access_time = {1'700'000'000, 123'456'789};
    i.modify_time = i.change_time = {1'700'000'002, 5};
    return i;
}

// The worked example of FORMAT.md.
TEST(records, worked_example) {
    EXPECT_EQ(hex(inode_key(300)), "4902012c");
    EXPECT_EQ(hex(encode(sample_inode())), "08a48302e807e80701882780c49fd50c959aef3a0405");
    EXPECT_EQ(hex(entry_key(1, 0x0123456789abcd00)), "4501010123456789abcd00");
    EXPECT_EQ(hex(encode(entry_record{.type = S_IFREG, .number = 300, .name = "reads.fq"})), "08ac0272656164732e6671");
    extent e;
    e.size = e.piece_size = 5000;
    e.chunk.sequence = 77;
    e.piece = 3;
    e.first_unit = 12;
    EXPECT_EQ(hex(extent_key(300, 5000)), "5802012c021388");
    EXPECT_EQ(hex(encode(extent_record{e, 2})), "01024d03000c8827");
    EXPECT_EQ(hex(piece_key({2, 77}, 3)), "500102014d0003");
    EXPECT_EQ(hex(encode(piece_record{1, 0, 5000, 12})), "010088270c");
    inode root;
    root.number = root.parent = root_inode;
    root.mode = S_IFDIR | 0755;
    root.link_count = 2;
    root.size = 1;
    root.birth_time = root.access_time = {1'700'000'000, 0};
    root.modify_time = root.change_time = sample_inode().modify_time;
    EXPECT_EQ(hex(inode_key(root_inode)), "490101");
    EXPECT_EQ(hex(encode(root)), "0ded83010000020180c49fd50c0001000405");
    EXPECT_EQ(hex(counters_key()), "43");
    EXPECT_EQ(hex(encode(counters_record{2, 5000, 1, 1026})),
              "0288270182"
              "08");
}

TEST(records, round_trips) {
    std::mt19937_64 random(7);
    const auto number = [&] { return random() >> (random() % 64); };
    const auto time = [&] {
        return random() % 2 ? time_stamp{1'700'000'000, 5}
                            : time_stamp{static_cast<std::int64_t>(random()),
                                         static_cast<std::uint32_t>(random() % 1'000'000'000)};
    };
    for (int i = 0; i < 2000; ++i) {
        inode n;
        n.number = number();
        n.mode = static_cast<std::uint32_t>(number());
        n.uid = static_cast<std::uint32_t>(number());
        n.gid = static_cast<std::uint32_t>(number());
        n.link_count = static_cast<std::uint32_t>(number());
        n.size = number();
        n.stored_size = random() % 2 ? n.size : number();
        n.device = random() % 2 ? number() : 0;
        n.parent = random() % 2 ? number() : 0;
        n.birth_time = time();
        n.access_time = time();
        n.modify_time = time();
        n.change_time = time();
        EXPECT_EQ(*decode_inode(n.number, encode(n)), n);

        extent_record x;
        x.epoch = static_cast<epoch_number>(number());
        x.value.chunk.sequence = number();
        x.value.piece = static_cast<std::uint16_t>(number());
        x.value.placement = static_cast<std::uint16_t>(number());
        x.value.first_unit = static_cast<std::uint32_t>(number());
        x.value.piece_offset = static_cast<std::uint32_t>(random() % 2 * (number() >> 34U));
        x.value.size = 1 + static_cast<std::uint32_t>(number() >> 34U);
        x.value.piece_size =
            x.value.piece_offset + x.value.size + static_cast<std::uint32_t>(random() % 2 * (number() >> 34U));
        x.value.file_offset = number() >> 1U;
        const auto decoded = decode_extent(extent_key(5, x.value.end()), encode(x));
        ASSERT_TRUE(decoded);
        EXPECT_EQ(decoded->value, x.value);
        EXPECT_EQ(decoded->epoch, x.epoch);

        const counters_record c{number(), number(), number(), number()};
        EXPECT_EQ(*decode_counters(encode(c)), c);
        const auto ticket = number();
        EXPECT_EQ(*decode_freed_ticket(freed_key(ticket)), ticket);
        const auto cookie = number();
        EXPECT_EQ(*decode_entry_cookie(entry_key(number(), cookie)), cookie);
    }
    const entry_record placeholder{.type = 0, .number = 0, .last_collision = 9, .name = {}};
    EXPECT_TRUE(decode_entry(encode(placeholder))->is_placeholder());
    EXPECT_EQ(decode_entry(encode(placeholder))->last_collision, 9);
}

TEST(records, prefix_end) {
    EXPECT_EQ(prefix_end("a"), "b");
    EXPECT_EQ(prefix_end("a\xff"), "b");
    EXPECT_EQ(prefix_end(entry_prefix(255)), std::string("E\x02", 2));
    EXPECT_LT(entry_key(255, ~std::uint64_t{0}), prefix_end(entry_prefix(255)));
    EXPECT_GE(entry_key(256, 0), prefix_end(entry_prefix(255)));
}

/// Damaged records give an error or a value, nothing else; a cut one never passes where the length is fixed by its
/// fields.
TEST(records, damaged_bytes_are_refused_without_harm) {
    std::mt19937 random(11);
    const std::string samples[] = {encode(sample_inode()),
                                   encode(counters_record{2, 5000, 1, 1026}),
                                   encode(piece_record{1, 0, 5000, 12}),
                                   encode(header_record{}),
                                   encode(ballot{1, 2}),
                                   encode(freed_record{{1, 2}, 3, 4, 5, 6})};
    const auto decode_all = [](std::string_view bytes) {
        (void)decode_inode(1, bytes);
        (void)decode_counters(bytes);
        (void)decode_piece(bytes);
        (void)decode_header(bytes);
        (void)decode_epoch(bytes);
        (void)decode_freed(bytes);
        (void)decode_entry(bytes);
        (void)decode_extent("X\x01\x01\x02\xff\xff", bytes);
        if (!bytes.empty()) {
            (void)decode_extent(bytes, bytes);
            (void)decode_epoch_key(bytes);
            (void)decode_piece_key(bytes);
            (void)decode_entry_cookie(bytes);
            (void)decode_freed_ticket(bytes);
        }
    };
    for (const auto& sample : samples) {
        for (std::size_t size = 0; size <= sample.size(); ++size) decode_all(std::string_view(sample).substr(0, size));
        for (int i = 0; i < 2000; ++i) {
            std::string damaged = sample;
            damaged[random() % damaged.size()] = static_cast<char>(random());
            decode_all(damaged);
        }
        decode_all(sample + "x");
    }
    const auto cut = [](const std::string& s) { return std::string_view(s).substr(0, s.size() - 1); };
    EXPECT_EQ(decode_inode(1, cut(samples[0])).error().code, errc::bad_format);
    EXPECT_EQ(decode_inode(1, samples[0] + "x").error().code, errc::bad_format);
    EXPECT_EQ(decode_counters(cut(samples[1])).error().code, errc::bad_format);
    EXPECT_EQ(decode_piece(cut(samples[2])).error().code, errc::bad_format);
    EXPECT_EQ(decode_header(cut(samples[3])).error().code, errc::bad_format);
    EXPECT_EQ(decode_epoch(cut(samples[4])).error().code, errc::bad_format);
    EXPECT_EQ(decode_freed(cut(samples[5])).error().code, errc::bad_format);
    EXPECT_EQ(decode_piece(encode(piece_record{0, 0, 1, 0})).error().code, errc::bad_format);
    extent e;
    e.size = 10;
    e.piece_size = 10;
    EXPECT_EQ(decode_extent(extent_key(1, 9), encode(extent_record{e, 1})).error().code, errc::bad_format);
    e.piece_offset = 1;
    EXPECT_EQ(decode_extent(extent_key(1, 10), encode(extent_record{e, 1})).error().code, errc::bad_format);
}

}  // namespace
}  // namespace warifu
