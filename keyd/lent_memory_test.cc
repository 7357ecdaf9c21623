#include "keyd/lent_memory.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/limits.h"
#include "keyd/limits.h"

namespace warifu {
namespace {

constexpr std::size_t mebibyte = 1U << 20U;

/// In keyd's place.
void fill(const lent_memory& memory, std::size_t size) {
    const byte_vector bytes(size, std::byte{7});
    ASSERT_TRUE(write_at(memory.descriptor(), 0, bytes, "lent memory"));
}

std::size_t memory_taken(const lent_memory& memory) {
    struct stat status{};
    EXPECT_EQ(::fstat(memory.descriptor(), &status), 0);
    return static_cast<std::size_t>(status.st_blocks) * 512;
}

TEST(lent_memory, what_was_filled_is_seen_and_nobody_can_resize_it) {
    auto memory = *lent_memory::make(mebibyte);
    EXPECT_EQ(memory_taken(*memory), 0U);
    fill(*memory, 5000);
    const auto bytes = *memory->filled(5000);
    EXPECT_EQ(bytes.size(), 5000U);
    EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{7}; }));
    EXPECT_NE(::ftruncate(memory->descriptor(), 0), 0);
    EXPECT_NE(::ftruncate(memory->descriptor(), 2 * mebibyte), 0);
}

TEST(lent_memory, a_small_filling_gives_back_what_a_large_one_took) {
    auto memory = *lent_memory::make(mebibyte);
    fill(*memory, mebibyte);
    ASSERT_TRUE(memory->filled(mebibyte));
    EXPECT_EQ(memory_taken(*memory), mebibyte);
    fill(*memory, 600'000);
    ASSERT_TRUE(memory->filled(600'000));
    EXPECT_EQ(memory_taken(*memory), mebibyte) << "not much larger: kept warm";
    fill(*memory, 5000);
    EXPECT_EQ((*memory->filled(5000))[4999], std::byte{7});
    EXPECT_EQ(memory_taken(*memory), 8192U);
    EXPECT_EQ(memory->taken(), 8192U);
}

TEST(lent_memory, locked_memory_goes_back_too) {
    constexpr std::size_t size = 32U << 10U;  // every user may lock so much
    const auto memory = *lent_memory::make(mebibyte);
    fill(*memory, size);
    const auto bytes = *memory->filled(size);
    ASSERT_EQ(::mlock(bytes.data(), bytes.size()), 0);
    EXPECT_EQ(memory_taken(*memory), size);
    fill(*memory, 5000);
    ASSERT_TRUE(memory->filled(5000));
    EXPECT_EQ(memory_taken(*memory), 8192U);
}

TEST(memory_shelf, lends_again_what_took_least_memory_and_suffices) {
    memory_shelf shelf;
    const auto used = [&](std::size_t size) {
        auto memory = *shelf.take(size);
        fill(*memory, size);
        EXPECT_TRUE(memory->filled(size));
        return memory;
    };
    auto small = used(mebibyte), large = used(channel_window_size_max / 2);
    const int small_one = small->descriptor(), large_one = large->descriptor();
    shelf.put_back(std::move(small));
    shelf.put_back(std::move(large));
    auto first = *shelf.take(mebibyte), second = *shelf.take(mebibyte);
    EXPECT_EQ(first->descriptor(), small_one);
    EXPECT_EQ(second->descriptor(), large_one);
    shelf.put_back(std::move(first));
    shelf.put_back(std::move(second));
    EXPECT_EQ((*shelf.take(channel_window_size_max))->descriptor(), large_one) << "the least is missing in it";
    EXPECT_EQ((*shelf.take(pad_window_size_max))->size(), pad_window_size_max);
    EXPECT_EQ(shelf.take(pad_window_size_max + 1).error().code, errc::bad_argument);
}

TEST(memory_shelf, keeps_no_more_than_its_bound) {
    memory_shelf shelf;
    std::vector<std::unique_ptr<lent_memory>> lent;
    constexpr std::size_t size = 4 * mebibyte;
    for (std::size_t i = 0; i < shelf_size_max / size + 2; ++i) {
        lent.push_back(*shelf.take(size));
        fill(*lent.back(), size);
        ASSERT_TRUE(lent.back()->filled(size));
    }
    std::vector<int> descriptors;
    for (auto& memory : lent) {
        descriptors.push_back(memory->descriptor());
        shelf.put_back(std::move(memory));
    }
    // What came back first was let go: its descriptors are closed.
    for (std::size_t i = 0; i < descriptors.size(); ++i)
        EXPECT_EQ(::fcntl(descriptors[i], F_GETFD) >= 0, i >= 2) << i;
}

TEST(lent_memory, keyd_takes_only_memory_that_it_can_write_without_waiting) {
    const auto memory = *lent_memory::make(mebibyte);
    EXPECT_TRUE(check_lent_memory(memory->descriptor(), mebibyte));
    EXPECT_EQ(check_lent_memory(memory->descriptor(), mebibyte + 1).error().code, errc::bad_argument);
    EXPECT_EQ(check_lent_memory(-1, 0).error().code, errc::busy);
    const auto path = fmt::format("/proc/self/fd/{}", memory->descriptor());
    const unique_fd read_only(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(read_only.is_open());
    EXPECT_EQ(check_lent_memory(read_only.get(), mebibyte).error().code, errc::bad_argument);
    for (const int against : {0, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE}) {
        const unique_fd sealed(::memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        ASSERT_EQ(::ftruncate(sealed.get(), mebibyte), 0);
        ASSERT_EQ(::fcntl(sealed.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL | against), 0);
        EXPECT_EQ(check_lent_memory(sealed.get(), mebibyte).has_value(), against == 0);
    }
    const unique_fd huge_pages(::memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
    if (huge_pages.is_open()) {  // this kernel has them
        ASSERT_EQ(::ftruncate(huge_pages.get(), 2 * mebibyte), 0);
        ASSERT_EQ(::fcntl(huge_pages.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), 0);
        EXPECT_EQ(check_lent_memory(huge_pages.get(), mebibyte).error().code, errc::bad_argument);
    }
    const auto huge = *lent_memory::make(pad_window_size_max + 4096);
    EXPECT_EQ(check_lent_memory(huge->descriptor(), mebibyte).error().code, errc::bad_argument);
    const unique_fd loose(::memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ASSERT_EQ(::ftruncate(loose.get(), mebibyte), 0);
    EXPECT_EQ(check_lent_memory(loose.get(), mebibyte).error().code, errc::bad_argument);
    int pipe_ends[2];
    ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    const unique_fd reading(pipe_ends[0]), writing(pipe_ends[1]);
    EXPECT_EQ(check_lent_memory(writing.get(), 0).error().code, errc::bad_argument);
    const unique_fd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(check_lent_memory(file.get(), 1).error().code, errc::bad_argument);
}

}  // namespace
}  // namespace warifu
