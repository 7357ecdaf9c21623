#include "keyd/pool/pad_file.h"

#include "fs/base/crc32c.h"
#include "fs/base/limits.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t file_block_size = 128U << 10U;

TEST(pad_file, header_round_trip) {
    pad_file_header header{make_block(ab, 1U << 20U, file_block_size), 0x12345678U};
    header.block.strength = claim::information_theoretic;
    auto bytes = encode_pad_header(header);
    ASSERT_EQ(bytes.size(), pad_header_size);
    auto back = decode_pad_header(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->block, header.block);
    EXPECT_EQ(back->data_crc, header.data_crc);
    header.data_crc.reset();
    back = decode_pad_header(encode_pad_header(header));
    EXPECT_FALSE(back->data_crc);
}

TEST(pad_file, every_flipped_header_byte_is_caught) {
    const auto good = encode_pad_header(pad_file_header{make_block(ab, 0, file_block_size), 1U});
    for (std::size_t i = 0; i < good.size(); ++i) {
        auto bad = good;
        bad[i] ^= std::byte{0x10};
        EXPECT_FALSE(decode_pad_header(bad)) << i;
    }
}

/// A header with a right checksum and wrong fields.
result<pad_file_header> with_fields(const std::function<void(block_header&)>& change) {
    auto block = make_block(ab, 0, file_block_size);
    change(block);
    return decode_pad_header(encode_pad_header(pad_file_header{block, 1U}));
}

TEST(pad_file, nonsense_fields_are_refused) {
    EXPECT_EQ(with_fields([](auto& b) { b.range.size = (1U << 30U) + 4096; }).error().code, errc::too_large);
    EXPECT_FALSE(with_fields([](auto& b) { b.range.size = 4096; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.range.size += 1; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.range.offset = 1; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.range.offset = ~std::uint64_t{4095}; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.hello_size = 0; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.hello_size = file_block_size; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.stream.sender = "b"; })) << "a pad has two sites";
    EXPECT_FALSE(with_fields([](auto& b) { b.stream.sender = ""; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.stream.sender = "../a"; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.kind = block_kind::random; }));
    EXPECT_FALSE(with_fields([](auto& b) { b.kind = static_cast<block_kind>(3); }));
    EXPECT_FALSE(with_fields([](auto& b) { b.strength = static_cast<claim>(0); }));
    EXPECT_FALSE(with_fields([](auto& b) { b.id = {}; }));
    EXPECT_TRUE(with_fields([](auto&) {}));
}

TEST(pad_file, truncated_damaged_and_foreign_files_are_named) {
    const temporary_directory directory;
    const auto block = make_block(ab, 0, file_block_size);
    const auto path = write_block(block, {directory.path()}).front();
    ASSERT_TRUE(verify_pad_file(path));
    const auto good = read_all(path);
    ASSERT_EQ(good.size(), pad_header_size + file_block_size);

    const auto refused = [&](bytes_view bytes, errc code) {
        write_all(path, bytes);
        const auto found = verify_pad_file(path);
        ASSERT_FALSE(found);
        EXPECT_EQ(found.error().code, code) << found.error().message();
        EXPECT_NE(found.error().text.find(path), std::string::npos);
        EXPECT_EQ(found.error().text.find('\n'), std::string::npos);
    };
    for (const std::size_t size : {std::size_t{0}, std::size_t{100}, pad_header_size, good.size() - 1})
        refused(bytes_view(good).first(size), errc::bad_format);
    auto longer = good;
    longer.push_back(std::byte{0});
    refused(longer, errc::bad_format);
    auto damaged = good;
    damaged[pad_header_size + 70'000] ^= std::byte{1};
    refused(damaged, errc::bad_checksum);
    damaged = good;
    damaged[0] = std::byte{'X'};
    refused(damaged, errc::bad_format);
    EXPECT_EQ(verify_pad_file(directory / "none").error().code, errc::not_found);
}

TEST(pad_file, an_unfinished_file_leaves_nothing) {
    const temporary_directory directory;
    {
        auto writer = pad_file_writer::create(directory.path(), make_block(ab, 0, file_block_size));
        ASSERT_TRUE(writer);
        ASSERT_TRUE(writer->append(byte_vector(1000)));
        EXPECT_EQ(writer->finish().error().code, errc::bad_argument);
        EXPECT_EQ(writer->append(byte_vector(file_block_size)).error().code, errc::bad_argument);
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

}  // namespace
}  // namespace warifu
