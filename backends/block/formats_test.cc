#include <fstream>
#include <gtest/gtest.h>
#include <random>

#include "backends/block/log_format.h"
#include "backends/block/sector_crc.h"
#include "backends/block/share_head.h"
#include "fs/base/crc32c.h"
#include "fs/base/random.h"

namespace warifu {
namespace {

superblock sample_superblock() {
    superblock block;
    block.uuid.bytes.fill(std::byte{0x11});
    block.incarnation.bytes.fill(std::byte{0x22});
    block.sequence = 5;
    block.sector_count = 16384;
    block.segment_sectors = 32;
    block.free_is_clean = true;
    block.log_sector = 256;
    block.log_segment = 3;
    block.log_batch = 77;
    block.checkpoint_batch = 78;
    block.zeroed_end = 4096;
    return block;
}

TEST(superblock, round_trip_and_every_flipped_bit_is_noticed) {
    const superblock block = sample_superblock();
    byte_vector sector = encode_superblock(block, 2);
    ASSERT_EQ(sector.size(), sector_size);
    const auto back = decode_superblock(sector, 2);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, block);
    EXPECT_EQ(decode_superblock(sector, 1).error().code, errc::bad_checksum);
    for (std::size_t bit = 0; bit < (superblock_size_used + 16) * 8; ++bit) {
        sector[bit / 8] ^= std::byte{1} << (bit % 8);
        EXPECT_FALSE(decode_superblock(sector, 2)) << bit;
        sector[bit / 8] ^= std::byte{1} << (bit % 8);
    }
}

/// The worked example of FORMAT.md.
TEST(superblock, known_bytes) {
    const byte_vector sector = encode_superblock(sample_superblock(), 2);
    EXPECT_EQ(to_hex(bytes_view(sector).first(16)), "57524653544f5245000100026eab575b");
    EXPECT_EQ(to_hex(bytes_view(sector).subspan(48, 64)),
              "000000000000000500000000000040000000002000000001"
              "00000000000001000000000000000003000000000000004d000000000000004e0000000000001000");
}

TEST(superblock, one_clear_error_for_what_is_no_store) {
    byte_vector sector(sector_size);
    EXPECT_EQ(decode_superblock(sector, 0).error().code, errc::not_found);
    sector[0] = std::byte{1};
    EXPECT_EQ(decode_superblock(sector, 0).error().code, errc::bad_format);
    sector = encode_superblock(sample_superblock(), 0);
    sector[9] = std::byte{9};
    EXPECT_EQ(decode_superblock(sector, 0).error().code, errc::bad_version);
    superblock wrong = sample_superblock();
    wrong.log_sector = wrong.sector_count;
    EXPECT_EQ(decode_superblock(encode_superblock(wrong, 0), 0).error().code, errc::bad_format);
}

/// Which state is chosen: a letter per copy, a < b in age, x damaged.
TEST(superblock, quorum_table) {
    struct row {
        const char* copies;
        char chosen;  // x: error
    };
    static constexpr row table[] = {{"aaaa", 'a'}, {"baaa", 'a'}, {"bbaa", 'b'}, {"bbba", 'b'}, {"bbbb", 'b'},
                                    {"xaaa", 'a'}, {"xbaa", 'a'}, {"xxaa", 'a'}, {"bbxx", 'b'}, {"xbbx", 'b'},
                                    {"xbab", 'b'}, {"xxxa", 'x'}, {"xxba", 'x'}, {"xxxx", 'x'}, {"abcx", 'x'}};
    for (const row& r : table) {
        std::vector<result<superblock>> copies;
        for (int i = 0; i < 4; ++i) {
            superblock block = sample_superblock();
            block.sequence = static_cast<std::uint64_t>(r.copies[i]);
            if (r.copies[i] == 'x')
                copies.push_back(fail(errc::bad_checksum, "damaged"));
            else
                copies.push_back(block);
        }
        const auto chosen = choose_superblock(copies);
        if (r.chosen == 'x') {
            EXPECT_FALSE(chosen) << r.copies;
        } else {
            ASSERT_TRUE(chosen) << r.copies;
            EXPECT_EQ(chosen->sequence, static_cast<std::uint64_t>(r.chosen)) << r.copies;
        }
    }
}

share_head sample_head(std::size_t piece_count = 3) {
    share_head head;
    head.store.bytes.fill(std::byte{0x11});
    head.volume.bytes.fill(std::byte{0x33});
    head.chunk = chunk_id{{9, 8}, 7};
    head.generation = 2;
    head.description.index.value = 1;
    head.description.policy.bytes[15] = std::byte{5};
    std::uint32_t sectors = 0;
    for (std::size_t i = 0; i < piece_count; ++i) {
        const auto size = static_cast<std::uint32_t>(i % 3 == 1 ? 0 : 4000 + 200 * (i % 2 + 1));
        head.description.piece_sizes.push_back(size);
        sectors += static_cast<std::uint32_t>(divide_up(size, sector_size));
    }
    for (std::uint32_t i = 0; i < sectors; ++i) head.sector_checksums.push_back(0x01020304U * (i + 1));
    head.side = byte_vector(40, std::byte{0xab});
    head.description.side_size = 40;
    const std::uint32_t head_sectors = share_head_sectors(2, piece_count, sectors, 40);
    head.extents = {extent{300, head_sectors}, extent{1000, sectors}};
    return head;
}

TEST(share_head, round_trip_and_every_flipped_bit_is_noticed) {
    const share_head head = sample_head();
    encoded_head encoded = encode_share_head(head);
    ASSERT_EQ(encoded.bytes.size(), sector_size);
    const auto back = decode_share_head(encoded.bytes.view());
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_EQ(*back, head);
    EXPECT_EQ(share_head_checksum(encoded.bytes.view()), encoded.checksum);
    for (std::size_t bit = 0; bit < sector_size * 8; ++bit) {
        encoded.bytes.data()[bit / 8] ^= std::byte{1} << (bit % 8);
        ASSERT_FALSE(decode_share_head(encoded.bytes.view())) << bit;
        encoded.bytes.data()[bit / 8] ^= std::byte{1} << (bit % 8);
    }
}

/// The worked example of FORMAT.md.
TEST(share_head, known_bytes) {
    const encoded_head encoded = encode_share_head(sample_head());
    EXPECT_EQ(to_hex(encoded.bytes.view(0, 16)), "5752465348415245000100017bac25ae");
    EXPECT_EQ(to_hex(encoded.bytes.view(48, 32)),
              "000000000000000900000000000000080000000000000007"
              "0000000201000000");
    EXPECT_EQ(to_hex(encoded.bytes.view(96, 24)),
              "0000000300000028000000040000000200000000"
              "0000012c");
    EXPECT_EQ(to_hex(encoded.bytes.view(128, 24)), "000000000000012c0000000100000000000003e800000004");
    EXPECT_EQ(to_hex(encoded.bytes.view(152, 28)), "00001068000000000000106801020304020406080306090c04080c10");
}

TEST(share_head, largest_fits_its_limit) {
    share_head head = sample_head(chunk_piece_count_max);
    head.side.assign(share_side_size_max, std::byte{1});
    head.description.side_size = share_side_size_max;
    const auto sectors = share_head_sectors(1, chunk_piece_count_max, head.sector_checksums.size(), head.side.size());
    head.extents = {extent{300, sectors + static_cast<std::uint32_t>(head.sector_checksums.size())}};
    const encoded_head encoded = encode_share_head(head);
    EXPECT_LE(encoded.bytes.size(), share_head_sectors_max * sector_size);
    EXPECT_EQ(*decode_share_head(encoded.bytes.view()), head);
    const auto outline = outline_share_head(encoded.bytes.view(0, sector_size));
    ASSERT_TRUE(outline);
    EXPECT_EQ(outline->head_sectors, sectors);
    EXPECT_EQ(outline->extents, head.extents);
}

std::vector<log_entry> sample_entries() {
    share_entry share;
    share.volume = 1;
    share.chunk = chunk_id{{1, 2}, 3};
    share.generation = 4;
    share.head_checksum = 5;
    share.head_sectors = 1;
    share.extents = {extent{300, 2}, extent{400, 7}};
    record_entry inline_record;
    inline_record.sequence = 9;
    inline_record.epoch = ballot{1, 2};
    inline_record.restart = true;
    inline_record.blob = byte_vector(100, std::byte{7});
    inline_record.blob_size = 100;
    record_entry outer_record;
    outer_record.sequence = 10;
    outer_record.blob_size = 5000;
    outer_record.blob_checksum = 0xabcdef01U;
    outer_record.extents = {extent{500, 2}};
    volume_entry volume;
    volume.volume.bytes.fill(std::byte{0x44});
    return {volume,       share,           remove_entry{1, {{1, 2}, 3}}, inline_record,
            outer_record, cut_entry{1, 8}, promise_entry{1, {6, 7}},     zeroed_entry{5000}};
}

byte_vector sample_batch() {
    byte_vector entries;
    for (const log_entry& entry : sample_entries()) encode_log_entry(entries, entry);
    batch_header header;
    header.store.bytes.fill(std::byte{0x11});
    header.sequence = 42;
    header.segment = 3;
    byte_vector sectors(batch_sectors(entries.size()) * sector_size);
    encode_batch(sectors, header, entries);
    return sectors;
}

TEST(log_batch, round_trip_and_every_flipped_bit_is_noticed) {
    byte_vector sectors = sample_batch();
    ASSERT_EQ(sectors.size(), sector_size);
    const auto back = decode_batch(sectors);
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_EQ(back->header.sequence, 42U);
    EXPECT_EQ(back->header.segment, 3U);
    EXPECT_EQ(back->entries, sample_entries());
    for (std::size_t bit = 0; bit < sectors.size() * 8; ++bit) {
        sectors[bit / 8] ^= std::byte{1} << (bit % 8);
        ASSERT_FALSE(decode_batch(sectors)) << bit;
        sectors[bit / 8] ^= std::byte{1} << (bit % 8);
    }
}

TEST(log_batch, known_bytes) {
    byte_vector entries;
    encode_log_entry(entries, remove_entry{1, {{1, 2}, 3}});
    EXPECT_EQ(to_hex(entries), "030000001c00000001000000000000000100000000000000020000000000000003");
}

TEST(log_batch, entry_sizes_are_told_right) {
    for (const log_entry& entry : sample_entries()) {
        byte_vector bytes;
        encode_log_entry(bytes, entry);
        if (const auto* share = std::get_if<share_entry>(&entry)) EXPECT_EQ(log_entry_size(*share), bytes.size());
        if (const auto* record = std::get_if<record_entry>(&entry)) EXPECT_EQ(log_entry_size(*record), bytes.size());
    }
}

TEST(log_segment, round_trip) {
    segment_header header;
    header.store.bytes.fill(std::byte{0x11});
    header.number = 5;
    header.sector = 300;
    header.next = 400;
    byte_vector sector = encode_segment_header(header);
    EXPECT_EQ(*decode_segment_header(sector), header);
    sector[30] ^= std::byte{1};
    EXPECT_EQ(decode_segment_header(sector).error().code, errc::bad_checksum);
}

TEST(record_blob, round_trip_and_lying_counts) {
    const byte_vector share(33, std::byte{9});
    const std::vector<chunk_id> chunks = {{{1, 1}, 1}, {{1, 1}, 2}};
    byte_vector blob = encode_record_blob(chunks, share);
    const auto back = decode_record_blob(blob);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->chunks, chunks);
    EXPECT_TRUE(std::ranges::equal(back->share, share));
    blob[0] = std::byte{0x7f};
    EXPECT_FALSE(decode_record_blob(blob));
    EXPECT_FALSE(decode_record_blob(bytes_view(blob).first(3)));
}

TEST(sector_crc, equals_the_plain_checksum) {
    std::mt19937_64 random(1);
    buffer bytes(37 * sector_size);
    for (std::byte& b : bytes.span()) b = static_cast<std::byte>(random());
    const std::vector<bytes_view> views = {bytes.view(0, 5 * sector_size),
                                           bytes.view(5 * sector_size, 32 * sector_size)};
    const auto sums = sector_checksums(views);
    ASSERT_EQ(sums.size(), 37U);
    for (std::size_t i = 0; i < 37; ++i) EXPECT_EQ(sums[i], crc32c(bytes.view(i * sector_size, sector_size)));
    EXPECT_TRUE(sectors_match(bytes.view(), sums));
    bytes.data()[36 * sector_size + 4095] ^= std::byte{0x80};
    EXPECT_FALSE(sectors_match(bytes.view(), sums));
}

/// Writes the samples above as a corpus for the fuzzers: WARIFU_CORPUS=backends/block/corpus formats_test.
TEST(corpus, written_on_request) {
    const char* folder = std::getenv("WARIFU_CORPUS");
    if (folder == nullptr) GTEST_SKIP() << "WARIFU_CORPUS is not set";
    const auto save = [folder](const char* name, bytes_view bytes) {
        std::ofstream(std::string(folder) + "/" + name, std::ios::binary) << as_text(bytes);
    };
    save("superblock/sample", encode_superblock(sample_superblock(), 0));
    save("share_head/sample", encode_share_head(sample_head()).bytes.view());
    save("share_head/many_pieces", encode_share_head(sample_head(300)).bytes.view());
    save("log_batch/sample", sample_batch());
}

}  // namespace
}  // namespace warifu
