#include "keyd/daemon/handover.h"

#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <thread>

#include "keyd/lent_memory.h"
#include "keyd/limits.h"

namespace warifu {
namespace {

constexpr std::size_t mebibyte = 1U << 20U;

/// Mappings of lent memory in this process, those of the lenders too.
long mappings() {
    std::ifstream maps("/proc/self/maps");
    long count = 0;
    for (std::string line; std::getline(maps, line);) count += line.find("memfd:warifu-pad") != std::string::npos;
    return count;
}

class handover_test : public testing::Test {
  protected:
    handover_test() {
        std::string path = testing::TempDir() + "/warifu-handover-XXXXXX";
        file_ = unique_fd(::mkstemp(path.data()));
        path_ = path;
        for (std::size_t i = 0; i < content_.size(); ++i) content_[i] = static_cast<std::byte>(1 + i * 31 % 251);
        EXPECT_TRUE(write_at(file_.get(), 0, content_, path_));
    }
    ~handover_test() override { ::unlink(path_.c_str()); }
    handover_test(const handover_test&) = delete;
    handover_test& operator=(const handover_test&) = delete;

    handover_piece piece(std::uint64_t offset, std::uint64_t size) const { return {byte_place{path_, offset}, size}; }
    bool holds(lent_memory& memory, std::size_t at, std::uint64_t offset, std::size_t size) const {
        const auto bytes = *memory.filled(at + size);
        return std::ranges::equal(bytes.subspan(at), bytes_view(content_).subspan(offset, size));
    }

    unique_fd file_;
    std::string path_;
    byte_vector content_ = byte_vector(4 * mebibyte);
    handover copies_{std::chrono::hours(1)};
};

TEST_F(handover_test, pieces_lie_one_after_the_other_wherever_they_begin) {
    const auto memory = *lent_memory::make(mebibyte);
    ASSERT_TRUE(copies_.fill(1, memory->descriptor(), {piece(7, 5000), piece(3'000'001, 300'000)}));
    EXPECT_TRUE(holds(*memory, 0, 7, 5000));
    EXPECT_TRUE(holds(*memory, 5000, 3'000'001, 300'000));
}

TEST_F(handover_test, memory_that_comes_again_is_filled_again_also_with_more_and_after_pages_of_it_were_given_back) {
    const auto memory = *lent_memory::make(2 * mebibyte);
    for (const std::size_t size : {std::size_t{5000}, 2 * mebibyte, std::size_t{5000}, mebibyte}) {
        ASSERT_TRUE(copies_.fill(1, memory->descriptor(), {piece(size, size)}));
        EXPECT_TRUE(holds(*memory, 0, size, size)) << size;  // and gives back what a smaller one does not need
        EXPECT_EQ(mappings(), 2) << "the lender's and this one";
    }
}

TEST_F(handover_test, lenders_do_not_get_each_others_key) {
    const auto one = *lent_memory::make(mebibyte), other = *lent_memory::make(mebibyte);
    ASSERT_TRUE(copies_.fill(1, one->descriptor(), {piece(0, 10'000)}));
    ASSERT_TRUE(copies_.fill(2, other->descriptor(), {piece(20'000, 10'000)}));
    ASSERT_TRUE(copies_.fill(1, one->descriptor(), {piece(40'000, 10'000)}));
    EXPECT_TRUE(holds(*one, 0, 40'000, 10'000));
    EXPECT_TRUE(holds(*other, 0, 20'000, 10'000));
}

TEST_F(handover_test, no_more_is_mapped_than_may_be_and_nothing_of_a_consumer_that_went) {
    constexpr std::size_t kept = kept_mappings_max / (2 * mebibyte);
    std::vector<std::unique_ptr<lent_memory>> lent;
    const auto fill_all = [&] {
        for (std::size_t i = 0; i < lent.size(); ++i)
            ASSERT_TRUE(copies_.fill(1 + i % 2, lent[i]->descriptor(), {piece(i, 2 * mebibyte)}));
    };
    for (std::size_t i = 0; i < kept + 3; ++i) lent.push_back(*lent_memory::make(2 * mebibyte));
    fill_all();
    EXPECT_EQ(mappings(), kept);
    fill_all();
    EXPECT_EQ(mappings(), kept);
    copies_.forget(1);
    EXPECT_EQ(mappings(), kept / 2);
    copies_.forget(2);
    EXPECT_EQ(mappings(), 0);
    for (std::size_t i = 0; i < lent.size(); ++i) EXPECT_TRUE(holds(*lent[i], 0, i, 2 * mebibyte)) << i;
}

TEST_F(handover_test, memory_that_is_lent_once_is_not_mapped) {
    const auto large = *lent_memory::make(channel_window_size_max + mebibyte);
    ASSERT_TRUE(copies_.fill(1, large->descriptor(), {piece(1, 3 * mebibyte), piece(2, 2 * mebibyte)}));
    EXPECT_EQ(mappings(), 0);
    EXPECT_TRUE(holds(*large, 0, 1, 3 * mebibyte));
    EXPECT_TRUE(holds(*large, 3 * mebibyte, 2, 2 * mebibyte));
}

TEST_F(handover_test, memory_that_cannot_be_mapped_is_written) {
    const auto memory = *lent_memory::make(mebibyte);
    const std::string path = "/proc/self/fd/" + std::to_string(memory->descriptor());
    const unique_fd write_only(::open(path.c_str(), O_WRONLY | O_CLOEXEC));  // a mapping needs reading too
    ASSERT_TRUE(copies_.fill(1, write_only.get(), {piece(7, 300'000), piece(9, 5000)}));
    EXPECT_EQ(mappings(), 0);
    EXPECT_TRUE(holds(*memory, 0, 7, 300'000));
    EXPECT_TRUE(holds(*memory, 300'000, 9, 5000));
}

TEST_F(handover_test, memory_that_is_not_used_is_let_go) {
    const auto memory = *lent_memory::make(mebibyte);
    ASSERT_TRUE(copies_.fill(1, memory->descriptor(), {piece(0, 5000)}));
    copies_.forget_idle();
    EXPECT_EQ(mappings(), 1);
    handover forgetful{steady_clock::duration(0)};
    ASSERT_TRUE(forgetful.fill(1, memory->descriptor(), {piece(0, 5000)}));
    EXPECT_EQ(mappings(), 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    forgetful.forget_idle();
    EXPECT_EQ(mappings(), 1);
}

TEST_F(handover_test, a_disk_is_read_into_mapped_memory_and_other) {
    struct statfs system{};
    ASSERT_EQ(::fstatfs(file_.get(), &system), 0);
    const bool on_disk = system.f_type != TMPFS_MAGIC && system.f_type != RAMFS_MAGIC;
    const auto small = *lent_memory::make(2 * mebibyte), large = *lent_memory::make(2 * channel_window_size_max);
    const deadline before = steady_clock::now();
    ASSERT_TRUE(copies_.fill(1, small->descriptor(), {piece(0, mebibyte)}));
    EXPECT_LT(copies_.last_disk_read(), before) << "it was just written";
    for (const std::uint64_t offset : {0U, 4096U, 100U}) {
        for (const auto& memory : {small.get(), large.get()}) {
            ::fsync(file_.get());
            ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
            const deadline start = steady_clock::now();
            ASSERT_TRUE(copies_.fill(1, memory->descriptor(), {piece(offset, 700'000), piece(mebibyte, 5000)}));
            EXPECT_TRUE(holds(*memory, 0, offset, 700'000));
            EXPECT_TRUE(holds(*memory, 700'000, mebibyte, 5000));
            EXPECT_EQ(copies_.last_disk_read() >= start, on_disk);
        }
    }
}

TEST_F(handover_test, zeros_are_no_key) {
    ASSERT_EQ(::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, mebibyte, 4096), 0);
    const auto memory = *lent_memory::make(2 * mebibyte);
    const auto filled = copies_.fill(1, memory->descriptor(), {piece(0, 2 * mebibyte)});
    ASSERT_FALSE(filled);
    EXPECT_EQ(filled.error().code, errc::bad_checksum);
    EXPECT_TRUE(copies_.fill(1, memory->descriptor(), {piece(0, mebibyte)}));
}

}  // namespace
}  // namespace warifu
