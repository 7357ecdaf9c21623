// Random operations on one file, as Apple's fsx does them, on the mount and on a local file at once: reads, writes,
// mappings, O_DIRECT, truncation, holes, clones, reopening, remounts. Both must always be equal.

#include <linux/falloc.h>
#include <random>
#include <sys/mman.h>

#include "fs/mount/test_mount.h"

namespace warifu {
namespace {

using testing::temporary_directory;
using testing::test_mount;
using testing::why_no_mount;

constexpr std::int64_t size_bound = 6 << 20;

class pair_of_files {
  public:
    pair_of_files(std::string mounted, std::string local) : paths_{std::move(mounted), std::move(local)} { open(); }
    ~pair_of_files() { close(); }

    void open() {
        for (std::size_t i = 0; i < 2; ++i) fds_[i] = ::open(paths_[i].c_str(), O_CREAT | O_RDWR, 0644);
        ASSERT_GE(fds_[0], 0);
        ASSERT_GE(fds_[1], 0);
    }
    void close() {
        for (const int fd : fds_) EXPECT_EQ(::close(fd), 0);
    }
    std::int64_t size() const {
        struct stat at{};
        EXPECT_EQ(::fstat(fds_[1], &at), 0);
        return at.st_size;
    }
    /// Does the same to both; the outcomes must be equal.
    template <typename Call>
    void both(const char* what, Call call) {
        const long first = call(fds_[0]);
        const long second = call(fds_[1]);
        ASSERT_EQ(first, second) << what;
    }
    void compare(std::int64_t offset, std::int64_t length) {
        std::array<std::string, 2> texts;
        for (std::size_t i = 0; i < 2; ++i) {
            texts[i].resize(static_cast<std::size_t>(length));
            const auto got = ::pread(fds_[i], texts[i].data(), texts[i].size(), offset);
            ASSERT_GE(got, 0);
            texts[i].resize(static_cast<std::size_t>(got));
        }
        ASSERT_EQ(texts[0].size(), texts[1].size());
        ASSERT_TRUE(texts[0] == texts[1]) << "differ in [" << offset << ", +" << length << ")";
    }
    void write_mapped(std::int64_t offset, const std::string& text) {
        const std::int64_t start = offset / 4096 * 4096;
        const auto length = static_cast<std::size_t>(offset - start) + text.size();
        for (const int fd : fds_) {
            void* map = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
            ASSERT_NE(map, MAP_FAILED);
            std::memcpy(static_cast<char*>(map) + (offset - start), text.data(), text.size());
            ASSERT_EQ(::msync(map, length, MS_SYNC), 0);
            ASSERT_EQ(::munmap(map, length), 0);
        }
    }
    void write_direct(std::int64_t offset, const std::string& text) {
        void* aligned = nullptr;
        ASSERT_EQ(::posix_memalign(&aligned, 4096, text.size()), 0);
        std::memcpy(aligned, text.data(), text.size());
        for (const auto& path : paths_) {
            const int fd = ::open(path.c_str(), O_WRONLY | O_DIRECT);
            ASSERT_GE(fd, 0);
            EXPECT_EQ(::pwrite(fd, aligned, text.size(), offset), static_cast<ssize_t>(text.size()));
            ::close(fd);
        }
        ::free(aligned);
    }

  private:
    std::array<std::string, 2> paths_;
    std::array<int, 2> fds_{-1, -1};
};

void random_step(pair_of_files& files, std::mt19937_64& random) {
    const std::int64_t size = files.size();
    const auto below = [&random](std::int64_t bound) {
        return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(bound));
    };
    const std::int64_t offset = below(std::min(size + 70'000, size_bound));
    std::int64_t length = 1 + below(random() % 5 == 0 ? 800'000 : 9'000);
    length = std::min(length, size_bound - offset);
    if (length <= 0) return;
    const std::string text(static_cast<std::size_t>(length), static_cast<char>(random()));
    switch (random() % 12) {
        case 0:
            return files.both("truncate", [&](int fd) { return ::ftruncate(fd, offset); });
        case 1:
            return files.both("punch", [&](int fd) {
                return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
            });
        case 2:
            return files.both("zero", [&](int fd) { return ::fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, length); });
        case 3:
            return files.both("allocate", [&](int fd) { return ::fallocate(fd, 0, offset, length); });
        case 4:
            if (offset + length > size) return;
            return files.write_mapped(offset, text);
        case 5:
            return files.both("fsync", [&](int fd) { return random() % 4 == 0 ? ::fdatasync(fd) : 0; });
        case 6: {
            off_t to = below(size_bound - length);
            if (to < offset + length && offset < to + length) return;
            // Local file systems may copy less at once: repeat until all of it, or the end.
            return files.both("clone", [&](int fd) {
                off_t in = offset;
                off_t out = to;
                long total = 0;
                while (total < length) {
                    const auto got = ::copy_file_range(fd, &in, fd, &out, static_cast<std::size_t>(length - total), 0);
                    if (got <= 0) break;
                    total += got;
                }
                return total;
            });
        }
        case 7: {
            const std::int64_t start = offset / 4096 * 4096;
            return files.write_direct(start, std::string(static_cast<std::size_t>((length / 4096 + 1) * 4096), 'd'));
        }
        case 8:
        case 9:
            return files.compare(offset, length);
        default:
            return files.both("write", [&](int fd) { return ::pwrite(fd, text.data(), text.size(), offset); });
    }
}

TEST(fsx, equals_a_local_file) {
    if (const auto why = why_no_mount(); !why.empty()) GTEST_SKIP() << why;
    const char* wanted = std::getenv("WARIFU_TEST_SEEDS");
    const std::uint64_t seeds = wanted == nullptr ? 2 : std::stoull(wanted);
    for (std::uint64_t seed = 1; seed <= seeds && !HasFatalFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        std::mt19937_64 random(seed);
        temporary_directory local;
        auto sites = std::make_shared<memory_sites>();
        file_system_options options;
        options.commit_interval_ms = 20;
        options.dirty_size_max = 16U << 20U;
        options.read_cache_size = 8U << 20U;
        for (int round = 0; round < 3 && !HasFatalFailure(); ++round) {
            test_mount mount(sites, options);
            pair_of_files files(mount.at("file"), local.path() + "/file");
            files.compare(0, size_bound + 1);
            for (int step = 0; step < 400 && !HasFatalFailure(); ++step) {
                random_step(files, random);
                if (random() % 60 == 0) {
                    files.close();
                    files.open();
                }
            }
            files.compare(0, size_bound + 1);
            files.both("size", [](int fd) { return ::lseek(fd, 0, SEEK_END); });
        }
    }
}

}  // namespace
}  // namespace warifu
