#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sanitizer/allocator_interface.h>

#include "fs/base/buffer.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "fs/base/ids.h"
#include "fs/base/limits.h"
#include "fs/base/random.h"

namespace warifu {
namespace {

TEST(crc32c, known_answers) {  // RFC 3720 appendix B.4
    byte_vector zeros(32), ones(32, std::byte{0xff});
    EXPECT_EQ(crc32c(zeros), 0x8a9136aaU);
    EXPECT_EQ(crc32c(ones), 0x62a8ab43U);
    EXPECT_EQ(crc32c(as_bytes_view("123456789")), 0xe3069283U);
    EXPECT_EQ(crc32c(as_bytes_view("6789"), crc32c(as_bytes_view("12345"))), 0xe3069283U);
}

TEST(ids, uuid_text_round_trip_and_errors) {
    const auto id = random_uuid<volume_id>();
    const auto back = uuid_from_text(to_text(id));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, id.bytes);
    EXPECT_FALSE(uuid_from_text("12345678-1234-1234-1234-12345678901"));
    EXPECT_FALSE(uuid_from_text("12345678_1234-1234-1234-123456789012"));
    EXPECT_FALSE(uuid_from_text("1234567g-1234-1234-1234-123456789012"));
}

TEST(codec, round_trip) {
    writer w;
    const chunk_id id{{7, 9}, 11};
    w.put_be<std::uint16_t>(0x1234).put(id).put_sized(as_bytes_view("abc"));
    reader r(w.view());
    EXPECT_EQ(*r.take_be<std::uint16_t>(), 0x1234);
    EXPECT_EQ(*r.take<chunk_id>(), id);
    EXPECT_EQ(as_text(*r.take_sized(3)), "abc");
    EXPECT_TRUE(r.done());
}

TEST(codec, refuses_short_input_lying_counts_and_trailing_bytes) {
    writer w;
    w.put_be<std::uint32_t>(0xffffffffU).put_be<std::uint8_t>(1);
    EXPECT_EQ(reader(w.view()).take_sized(100).error().code, errc::too_large);
    EXPECT_EQ(reader(w.view()).take_sized(0xffffffffU).error().code, errc::bad_format);
    EXPECT_EQ(reader(w.view()).take_count(8, 0xffffffffU).error().code, errc::bad_format);
    EXPECT_EQ(reader(w.view()).take_be<std::uint64_t>().error().code, errc::bad_format);
    EXPECT_FALSE(reader(w.view()).done());
}

TEST(buffer, is_aligned_recycled_and_wiped) {
    std::byte* where = nullptr;
    {
        buffer b(10'000);
        where = b.data();
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(where) % 4096, 0U);
        std::memset(b.data(), 0x5a, b.size());
    }
    const buffer again(10'000);
    ASSERT_EQ(again.data(), where) << "the block is recycled";
    for (const std::byte byte : again.view()) ASSERT_EQ(byte, std::byte{0});
}

/// Freed blocks of one size give way to blocks in use of another: what is resident stays below what was set.
TEST(buffer, freed_blocks_give_way) {
    const auto resident = [] {
#if __has_feature(address_sanitizer)
        __sanitizer_purge_allocator();  // it keeps what is freed for a while
#endif
        std::ifstream statm("/proc/self/statm");
        std::size_t pages = 0;
        statm >> pages >> pages;
        return pages * 4096;
    };
    constexpr std::size_t most = 64U << 20U;
    set_buffer_memory(most);
    const std::size_t before = resident();
    const auto fill = [](std::size_t size, std::size_t whole) {
        std::vector<buffer> some;
        for (std::size_t at = 0; at < whole; at += size) {
            some.emplace_back(size);
            std::memset(some.back().data(), 1, size);
        }
        return some;
    };
    for (int turn = 0; turn < 3; ++turn) {
        fill(4096, most);
        const auto large = fill(1U << 20U, most);
        EXPECT_LT(resident(), before + most + most / 4);
        if (turn == 0) EXPECT_GT(resident(), before + most / 2);
    }
    EXPECT_LT(resident(), before + most + most / 4);
    set_buffer_memory(buffer_memory_max);
}

TEST(buffer, slices_share_one_owner) {
    slice whole(buffer::copy_of(as_bytes_view("hello world")));
    const slice part = whole.part(6, 5);
    whole = slice();
    EXPECT_EQ(as_text(part.view()), "world");
}

TEST(random, drbg_rekeys_and_never_repeats) {
    const auto source = make_drbg();
    byte_vector a(4096), b(4096), c(4096);
    ASSERT_TRUE(source->fill(a));
    ASSERT_TRUE(source->fill(b));
    ASSERT_TRUE(source->begin_chunk());
    ASSERT_TRUE(source->fill(c));
    EXPECT_NE(a, b);
    EXPECT_NE(b, c);
    EXPECT_EQ(source->strength(), claim::computational);
}

}  // namespace
}  // namespace warifu
