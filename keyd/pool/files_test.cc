// Reading and erasing past the machine's memory. Where the temporary directory lies on a tmpfs there is no disk, and
// the same must hold.

#include "keyd/pool/files.h"

#include <algorithm>
#include <fcntl.h>
#include <linux/magic.h>
#include <random>
#include <sys/vfs.h>

#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

struct files_test : testing::Test {
    files_test() {
        for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(1 + i * 31 % 251);
        write_all(path, content);
        file = *open_file(path, O_RDWR);
        cool();
    }
    /// Leaves the bytes to the disk alone.
    void cool() {
        ::fsync(file.get());
        ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    }
    bool is_on_disk() const {
        struct statfs system{};
        return ::fstatfs(file.get(), &system) == 0 && system.f_type != TMPFS_MAGIC;
    }
    bool is_direct() const { return (::fcntl(file.get(), F_GETFL) & O_DIRECT) != 0; }

    temporary_directory directory;
    const std::string path = directory / "file";
    byte_vector content = byte_vector((3U << 20U) + 1234);
    unique_fd file;
};

TEST_F(files_test, cold_bytes_are_read_right_wherever_they_begin_and_end) {
    buffer memory(content.size() + 4096);
    const std::pair<std::uint64_t, std::size_t> ranges[] = {
        {0, 3U << 20U},      {4096, 1U << 20U}, {4096, 5000},        {8192, 100},
        {12'345, 1U << 20U}, {512, 4096},       {0, content.size()}, {content.size() - 1234, 1234}};
    for (const auto& [offset, size] : ranges) {
        for (const std::size_t at : {0U, 1U}) {
            cool();
            const auto out = memory.span(at, size);
            std::ranges::fill(out, std::byte{0});
            ASSERT_TRUE(read_cold(file.get(), offset, out, path));
            EXPECT_TRUE(std::ranges::equal(out, bytes_view(content).subspan(offset, size))) << offset << " " << size;
            EXPECT_FALSE(is_direct());
        }
    }
    EXPECT_EQ(read_cold(file.get(), 4096, memory.span(0, content.size()), path).error().code, errc::bad_format);
}

TEST_F(files_test, what_lies_on_a_disk_alone_is_cold_and_stays_so) {
    if (!is_on_disk()) GTEST_SKIP() << "the temporary directory lies in memory";
    EXPECT_TRUE(is_cold(file.get(), 0, content.size()));
    buffer memory(1U << 20U);
    ASSERT_TRUE(read_cold(file.get(), 0, memory.span(), path));
    ASSERT_TRUE(read_cold(file.get(), (1U << 20U) + 12, memory.span(1, 100'000), path)) << "through memory";
    EXPECT_TRUE(is_cold(file.get(), 0, 1U << 20U));
    EXPECT_TRUE(is_cold(file.get(), 2U << 20U, 1U << 20U)) << "nothing beside it was read";
    EXPECT_TRUE(is_cold(file.get(), (1U << 20U) + 100'012, 500'000)) << "its first page was, the others were not";
    ASSERT_TRUE(erase_range(file.get(), 2U << 20U, 1U << 20U, path));
    EXPECT_TRUE(is_cold(file.get(), 2U << 20U, 1U << 20U));
}

TEST_F(files_test, what_is_in_memory_is_not_cold) {
    ASSERT_TRUE(write_at(file.get(), 100'000, bytes_view(content).first(1), path));
    EXPECT_FALSE(is_cold(file.get(), 98'304, 4096)) << "the page of that byte";
    EXPECT_FALSE(is_cold(file.get(), 0, content.size()));
}

TEST_F(files_test, erasing_leaves_what_lies_beside_it_cold_or_not) {
    std::mt19937 random(7);
    for (int round = 0; round < 40; ++round) {
        const std::uint64_t offset = random() % content.size();
        const std::uint64_t size =
            std::min<std::uint64_t>(content.size() - offset, 1 + random() % (1U << random() % 21));
        if (round % 2 == 0) cool();
        ASSERT_TRUE(erase_range(file.get(), offset, size, path));
        std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(offset), size, std::byte{0});
        ASSERT_TRUE(read_all(path) == content) << "round " << round << ": " << offset << " " << size;
        EXPECT_FALSE(is_direct());
    }
}

}  // namespace
}  // namespace warifu
