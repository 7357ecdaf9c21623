// The parts of the contract that a model of bytes does not see: budget, packing, orphans, read-ahead, errors.

#include <set>

#include "fs/files/test_node.h"

namespace warifu {
namespace {

using testing::pattern;
using testing::test_node;

awaitable<result<void>> wait_for_room(file_system* files, interrupt_flag flag) {
    co_return co_await files->wait_for_room(1U << 20U, std::move(flag));
}

/// True as soon as `condition` is, false after 10 s.
template <typename Condition>
bool eventually(Condition condition) {
    const auto until = deadline_in_ms(10'000);
    while (!condition()) {
        if (steady_clock::now() > until) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

TEST(file_system, no_more_is_accepted_than_key_is_set_aside_for) {
    auto sites = std::make_shared<memory_sites>();
    test_node node(sites);
    constexpr std::uint64_t mib = 1U << 20U;
    std::atomic<int> wanted = 0;
    node.fs->on_cover_wanted([&] { ++wanted; });
    const auto cover = [&](std::uint64_t gone, std::uint64_t bytes) {
        asio::post(node.core, asio::use_future([&node, gone, bytes] { node.fs->cover(gone, bytes, {}); })).get();
    };
    sites->hold_puts = true;
    const auto handle = node.open(node.create("file").number);
    const std::string step = pattern(mib, 1);
    const auto written = [&](std::uint64_t mibs) {
        const auto taken = node.fs->write(handle, mibs * mib, as_bytes_view(step), false);
        EXPECT_TRUE(taken);
        return taken && taken->size == mib;
    };
    EXPECT_TRUE(written(0)) << "without bound as long as nothing was said of cover";
    cover(0, 4 * mib);
    EXPECT_TRUE(written(1));
    EXPECT_EQ(wanted, 0);
    EXPECT_TRUE(written(2));
    EXPECT_TRUE(written(3));
    EXPECT_TRUE(eventually([&] { return wanted == 1; })) << "half of what was covered has come";
    EXPECT_FALSE(written(4));
    EXPECT_EQ(wanted, 1) << "asked for once";
    EXPECT_EQ(node.fs->taken_in().came, 4 * mib);
    EXPECT_EQ(node.fs->taken_in().gone, 0);
    auto waiting = asio::co_spawn(node.core, wait_for_room(node.fs.get(), nullptr), asio::use_future);
    EXPECT_EQ(waiting.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
    EXPECT_EQ(node.fs->taken_in().uncovered, mib);
    cover(0, 5 * mib);
    EXPECT_TRUE(waiting.get());
    EXPECT_EQ(node.fs->taken_in().uncovered, 0);
    EXPECT_TRUE(written(4));
    EXPECT_FALSE(written(5));
    // What reaches the sites makes room only when more is covered: its key is used.
    sites->hold_puts = false;
    ASSERT_TRUE(node.sync(handle));
    EXPECT_EQ(node.fs->taken_in().gone, 5 * mib);
    EXPECT_FALSE(written(5));
    cover(5 * mib, 0);
    EXPECT_EQ(wanted, 2);
    auto again = asio::co_spawn(node.core, wait_for_room(node.fs.get(), nullptr), asio::use_future);
    EXPECT_TRUE(eventually([&] { return wanted == 3; })) << "who waits asks";
    cover(5 * mib, 0);
    EXPECT_TRUE(eventually([&] { return wanted == 4; })) << "and again";
    cover(5 * mib, mib - 1);
    EXPECT_EQ(again.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout) << "all of it must fit";
    cover(5 * mib, mib);
    EXPECT_TRUE(again.get());
    EXPECT_TRUE(written(5));
}

TEST(file_system, writers_wait_at_the_budget_and_never_fail_because_of_it) {
    auto sites = std::make_shared<memory_sites>();
    test_node node(sites);
    const std::size_t memory_max = node.fs->options().dirty_size_max;
    sites->hold_puts = true;
    const auto handle = node.open(node.create("file").number);
    const std::string step = pattern(1U << 20U, 1);
    std::uint64_t accepted = 0;
    bool told_to_wait = false;
    for (;;) {
        const auto taken = node.fs->write(handle, accepted, as_bytes_view(step), false);
        ASSERT_TRUE(taken.has_value());
        told_to_wait = told_to_wait || taken->wait;
        if (taken->size == 0) break;
        accepted += taken->size;
        ASSERT_LT(accepted, 2 * memory_max);
    }
    EXPECT_TRUE(told_to_wait);
    EXPECT_LE(node.fs->counters().dirty_memory, memory_max + (4U << 20U));

    // An interrupted wait ends; others go on.
    const auto flag = std::make_shared<std::atomic<bool>>(false);
    auto interrupted = asio::co_spawn(node.core, wait_for_room(node.fs.get(), flag), asio::use_future);
    auto patient = asio::co_spawn(node.core, wait_for_room(node.fs.get(), nullptr), asio::use_future);
    EXPECT_EQ(interrupted.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
    flag->store(true);
    node.fs->wake_waiting();
    EXPECT_EQ(interrupted.get().error().code, errc::cancelled);
    EXPECT_EQ(patient.wait_for(std::chrono::milliseconds(30)), std::future_status::timeout);
    sites->hold_puts = false;
    EXPECT_TRUE(patient.get().has_value());
    ASSERT_TRUE(node.write(handle, accepted, step).has_value());
    ASSERT_TRUE(node.sync(handle).has_value());
    EXPECT_EQ(node.read(handle, accepted, step.size()), step);
    EXPECT_EQ(node.fs->counters().dirty_memory, 0U);
}

TEST(file_system, tails_of_many_open_files_do_not_fill_the_budget_for_good) {
    auto sites = std::make_shared<memory_sites>();
    auto options = test_node::quick();
    options.commit_interval_ms = 100'000;
    options.dirty_size_max = 16U << 20U;
    test_node node(sites, options);
    const std::string text = pattern(1U << 20U, 1);
    std::vector<file_handle> handles;
    for (int i = 0; i < 64; ++i) {
        handles.push_back(node.open(node.create("f" + std::to_string(i)).number));
        ASSERT_TRUE(node.write(handles.back(), 0, text).has_value());  // 64 MiB in all, none of it a full chunk
    }
    EXPECT_LE(node.fs->counters().dirty_memory, 20U << 20U);
    for (const auto handle : handles) EXPECT_EQ(node.read(handle, 0, text.size()), text);
}

TEST(file_system, a_full_volume_refuses_before_bytes_are_accepted) {
    auto sites = std::make_shared<memory_sites>();
    sites->capacity = 8U << 20U;
    test_node node(sites);
    const auto handle = node.open(node.create("file").number);
    const std::string step = pattern(1U << 20U, 1);
    std::uint64_t accepted = 0;
    std::optional<error> refused;
    for (int i = 0; i < 20 && !refused; ++i) {
        const auto outcome = node.write(handle, accepted, step);
        if (outcome)
            accepted += step.size();
        else
            refused = outcome.error();
    }
    ASSERT_TRUE(refused.has_value());
    EXPECT_EQ(refused->code, errc::no_space);
    EXPECT_LE(accepted, 8U << 20U);
    EXPECT_GE(accepted, 4U << 20U);
    EXPECT_TRUE(node.sync(handle).has_value());
    EXPECT_EQ(node.read(handle, 0, step.size()), step);
}

TEST(file_system, small_files_share_chunks) {
    auto sites = std::make_shared<memory_sites>();
    auto options = test_node::quick();
    options.commit_interval_ms = 500;
    std::uint64_t bytes = 0;
    {
        test_node node(sites, options);
        for (std::size_t i = 0; i < 5000; ++i) {
            const std::string text = pattern(1500 + i % 7500, i);
            bytes += text.size();
            node.put_file("f" + std::to_string(i), text);
        }
        ASSERT_TRUE(node.stop().has_value());
        EXPECT_LE(sites->puts, 6 + bytes / (4U << 20U) + sites->commits);
        EXPECT_EQ(sites->bytes_put, bytes);
    }
    test_node after(sites, options);
    const auto reads_before = sites->reads.load();
    for (std::size_t i = 0; i < 5000; i += 7)
        ASSERT_EQ(after.get_file("f" + std::to_string(i)), pattern(1500 + i % 7500, i)) << i;
    EXPECT_GT(sites->reads, reads_before);
}

TEST(file_system, small_files_read_in_order_are_fetched_ahead) {
    auto sites = std::make_shared<memory_sites>();
    {
        test_node node(sites);
        for (std::size_t i = 0; i < 300; ++i) node.put_file("f" + std::to_string(i), pattern(3000, i));
        ASSERT_TRUE(node.stop().has_value());
    }
    test_node after(sites);
    sites->read_delay_ms = 3;
    const auto start = steady_clock::now();
    for (std::size_t i = 0; i < 300; ++i) ASSERT_EQ(after.get_file("f" + std::to_string(i)), pattern(3000, i));
    // No time is asserted; what is: hardly anything was read twice.
    EXPECT_LE(sites->bytes_read, 300U * 3000U + 70U * 3000U);
    RecordProperty(
        "milliseconds",
        static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - start).count()));
}

TEST(file_system, sequential_reads_are_fetched_ahead_and_random_ones_are_not) {
    auto sites = std::make_shared<memory_sites>();
    const std::string text = pattern(32U << 20U, 9);
    {
        test_node node(sites);
        node.put_file("file", text);
        ASSERT_TRUE(node.stop().has_value());
    }
    test_node after(sites);
    const auto handle = after.open(after.fs->lookup(root_inode, "file")->number, false);
    for (std::uint64_t i = 0; i < 50; ++i) {
        const std::uint64_t offset = (i * 7'919'111) % (text.size() - 4096);
        ASSERT_EQ(after.read(handle, offset, 4096), text.substr(static_cast<std::size_t>(offset), 4096));
    }
    EXPECT_EQ(sites->bytes_read, 50U * 4096U);
    for (std::uint64_t offset = 0; offset < text.size(); offset += 128U << 10U)
        ASSERT_EQ(after.read(handle, offset, 128U << 10U), text.substr(static_cast<std::size_t>(offset), 128U << 10U));
    EXPECT_LE(sites->bytes_read, text.size() + 50U * 4096U + (2U << 20U)) << "read-ahead fetched bytes twice";
    EXPECT_LE(sites->reads, 50U + 32U + 12U) << "read-ahead did not work in large steps";
    EXPECT_LE(after.fs->counters().read_cache_bytes, after.fs->options().read_cache_size);
}

TEST(file_system, read_errors_are_reported_and_pass) {
    auto sites = std::make_shared<memory_sites>();
    const std::string text = pattern(3U << 20U, 9);
    {
        test_node node(sites);
        node.put_file("file", text);
        ASSERT_TRUE(node.stop().has_value());
    }
    test_node after(sites);
    const auto handle = after.open(after.fs->lookup(root_inode, "file")->number, false);
    sites->fail_reads(error(errc::missing_shares, "two sites are down"));
    for (std::uint64_t i = 0; i < 3; ++i) {
        const auto failed = after.fs->read(after.core, handle, i << 17U, 1U << 17U);
        ASSERT_FALSE(failed.has_value());
        EXPECT_EQ(failed.error().code, errc::missing_shares);
    }
    sites->fail_reads(std::nullopt);
    EXPECT_EQ(after.read(handle, 0, text.size()), text);
}

TEST(file_system, an_unlinked_file_lives_until_it_is_closed_and_forgotten) {
    auto sites = std::make_shared<memory_sites>();
    test_node node(sites);
    const auto inodes = node.fs->statistics().inodes;
    const auto made = node.create("file");
    node.fs->remember(made.number, 1);
    const auto handle = node.open(made.number);
    const std::string text = pattern(5'000'000, 2);
    ASSERT_TRUE(node.write(handle, 0, text).has_value());
    ASSERT_TRUE(node.sync(handle).has_value());
    ASSERT_TRUE(node.fs->unlink(root_inode, "file").has_value());
    EXPECT_EQ(node.fs->lookup(root_inode, "file").error().code, errc::not_found);
    EXPECT_EQ(node.fs->get_attributes(made.number)->link_count, 0U);
    EXPECT_EQ(node.read(handle, 0, text.size()), text);
    ASSERT_TRUE(node.write(handle, 0, "still").has_value());
    EXPECT_EQ(node.read(handle, 0, 5), "still");
    node.fs->release(handle);
    EXPECT_TRUE(node.fs->get_attributes(made.number).has_value());
    node.fs->forget(made.number, 1);
    EXPECT_TRUE(eventually([&] { return node.fs->statistics().inodes == inodes; }));
    EXPECT_FALSE(node.fs->get_attributes(made.number).has_value());
    EXPECT_FALSE(node.vol.names().freed(0, 10)->empty());
    EXPECT_EQ(node.fs->counters().orphans, 0U);
}

TEST(file_system, orphans_of_a_crash_are_forgotten_at_the_next_start) {
    auto sites = std::make_shared<memory_sites>();
    std::uint64_t inodes = 0;
    {
        test_node node(sites);
        inodes = node.fs->statistics().inodes;
        for (int i = 0; i < 20; ++i) {
            const std::string name = "f" + std::to_string(i);
            const auto made = node.create(name);
            const auto handle = node.open(made.number);
            ASSERT_TRUE(node.write(handle, 0, pattern(100'000, 1)).has_value());
            ASSERT_TRUE(node.sync(handle).has_value());
            ASSERT_TRUE(node.fs->unlink(root_inode, name).has_value());
        }
        ASSERT_TRUE(node.sync_all().has_value());
        EXPECT_EQ(node.fs->statistics().inodes, inodes + 20);
    }
    test_node after(sites);
    EXPECT_TRUE(eventually([&] { return after.fs->statistics().inodes == inodes; }));
    EXPECT_TRUE(after.vol.names().orphans(10)->empty());
}

TEST(file_system, renaming_over_an_open_file_keeps_it_for_its_reader) {
    auto sites = std::make_shared<memory_sites>();
    test_node node(sites);
    node.put_file("old", "old text");
    node.put_file("new", "new text");
    const auto reader = node.open(node.fs->lookup(root_inode, "old")->number, false);
    ASSERT_TRUE(node.fs->rename(root_inode, "new", root_inode, "old", rename_mode::replace).has_value());
    EXPECT_EQ(node.read(reader, 0, 100), "old text");
    EXPECT_EQ(node.get_file("old"), "new text");
    node.fs->release(reader);
    EXPECT_TRUE(eventually([&] { return node.vol.names().orphans(10)->empty(); }));
}

TEST(file_system, a_removed_directory_that_is_still_referenced_has_attributes) {
    auto sites = std::make_shared<memory_sites>();
    test_node node(sites);
    const auto made = node.make_directory("d");
    node.fs->remember(made.number, 1);
    ASSERT_TRUE(node.fs->remove_directory(root_inode, "d").has_value());
    const auto now = node.fs->get_attributes(made.number);
    ASSERT_TRUE(now.has_value());
    EXPECT_EQ(now->link_count, 0U);
    new_inode fresh;
    fresh.mode = 0100644;
    EXPECT_EQ(node.fs->create(made.number, "x", fresh).error().code, errc::not_found);
    node.fs->forget(made.number, 1);
    EXPECT_TRUE(eventually([&] { return !node.fs->get_attributes(made.number).has_value(); }));
}

TEST(file_system, two_appenders_never_overwrite_each_other) {
    auto sites = std::make_shared<memory_sites>();
    test_node node(sites);
    const auto made = node.create("log");
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t)
        threads.emplace_back([&node, &made, t] {
            const auto handle = node.open(made.number);
            for (int i = 0; i < 2000; ++i) {
                const std::string line = std::string(1, static_cast<char>('a' + t)) + std::to_string(10'000 + i) + "\n";
                const auto taken = node.fs->write(handle, 0, as_bytes_view(line), true);
                ASSERT_TRUE(taken && taken->size == line.size());
            }
            node.fs->release(handle);
        });
    for (auto& t : threads) t.join();
    const std::string text = node.get_file("log");
    ASSERT_EQ(text.size(), 2U * 2000U * 7U);
    std::set<std::string> lines;
    for (std::size_t at = 0; at < text.size(); at += 7) lines.insert(text.substr(at, 7));
    EXPECT_EQ(lines.size(), 4000U);
}

TEST(file_system, security_capability_is_answered_and_can_be_set) {
    auto sites = std::make_shared<memory_sites>();
    test_node node(sites);
    const auto made = node.create("file");
    const auto handle = node.open(made.number);
    for (int i = 0; i < 2; ++i)
        EXPECT_EQ(node.fs->get_attribute(made.number, "security.capability").error().code, errc::no_attribute);
    ASSERT_TRUE(
        node.fs->set_attribute(made.number, "security.capability", "v", name_space::attribute_mode::any).has_value());
    EXPECT_EQ(node.fs->get_attribute(made.number, "security.capability").value(), "v");
    node.fs->release(handle);
}

}  // namespace
}  // namespace warifu
