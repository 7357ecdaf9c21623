// Random operations on files compared with byte arrays, through crashes' opposite: clean remounts.

#include <linux/falloc.h>
#include <random>

#include "fs/files/test_node.h"

namespace warifu {
namespace {

using testing::pattern;
using testing::test_node;

constexpr std::uint64_t file_size_bound = 12U << 20U;

/// One thread's files and what they must contain.
class worker {
  public:
    worker(std::string name, std::uint64_t seed) : name_(std::move(name)), random_(seed) {}

    void attach(test_node& node) {
        node_ = &node;
        for (int i = 0; i < 3; ++i) {
            const std::string file = name_ + std::to_string(i);
            const auto found = node.fs->lookup(root_inode, file);
            const inode_number number = found ? found->number : node.create(file).number;
            handles_[static_cast<std::size_t>(i)] = node.open(number);
        }
    }
    void detach() {
        for (const auto handle : handles_) {
            EXPECT_TRUE(node_->fs->flush(handle).has_value());
            node_->fs->release(handle);
        }
    }

    void step() {
        const std::size_t which = random_() % handles_.size();
        const file_handle handle = handles_[which];
        std::string& expected = contents_[which];
        const bool large = random_() % 6 == 0;
        const std::uint64_t offset = random_() % 4 == 0 ? expected.size() : random_() % (expected.size() + 1 + 100'000);
        const std::uint64_t size = 1 + random_() % (large ? 3U << 20U : 20'000U);
        if (offset + size > file_size_bound) return truncate(handle, expected, random_() % (1U << 20U));
        switch (random_() % 16) {
            case 0:
                return truncate(handle, expected, random_() % (expected.size() + 50'000));
            case 1:
                return punch(handle, expected, offset, size);
            case 2:
                return extend(handle, expected, offset, size);
            case 3:
                return clone(which, random_() % handles_.size(), offset, size);
            case 4:
                return check_seek(handle, expected, offset);
            case 5:
                EXPECT_TRUE(node_->fs->flush(handle).has_value());
                return;
            case 6:
                if (random_() % 8 == 0) EXPECT_TRUE(node_->sync(handle).has_value());
                return;
            case 7:
            case 8:
            case 9:
            case 10:
                return check(handle, expected, offset, size);
            default:
                return write(handle, expected, offset, size);
        }
    }

    void check_all() {
        for (std::size_t i = 0; i < handles_.size(); ++i) {
            check(handles_[i], contents_[i], 0, contents_[i].size() + 1);
            const auto attributes = node_->fs->lookup(root_inode, name_ + std::to_string(i));
            ASSERT_TRUE(attributes.has_value());
            EXPECT_EQ(attributes->size, contents_[i].size());
        }
    }

  private:
    void write(file_handle handle, std::string& expected, std::uint64_t offset, std::uint64_t size) {
        const std::string text = pattern(static_cast<std::size_t>(size), random_());
        ASSERT_TRUE(node_->write(handle, offset, text).has_value());
        if (expected.size() < offset + size) expected.resize(static_cast<std::size_t>(offset + size), '\0');
        expected.replace(static_cast<std::size_t>(offset), text.size(), text);
    }
    void check(file_handle handle, const std::string& expected, std::uint64_t offset, std::uint64_t size) {
        const std::string seen = node_->read(handle, offset, size);
        const std::string wanted =
            offset < expected.size() ? expected.substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(size))
                                     : "";
        ASSERT_EQ(seen.size(), wanted.size());
        ASSERT_TRUE(seen == wanted) << name_ << " differs in [" << offset << ", +" << size << ")";
    }
    void truncate(file_handle, std::string& expected, std::uint64_t size) {
        const std::size_t which = static_cast<std::size_t>(&expected - contents_.data());
        const auto found = node_->fs->lookup(root_inode, name_ + std::to_string(which));
        ASSERT_TRUE(found.has_value());
        file_system::attribute_change change;
        change.size = size;
        const auto now = node_->fs->set_attributes(found->number, change);
        ASSERT_TRUE(now.has_value());
        EXPECT_EQ(now->size, size);
        expected.resize(static_cast<std::size_t>(size), '\0');
    }
    void punch(file_handle handle, std::string& expected, std::uint64_t offset, std::uint64_t size) {
        const bool extends = random_() % 2 == 0;
        const int mode = extends ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        ASSERT_TRUE(node_->fs->allocate(handle, mode, offset, size).has_value());
        if (extends && expected.size() < offset + size) expected.resize(static_cast<std::size_t>(offset + size), '\0');
        for (std::uint64_t i = offset; i < std::min<std::uint64_t>(offset + size, expected.size()); ++i)
            expected[static_cast<std::size_t>(i)] = '\0';
    }
    void extend(file_handle handle, std::string& expected, std::uint64_t offset, std::uint64_t size) {
        const bool keep = random_() % 2 == 0;
        ASSERT_TRUE(node_->fs->allocate(handle, keep ? FALLOC_FL_KEEP_SIZE : 0, offset, size).has_value());
        if (!keep && expected.size() < offset + size) expected.resize(static_cast<std::size_t>(offset + size), '\0');
    }
    void clone(std::size_t from, std::size_t to, std::uint64_t offset, std::uint64_t size) {
        const std::uint64_t target = random_() % (contents_[to].size() + 1);
        const auto copied = node_->fs->copy_range(handles_[from], offset, handles_[to], target, size);
        const std::uint64_t length =
            offset < contents_[from].size() ? std::min<std::uint64_t>(size, contents_[from].size() - offset) : 0;
        if (from == to && offset < target + length && target < offset + length) {
            EXPECT_FALSE(copied.has_value());
            return;
        }
        ASSERT_TRUE(copied.has_value()) << copied.error().message();
        ASSERT_EQ(*copied, length);
        const std::string text =
            length == 0 ? ""
                        : contents_[from].substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(length));
        std::string& expected = contents_[to];
        if (expected.size() < target + length) expected.resize(static_cast<std::size_t>(target + length), '\0');
        expected.replace(static_cast<std::size_t>(target), text.size(), text);
    }
    /// What is called a hole must read as zeros, and everything else must be found by SEEK_DATA.
    void check_seek(file_handle handle, const std::string& expected, std::uint64_t offset) {
        const auto data = node_->fs->seek(handle, offset, true);
        const auto hole = node_->fs->seek(handle, offset, false);
        if (offset >= expected.size()) {
            EXPECT_FALSE(data.has_value());
            EXPECT_FALSE(hole.has_value());
            return;
        }
        const std::uint64_t first = data ? *data : expected.size();
        for (std::uint64_t i = offset; i < first; ++i) ASSERT_EQ(expected[static_cast<std::size_t>(i)], '\0');
        ASSERT_TRUE(hole.has_value());
        if (*hole < expected.size()) EXPECT_EQ(expected[static_cast<std::size_t>(*hole)], '\0');
        EXPECT_EQ(data && *data == offset, *hole > offset);
    }

    const std::string name_;
    std::mt19937_64 random_;
    test_node* node_ = nullptr;
    std::array<file_handle, 3> handles_{};
    std::array<std::string, 3> contents_;
};

/// Several threads on files of their own, with remounts between; each thread's outcome follows from its seed alone.
void run_model(std::uint64_t seed, std::size_t threads, int rounds, int steps) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto sites = std::make_shared<memory_sites>();
    std::vector<worker> workers;
    for (std::size_t i = 0; i < threads; ++i) workers.emplace_back("w" + std::to_string(i) + "-", seed * 100 + i);
    for (int round = 0; round < rounds; ++round) {
        test_node node(sites);
        for (auto& w : workers) w.attach(node);
        std::vector<std::thread> running;
        for (auto& w : workers)
            running.emplace_back([&w, steps] {
                for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) w.step();
            });
        for (auto& t : running) t.join();
        for (auto& w : workers) w.check_all();
        for (auto& w : workers) w.detach();
        ASSERT_TRUE(node.stop().has_value());
        EXPECT_EQ(node.fs->counters().dirty_bytes, 0U);
        EXPECT_EQ(node.fs->counters().dirty_memory, 0U);
    }
    test_node last(sites);
    for (auto& w : workers) {
        w.attach(last);
        w.check_all();
    }
}

/// More seeds by hand: WARIFU_TEST_SEEDS=500.
std::uint64_t seed_count(std::uint64_t usual) {
    const char* wanted = std::getenv("WARIFU_TEST_SEEDS");
    return wanted == nullptr ? usual : std::stoull(wanted);
}

TEST(model, one_thread) {
    for (std::uint64_t seed = 1; seed <= seed_count(6) && !HasFatalFailure(); ++seed) run_model(seed, 1, 3, 250);
}

TEST(model, four_threads) {
    for (std::uint64_t seed = 1; seed <= seed_count(3) && !HasFatalFailure(); ++seed) run_model(1000 + seed, 4, 2, 150);
}

}  // namespace
}  // namespace warifu
