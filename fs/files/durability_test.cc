// What a crash may take and what it may not (contracts D1-D3), errors that stick, group commit.

#include <random>

#include "fs/files/test_node.h"

namespace warifu {
namespace {

using testing::pattern;
using testing::test_node;

/// Every file of the root directory of this state, by name.
std::map<std::string, std::string> contents(test_node& node) {
    std::map<std::string, std::string> found;
    std::uint64_t cookie = 0;
    for (;;) {
        const auto entries = node.fs->list(root_inode, cookie, 100);
        EXPECT_TRUE(entries.has_value());
        if (!entries || entries->empty()) return found;
        for (const auto& entry : *entries) {
            EXPECT_FALSE(node.vol.first_missing(entry.number).has_value())
                << entry.name << " names bytes that are not there";
            found[entry.name] = node.get_file(entry.name);
            cookie = entry.cookie;
        }
    }
}

TEST(durability, fsynced_bytes_survive_a_crash_and_others_may_not) {
    auto sites = std::make_shared<memory_sites>();
    const std::string text = pattern(5'000'000, 1);
    {
        auto options = test_node::quick();
        options.commit_interval_ms = 100'000;  // only fsync commits
        test_node node(sites, options);
        node.put_file("synced", text, true);
        node.put_file("closed", text);
    }
    test_node after(sites);
    EXPECT_EQ(contents(after), (std::map<std::string, std::string>{{"synced", text}}));
}

TEST(durability, a_closed_file_becomes_durable_within_the_interval) {
    auto sites = std::make_shared<memory_sites>();
    {
        test_node node(sites);
        node.put_file("closed", "text");
        const auto until = deadline_in_ms(10'000);
        while (sites->commits == 0 && steady_clock::now() < until)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    test_node after(sites);
    EXPECT_EQ(after.get_file("closed"), "text");
}

/// Whatever commit a crash follows: a flag file is never there without the data it announces, and nothing dangles.
TEST(durability, a_flag_file_never_outlives_its_data) {
    std::mt19937_64 random(5);
    auto sites = std::make_shared<memory_sites>();
    std::map<std::string, std::string> data;
    {
        auto options = test_node::quick();
        options.commit_interval_ms = 2;
        test_node node(sites, options);
        sites->put_delay_ms = 1;
        for (int i = 0; i < 60; ++i) {
            const std::string name = "data" + std::to_string(i);
            data[name] = pattern(1 + random() % (i % 10 == 0 ? 9'000'000 : 30'000), random());
            node.put_file(name, data[name]);
            node.put_file("flag" + std::to_string(i), "done");
            if (i % 7 == 0) {  // replaced by rename
                node.put_file("next", data[name]);
                EXPECT_TRUE(
                    node.fs->rename(root_inode, "next", root_inode, "current", rename_mode::replace).has_value());
                data["current" + std::to_string(i)] = data[name];
            }
        }
        ASSERT_TRUE(node.stop().has_value());
    }
    const std::size_t records = sites->durable_records();
    ASSERT_GT(records, 5U);
    for (std::size_t r = 1; r <= records; ++r) {
        SCOPED_TRACE("after record " + std::to_string(r));
        test_node after(sites->as_of(r));
        auto found = contents(after);
        for (int i = 0; i < 60; ++i) {
            if (!found.contains("flag" + std::to_string(i))) continue;
            if (found["flag" + std::to_string(i)].empty()) continue;  // created, not yet closed
            const std::string name = "data" + std::to_string(i);
            ASSERT_TRUE(found[name] == data[name]) << name;
        }
        if (found.contains("current")) {
            bool whole = false;
            for (const auto& [name, text] : data)
                whole = whole || (name.starts_with("current") && text == found["current"]);
            EXPECT_TRUE(whole) << "a file replaced by rename is neither the old nor the new one";
        }
    }
}

TEST(durability, fsync_covers_a_write_that_races_with_a_commit) {
    auto sites = std::make_shared<memory_sites>();
    std::atomic<std::size_t> promised = 0;
    {
        auto options = test_node::quick();
        options.commit_interval_ms = 1;
        test_node node(sites, options);
        std::vector<std::thread> writers;
        for (int w = 0; w < 4; ++w)
            writers.emplace_back([&node, &promised, w] {
                const auto handle = node.open(node.create("log" + std::to_string(w)).number);
                for (std::uint64_t i = 0; i < 100; ++i) {
                    const std::string line = std::to_string(1'000'000 + i) + "\n";
                    ASSERT_TRUE(node.write(handle, i * line.size(), line).has_value());
                    ASSERT_TRUE(node.sync(handle).has_value());
                    // What a crash at this moment would leave must hold the line.
                    if (i % 25 == 24 && w == 0) {
                        test_node after(node.sites->as_of(node.sites->durable_records()));
                        const std::string found = after.get_file("log0");
                        ASSERT_GE(found.size(), (i + 1) * line.size());
                        ASSERT_EQ(found.substr(static_cast<std::size_t>(i * line.size()), line.size()), line);
                        ++promised;
                    }
                }
            });
        for (auto& t : writers) t.join();
        EXPECT_LT(sites->commits, 402U) << "fsyncs of four writers share commits, or at worst have one each";
    }
    EXPECT_EQ(promised, 4U);
}

TEST(durability, a_failed_put_sticks_until_the_data_is_safe) {
    auto sites = std::make_shared<memory_sites>();
    const std::string text = pattern(6'000'000, 3);
    {
        test_node node(sites);
        node.put_file("before", "good", true);
        sites->fail_puts(error(errc::no_key, "no key"));
        const auto handle = node.open(node.create("hurt").number);
        ASSERT_TRUE(node.write(handle, 0, text).has_value());
        for (int i = 0; i < 3; ++i) {
            const auto synced = node.sync(handle);
            ASSERT_FALSE(synced.has_value());
            EXPECT_EQ(synced.error().code, errc::no_key);
        }
        EXPECT_FALSE(node.fs->flush(handle).has_value());
        EXPECT_FALSE(node.write(handle, 0, "x").has_value());
        EXPECT_EQ(node.read(handle, 0, text.size()), text);  // nothing is lost meanwhile
        EXPECT_EQ(node.get_file("before"), "good");
        sites->fail_puts(std::nullopt);
        EXPECT_TRUE(node.sync(handle).has_value());
        EXPECT_TRUE(node.write(handle, text.size(), "tail").has_value());
        EXPECT_TRUE(node.sync(handle).has_value());
    }
    for (std::size_t r = 1; r <= sites->durable_records(); ++r) {
        test_node after(sites->as_of(r));
        contents(after);  // no record names bytes that are not at the sites
    }
    test_node after(sites);
    EXPECT_EQ(contents(after), (std::map<std::string, std::string>{{"before", "good"}, {"hurt", text + "tail"}}));
}

TEST(durability, a_file_that_cannot_be_stored_can_be_deleted) {
    auto sites = std::make_shared<memory_sites>();
    {
        test_node node(sites);
        sites->fail_puts(error(errc::no_space, "full"));
        const auto large = node.open(node.create("too_much").number);
        ASSERT_TRUE(node.write(large, 0, pattern(5'000'000, 4)).has_value());
        EXPECT_FALSE(node.sync(large).has_value());
        EXPECT_FALSE(node.fs->flush(large).has_value());
        node.fs->release(large);
        const auto handle = node.open(node.create("small").number);
        ASSERT_TRUE(node.write(handle, 0, "x").has_value());
        EXPECT_FALSE(node.sync(handle).has_value());
        ASSERT_TRUE(node.fs->unlink(root_inode, "too_much").has_value());
        node.fs->release(handle);
        ASSERT_TRUE(node.fs->unlink(root_inode, "small").has_value());
        // Nothing that failed is wanted any more, so the deletions commit although no byte can be put.
        EXPECT_TRUE(node.sync_all().has_value());
        EXPECT_EQ(node.fs->counters().dirty_memory, 0U);
    }
    test_node after(sites);
    EXPECT_TRUE(contents(after).empty());
}

TEST(durability, a_failed_commit_is_told_by_everything_that_depends_on_it) {
    auto sites = std::make_shared<memory_sites>();
    {
        test_node node(sites);
        node.put_file("good", "safe", true);
        const auto reader = node.open(node.fs->lookup(root_inode, "good")->number, false);
        sites->fail_commits(error(errc::stale_epoch, "another writer"));
        const auto handle = node.open(node.create("late").number);
        ASSERT_TRUE(node.write(handle, 0, "text").has_value());
        for (int i = 0; i < 3; ++i) EXPECT_FALSE(node.sync(handle).has_value());
        EXPECT_FALSE(node.fs->flush(handle).has_value());
        EXPECT_FALSE(node.write(handle, 0, "text").has_value());
        EXPECT_FALSE(node.fs->create(root_inode, "more", new_inode{}).has_value());
        EXPECT_FALSE(node.stop().has_value());
        EXPECT_TRUE(node.fs->flush(reader).has_value());
        EXPECT_EQ(node.read(reader, 0, 10), "safe");
        EXPECT_EQ(node.read(handle, 0, 10), "text");
    }
    sites->fail_commits(std::nullopt);
    test_node after(sites);
    EXPECT_EQ(contents(after), (std::map<std::string, std::string>{{"good", "safe"}}));
}

TEST(durability, a_volume_gets_the_commit_it_asks_for) {
    auto sites = std::make_shared<memory_sites>();
    test_node node(sites);
    const auto before = sites->commits.load();
    asio::post(node.core, [&node] { node.vol.want_commit(); });
    const auto until = deadline_in_ms(10'000);
    while (sites->commits == before && steady_clock::now() < until)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_GT(sites->commits, before);
}

TEST(durability, late_seals_do_not_move_times) {
    auto sites = std::make_shared<memory_sites>();
    const time_stamp then{1'000'000'000, 123'456'789};
    {
        test_node node(sites);
        const auto made = node.create("file");
        const auto handle = node.open(made.number);
        ASSERT_TRUE(node.write(handle, 0, "text").has_value());
        file_system::attribute_change change;
        change.modify_time = then;
        ASSERT_TRUE(node.fs->set_attributes(made.number, change).has_value());
        const auto before = node.fs->get_attributes(made.number);
        ASSERT_TRUE(node.sync(handle).has_value());
        ASSERT_TRUE(node.fs->rename(root_inode, "file", root_inode, "renamed", rename_mode::replace).has_value());
        node.fs->release(handle);
        const auto now = node.fs->get_attributes(made.number);
        EXPECT_EQ(now->modify_time, then);
        EXPECT_EQ(now->size, 4U);
        EXPECT_GE(now->change_time, before->change_time);
        ASSERT_TRUE(node.stop().has_value());
    }
    test_node after(sites);
    EXPECT_EQ(after.fs->lookup(root_inode, "renamed")->modify_time, then);
}

}  // namespace
}  // namespace warifu
