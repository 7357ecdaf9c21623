// Reading and erasing past the machine's memory. Where the temporary directory lies on a tmpfs there is no disk, and
// the same must hold.

#include "keyd/pool/files.h"

#include <algorithm>
#include <fcntl.h>
#include <linux/magic.h>
#include <random>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "keyd/pool/test_support.h"

namespace {

bool holes_fail = false;

}  // namespace

/// Makes no holes when it is told to: what is erased then stays where the erasing left it.
extern "C" int fallocate(int fd, int mode, off_t offset, off_t size) {
    if (!holes_fail) return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, size));
    errno = EOPNOTSUPP;
    return -1;
}

namespace warifu {
namespace {

struct files_test : testing::Test {
    files_test() {
        for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<std::byte>(1 + i * 31 % 251);
        write_all(path, content);
        file = *open_file(path, O_RDWR);
        cool();
    }
    ~files_test() override { holes_fail = false; }
    files_test(const files_test&) = delete;
    files_test& operator=(const files_test&) = delete;
    /// Leaves the bytes to the disk alone.
    void cool() {
        ::fsync(file.get());
        ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    }
    bool is_on_disk() const {
        struct statfs system{};
        EXPECT_EQ(::fstatfs(file.get(), &system), 0);
        return system.f_type != TMPFS_MAGIC && system.f_type != RAMFS_MAGIC;
    }
    bool holds_content() const {
        byte_vector now(content.size());
        return read_at(file.get(), 0, now, path) && now == content;
    }
    void erase(std::uint64_t offset, std::uint64_t size) {
        ASSERT_TRUE(erase_range(file.get(), offset, size, path));
        std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(offset), size, std::byte{0});
    }
    bool is_direct() const { return (::fcntl(file.get(), F_GETFL) & O_DIRECT) != 0; }

    temporary_directory directory;
    const std::string path = directory / "file";
    byte_vector content = byte_vector((9U << 20U) + 1234);
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
    const bool on_disk = is_on_disk();  // in memory nothing is ever cold
    constexpr std::uint64_t mebibyte = 1U << 20U;
    for (int tries = 0; on_disk && tries < 100 && !is_cold(file.get(), 0, content.size()); ++tries) cool();
    EXPECT_EQ(is_cold(file.get(), 0, content.size()), on_disk);
    buffer memory(mebibyte);
    ASSERT_TRUE(read_cold(file.get(), 0, memory.span(), path));
    ASSERT_TRUE(read_cold(file.get(), mebibyte + 12, memory.span(1, 100'000), path)) << "through memory";
    EXPECT_EQ(is_cold(file.get(), 0, mebibyte), on_disk);
    EXPECT_EQ(is_cold(file.get(), 2 * mebibyte, 7 * mebibyte), on_disk) << "nothing beside it was read";
    EXPECT_EQ(is_cold(file.get(), mebibyte + 100'012, 500'000), on_disk) << "its first page was read, no other";
    holes_fail = true;
    erase(2 * mebibyte, mebibyte);
    EXPECT_EQ(is_cold(file.get(), 2 * mebibyte, mebibyte), on_disk) << "erased past memory";
    EXPECT_TRUE(holds_content());
    EXPECT_FALSE(is_cold(file.get(), 2 * mebibyte, mebibyte));
    erase(2 * mebibyte, mebibyte);
    EXPECT_FALSE(is_cold(file.get(), 2 * mebibyte, mebibyte)) << "erased in memory too";
}

TEST_F(files_test, what_is_in_memory_is_not_cold) {
    ASSERT_TRUE(write_at(file.get(), 100'000, bytes_view(content).first(1), path));
    EXPECT_FALSE(is_cold(file.get(), 98'304, 4096)) << "the page of that byte";
    EXPECT_FALSE(is_cold(file.get(), 0, content.size()));
}

TEST_F(files_test, erasing_leaves_what_lies_beside_it_cold_or_not) {
    std::mt19937 random(7);
    for (int round = 0; round < 40; ++round) {
        holes_fail = round % 4 < 2;
        const std::uint64_t offset = random() % content.size();
        const std::uint64_t size =
            std::min<std::uint64_t>(content.size() - offset, 1 + random() % (1U << random() % 21));
        if (round % 2 == 0) cool();
        erase(offset, size);
        ASSERT_TRUE(holds_content()) << "round " << round << ": " << offset << " " << size;
        EXPECT_FALSE(is_direct());
    }
}

TEST_F(files_test, long_ranges_are_erased_to_their_end) {
    for (const bool cold : {true, false}) {
        holes_fail = true;  // a hole would hide what was missed
        for (auto& byte : content) byte = std::byte{7};
        ASSERT_TRUE(write_at(file.get(), 0, content, path));
        if (cold) cool();
        erase(5000, content.size() - 5000 - 300);  // more than two parts
        EXPECT_TRUE(holds_content());
    }
}

}  // namespace
}  // namespace warifu
