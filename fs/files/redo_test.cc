// A daemon that crashes and its successor, on memory_sites: whatever was done is there afterwards, durable or not.

#include <linux/falloc.h>
#include <random>
#include <unistd.h>

#include "fs/files/test_node.h"

namespace warifu {
namespace {

using testing::pattern;
using testing::test_node;

/// The daemons of one mount, one after the other.
class mount_life {
  public:
    mount_life() : fd_(*redo_log::make_memory(ring_size)) { start(); }
    ~mount_life() {
        node.reset();
        ::close(fd_);
    }
    void crash() {
        node.reset();
        start();
    }
    std::shared_ptr<memory_sites> sites = std::make_shared<memory_sites>();
    std::unique_ptr<test_node> node;
    file_system& fs() { return *node->fs; }

    std::uint32_t commit_interval_ms = 1'000'000;  // only what is asked for

  private:
    void start() {
        auto options = test_node::quick();
        options.commit_interval_ms = commit_interval_ms;
        auto log = redo_log::open(fd_);
        ASSERT_TRUE(log.has_value());
        options.redo = std::move(*log);
        node = std::make_unique<test_node>(sites, options);
        const auto done = node->fs->replay();
        ASSERT_TRUE(done.has_value()) << done.error().message();
    }
    static constexpr std::size_t ring_size = 48U << 20U;
    const int fd_;
};

std::string name_of(int i) {
    return "f" + std::to_string(i);
}

TEST(redo, names_bytes_and_attributes_survive_without_a_commit) {
    mount_life life;
    const auto directory = life.node->make_directory("d");
    new_inode link;
    link.mode = 0120777;
    link.symlink_target = "to/somewhere";
    link.now = {1000, 5};
    const auto symlink = life.fs().create(root_inode, "link", link);
    ASSERT_TRUE(symlink.has_value());
    const auto file = life.node->create("file", directory.number);
    const std::string text = pattern(3'000'000, 1);
    const auto handle = life.node->open(file.number);
    ASSERT_TRUE(life.node->write(handle, 100, text).has_value());
    file_system::attribute_change change;
    change.mode = 0600;
    change.uid = 77;
    change.modify_time = time_stamp{123456, 789};
    ASSERT_TRUE(life.fs().set_attributes(file.number, change).has_value());
    const auto any = name_space::attribute_mode::any;
    ASSERT_TRUE(life.fs().set_attribute(file.number, "user.a", "one", any).has_value());
    ASSERT_TRUE(life.fs().set_attribute(file.number, "user.b", "two", any).has_value());
    ASSERT_TRUE(life.fs().remove_attribute(file.number, "user.a").has_value());
    ASSERT_TRUE(life.fs().link(file.number, root_inode, "hard").has_value());
    ASSERT_TRUE(life.fs().rename(directory.number, "file", root_inode, "moved", rename_mode::replace).has_value());
    ASSERT_TRUE(life.fs().remove_directory(root_inode, "d").has_value());
    const auto before = life.fs().get_attributes(file.number);
    ASSERT_EQ(life.sites->commits, 0U);

    for (int crashes = 0; crashes < 3; ++crashes) {
        life.crash();
        const auto after = life.fs().lookup(root_inode, "moved");
        ASSERT_TRUE(after.has_value());
        EXPECT_EQ(after->number, file.number);
        EXPECT_EQ(life.fs().get_attributes(file.number)->modify_time, before->modify_time);
        EXPECT_EQ(life.fs().get_attributes(file.number)->mode, 0100600U);
        EXPECT_EQ(life.fs().get_attributes(file.number)->uid, 77U);
        EXPECT_EQ(life.fs().get_attributes(file.number)->link_count, 2U);
        EXPECT_EQ(life.fs().get_attributes(file.number)->size, text.size() + 100);
        EXPECT_EQ(life.fs().list_attributes(file.number), std::vector<std::string>{"user.b"});
        EXPECT_EQ(life.fs().lookup(root_inode, "d").error().code, errc::not_found);
        EXPECT_EQ(life.fs().read_link(symlink->number), "to/somewhere");
        ASSERT_TRUE(life.fs().adopt(handle, file.number, true).has_value());
        EXPECT_TRUE(life.node->read(handle, 100, text.size()) == text);
    }
    ASSERT_TRUE(life.node->sync(handle).has_value()) << "fsync after the crash means it";
    test_node elsewhere(life.sites);
    EXPECT_TRUE(elsewhere.get_file("moved").substr(100) == text);
}

TEST(redo, a_file_without_a_name_lives_as_long_as_it_is_open) {
    mount_life life;
    const auto file = life.node->create("gone");
    life.fs().remember(file.number, 1);
    const auto handle = life.node->open(file.number);
    const std::string text = pattern(50'000, 2);
    ASSERT_TRUE(life.node->write(handle, 0, text).has_value());
    ASSERT_TRUE(life.fs().unlink(root_inode, "gone").has_value());
    for (const bool committed : {false, true, true}) {
        if (committed) ASSERT_TRUE(life.node->sync_all().has_value());
        life.crash();
        ASSERT_TRUE(life.fs().adopt(handle, file.number, true).has_value());
        EXPECT_TRUE(life.node->read(handle, 0, text.size()) == text);
    }
    life.fs().release(handle);
    EXPECT_TRUE(life.fs().get_attributes(file.number).has_value()) << "the kernel has not forgotten it";
    life.fs().forget(file.number, 1);
    const auto until = deadline_in_ms(10'000);
    while (life.node->vol.names().get(file.number) && steady_clock::now() < until)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_FALSE(life.node->vol.names().get(file.number).has_value());
}

TEST(redo, a_file_open_from_before_outlives_its_name) {
    mount_life life;
    const auto file = life.node->create("file");
    life.fs().remember(file.number, 2);
    const auto handle = life.node->open(file.number);
    ASSERT_TRUE(life.node->write(handle, 0, "text").has_value());
    life.crash();
    ASSERT_TRUE(life.fs().unlink(root_inode, "file").has_value());  // by another program, before the first one reads
    ASSERT_TRUE(life.fs().adopt(handle, file.number, true).has_value());
    EXPECT_EQ(life.node->read(handle, 0, 4), "text");
}

TEST(redo, writers_go_on_when_the_log_was_full) {
    mount_life life;
    life.commit_interval_ms = 50;
    life.crash();
    const auto handle = life.node->open(life.node->create("large").number);
    const std::string piece = pattern(1U << 20U, 3);
    for (std::uint64_t i = 0; i < 150; ++i) ASSERT_TRUE(life.node->write(handle, i << 20U, piece).has_value());
    life.crash();
    ASSERT_TRUE(life.fs().adopt(handle, life.fs().lookup(root_inode, "large")->number, true).has_value());
    for (const std::uint64_t i : {0U, 75U, 149U}) EXPECT_TRUE(life.node->read(handle, i << 20U, piece.size()) == piece);
}

/// Random operations with crashes in between, compared with what programs were told.
class random_life {
  public:
    explicit random_life(std::uint64_t seed) : random_(seed) {}

    void run(int steps) {
        for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
            step();
            if (random_() % 60 == 0) {
                // Some daemons commit often, some hardly.
                life_.commit_interval_ms = random_() % 2 == 0 ? 3 : 1'000'000;
                life_.sites->put_delay_ms = static_cast<std::uint32_t>(random_() % 3);
                life_.crash();
                for (auto& file : files_) ASSERT_TRUE(life_.fs().adopt(file.handle, file.number, true).has_value());
                check_all();
            }
        }
        check_all();
    }

  private:
    struct kept_file {
        std::string name;  // empty: unlinked
        inode_number number = 0;
        file_handle handle = 0;
        std::string content;
        time_stamp modified;
    };

    kept_file& any() { return files_[random_() % files_.size()]; }

    void step() {
        const auto what = random_() % 20;
        if (files_.size() < 3 || (what == 0 && files_.size() < 12)) return create();
        if (what == 1) return remove();
        if (what == 2) return rename();
        if (what == 3) return truncate(any(), random_() % 200'000);
        if (what == 4) return punch(any());
        if (what == 5) return clone();
        if (what == 6) return touch(any());
        if (what == 7 && random_() % 3 == 0) {
            EXPECT_TRUE(life_.node->sync(any().handle).has_value());
            return;
        }
        if (what == 8) {
            EXPECT_TRUE(life_.fs().flush(any().handle).has_value());
            return;
        }
        write(any());
    }
    void create() {
        kept_file fresh;
        fresh.name = name_of(next_++);
        fresh.number = life_.node->create(fresh.name).number;
        life_.fs().remember(fresh.number, 1);
        fresh.handle = life_.node->open(fresh.number);
        note_time(fresh);
        files_.push_back(fresh);
    }
    void remove() {
        const std::size_t which = random_() % files_.size();
        kept_file& file = files_[which];
        if (!file.name.empty()) {
            ASSERT_TRUE(life_.fs().unlink(root_inode, file.name).has_value());
            file.name.clear();
            return;
        }
        life_.fs().release(file.handle);
        life_.fs().forget(file.number, 1);
        files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(which));
    }
    void rename() {
        kept_file& from = any();
        kept_file& over = any();
        if (from.name.empty() || over.name.empty() || &from == &over) return;
        ASSERT_TRUE(life_.fs().rename(root_inode, from.name, root_inode, over.name, rename_mode::replace).has_value());
        from.name = std::exchange(over.name, "");
    }
    void truncate(kept_file& file, std::uint64_t size) {
        file_system::attribute_change change;
        change.size = size;
        ASSERT_TRUE(life_.fs().set_attributes(file.number, change).has_value());
        file.content.resize(static_cast<std::size_t>(size), '\0');
        note_time(file);
    }
    void touch(kept_file& file) {
        file_system::attribute_change change;
        change.modify_time = time_stamp{static_cast<std::int64_t>(random_() % 1'000'000), 5};
        ASSERT_TRUE(life_.fs().set_attributes(file.number, change).has_value());
        file.modified = *change.modify_time;
    }
    void punch(kept_file& file) {
        const std::uint64_t offset = random_() % (file.content.size() + 1), size = 1 + random_() % 100'000;
        ASSERT_TRUE(
            life_.fs().allocate(file.handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size).has_value());
        for (std::uint64_t i = offset; i < std::min<std::uint64_t>(offset + size, file.content.size()); ++i)
            file.content[static_cast<std::size_t>(i)] = '\0';
        note_time(file);
    }
    void clone() {
        kept_file& from = any();
        kept_file& to = any();
        if (&from == &to || from.content.empty()) return;
        const std::uint64_t offset = random_() % from.content.size(), target = random_() % (to.content.size() + 1);
        const auto copied = life_.fs().copy_range(from.handle, offset, to.handle, target, 1 + random_() % 100'000);
        ASSERT_TRUE(copied.has_value());
        const std::string text =
            from.content.substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(*copied));
        put(to, target, text);
        note_time(to);
    }
    void write(kept_file& file) {
        const std::uint64_t offset = random_() % 3 == 0 ? file.content.size() : random_() % (file.content.size() + 1);
        const std::size_t size = random_() % 10 == 0 ? random_() % 6'000'000 : random_() % 30'000;
        if (offset + size > (16U << 20U)) return truncate(file, 1000);
        const std::string text = pattern(size + 1, random_());
        ASSERT_TRUE(life_.node->write(file.handle, offset, text).has_value());
        put(file, offset, text);
        note_time(file);
    }
    static void put(kept_file& file, std::uint64_t offset, const std::string& text) {
        if (file.content.size() < offset + text.size())
            file.content.resize(static_cast<std::size_t>(offset) + text.size(), '\0');
        file.content.replace(static_cast<std::size_t>(offset), text.size(), text);
    }
    void note_time(kept_file& file) { file.modified = life_.fs().get_attributes(file.number)->modify_time; }

    void check_all() {
        for (const auto& file : files_) {
            const auto now = life_.fs().get_attributes(file.number);
            ASSERT_TRUE(now.has_value());
            EXPECT_EQ(now->size, file.content.size());
            EXPECT_EQ(now->modify_time, file.modified) << file.name;
            ASSERT_TRUE(life_.node->read(file.handle, 0, file.content.size() + 1) == file.content) << file.name;
            if (file.name.empty()) continue;
            const auto named = life_.fs().lookup(root_inode, file.name);
            ASSERT_TRUE(named.has_value()) << file.name;
            EXPECT_EQ(named->number, file.number);
        }
        std::size_t named = 0;
        for (const auto& file : files_) named += file.name.empty() ? 0 : 1;
        EXPECT_EQ(life_.fs().list(root_inode, 0, 1000)->size(), named);
    }

    std::mt19937_64 random_;
    mount_life life_;
    std::vector<kept_file> files_;
    int next_ = 0;
};

class redo_model : public ::testing::TestWithParam<std::uint64_t> {};
TEST_P(redo_model, nobody_notices_crashes) {
    random_life(GetParam()).run(1500);
}
INSTANTIATE_TEST_SUITE_P(seeds, redo_model, ::testing::Range<std::uint64_t>(1, 3));

}  // namespace
}  // namespace warifu
