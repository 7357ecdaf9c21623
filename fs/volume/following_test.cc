// Followers: what a reader at another site is shown of a writer's commits, and when.

#include "fs/volume/volume_test_support.h"

namespace warifu {
namespace {

using test::core_thread;
using test::memory_sites;
using test::open_writer;
using test::pattern;
using test::writer_of;

/// Polls until `done` holds; a minute is for busy machines.
bool eventually(const auto& done) {
    for (int i = 0; i < 3000; ++i) {
        if (done()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
}

/// Sites, a writer's links to them (memory_sites::sites) and a follower's own.
class followed {
  public:
    followed(unsigned k, unsigned n) : sites(core.context, k, n) {
        for (const auto& store : sites.stores)
            links.push_back(std::make_shared<faulty_store>(core.context.get_executor(), store));
        sites.create();
    }
    result<writer_of> open_follower() {
        volume_options options = sites.options(open_mode::read_only);
        options.follow = true;
        for (std::size_t i = 0; i < links.size(); ++i) options.sites[i].store = links[i];
        TRY(auto opened, run_on(core.context, volume::open(core.context, std::move(options))));
        return writer_of(core.context, std::move(opened));
    }
    /// The volume's writer, which has committed the file `name`, and a follower that opened then.
    std::pair<result<writer_of>, result<writer_of>> open_both(const std::string& name, const byte_vector& content) {
        auto writer = open_writer(sites);
        if (!writer) return {fail(writer.error()), fail(writer.error())};
        const auto written = writer->write_file(name, content);
        if (!written) return {std::move(writer), fail(written.error())};
        const auto committed = writer->commit();
        if (!committed) return {std::move(writer), fail(committed.error())};
        return {std::move(writer), open_follower()};
    }
    void writer_reaches(std::size_t site, bool yes) {
        sites.run([&] { sites.sites[site]->unreachable = !yes; });
    }
    void follower_reaches(std::size_t site, bool yes) {
        sites.run([&] { links[site]->unreachable = !yes; });
    }
    /// Waits until the follower has asked the sites so many times more.
    bool looks(std::uint64_t count) {
        const auto asked = [&] {
            std::uint64_t calls = 0;
            sites.run([&] {
                for (const auto& link : links) calls += link->call_count();
            });
            return calls;
        };
        const std::uint64_t before = asked();
        return eventually([&] { return asked() >= before + count; });
    }
    std::uint64_t journal_reads() {
        std::uint64_t reads = 0;
        sites.run([&] {
            for (const auto& link : links) reads += link->journal_read_count();
        });
        return reads;
    }
    std::uint64_t last_at(std::size_t site) { return run_on(core.context, sites.stores[site]->state())->journal.last; }

    core_thread core;
    memory_sites sites;
    std::vector<std::shared_ptr<faulty_store>> links;
};

bool shows(writer_of& follower, const std::string& name, const byte_vector& content) {
    const auto read = follower.read_file(name);
    return read && *read == content;
}
bool shows_no(writer_of& follower, const std::string& name) {
    const auto found = follower->names().lookup(root_inode, name);
    return !found && found.error().code == errc::not_found;
}

TEST(following, sees_commits_and_removals_and_never_writes) {
    followed all(2, 3);
    auto [w, f] = all.open_both("a", pattern(50'000, 1));
    ASSERT_TRUE(f) << f.error().message();
    EXPECT_TRUE(shows(*f, "a", pattern(50'000, 1)));
    EXPECT_EQ((*f)->check_writable().error().code, errc::read_only);

    ASSERT_TRUE(w->write_file("b", pattern(20'000, 2)));
    ASSERT_TRUE(w->remove_file("a"));
    ASSERT_TRUE(all.looks(4));
    EXPECT_TRUE(shows_no(*f, "b")) << "it is not committed";
    EXPECT_TRUE(shows(*f, "a", pattern(50'000, 1)));
    ASSERT_TRUE(w->commit());
    EXPECT_TRUE(eventually([&] { return shows(*f, "b", pattern(20'000, 2)); })) << (*f)->status().reason;
    EXPECT_TRUE(shows_no(*f, "a"));
    EXPECT_EQ((*f)->status().sequence, (*w)->status().sequence);
    EXPECT_TRUE(eventually([&] { return (*f)->status().user_bytes == (*w)->status().user_bytes; }));
}

TEST(following, a_namespace_in_use_stays_as_it_is) {
    followed all(2, 3);
    auto [w, f] = all.open_both("a", pattern(1000, 1));
    ASSERT_TRUE(f) << f.error().message();
    name_space& held = (*f)->names();
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(w->write_file("b" + std::to_string(i), pattern(1000, 2)));
        if (i == 2) ASSERT_TRUE(w->remove_file("a"));
        ASSERT_TRUE(w->commit());
        const std::uint64_t sequence = (*w)->status().sequence;
        ASSERT_TRUE(eventually([&] { return (*f)->status().sequence >= sequence; })) << (*f)->status().reason;
    }
    EXPECT_TRUE(held.lookup(root_inode, "a"));
    EXPECT_FALSE(held.lookup(root_inode, "b0"));
    EXPECT_TRUE((*f)->names().lookup(root_inode, "b4"));
    EXPECT_TRUE(shows_no(*f, "a"));
}

TEST(following, what_a_member_of_the_view_lacks_is_not_shown) {
    followed all(2, 4);
    auto w = open_writer(all.sites);
    ASSERT_TRUE(w);
    all.writer_reaches(3, false);
    ASSERT_TRUE(w->write_file("before", pattern(1000, 1)));
    ASSERT_TRUE(w->commit()) << "three are enough to go on";
    auto f = all.open_follower();
    ASSERT_TRUE(f) << f.error().message();
    EXPECT_TRUE(shows(*f, "before", pattern(1000, 1)));
    ASSERT_TRUE(w->write_file("half", pattern(1000, 2)));
    all.writer_reaches(2, false);
    const std::uint64_t last = all.last_at(0);
    auto edits = w->capture();
    auto commit =
        std::async(std::launch::async, [&] { return run_on(all.core.context, (*w)->commit(std::move(edits), {})); });
    // Two shares, as many as it takes to read the record; but the third member of its view does not have it.
    ASSERT_TRUE(eventually([&] { return all.last_at(0) > last && all.last_at(1) > last; }));
    ASSERT_TRUE(all.looks(20));
    EXPECT_TRUE(shows_no(*f, "half"));
    const std::uint64_t read = all.journal_reads();
    ASSERT_TRUE(all.looks(100));
    EXPECT_EQ(all.journal_reads(), read) << "the same records are not read again and again";
    EXPECT_NE(commit.wait_for(std::chrono::seconds(0)), std::future_status::ready);
    all.writer_reaches(2, true);
    EXPECT_TRUE(commit.get());
    EXPECT_TRUE(eventually([&] { return !shows_no(*f, "half"); })) << (*f)->status().reason;
}

/// A writer dies in the middle of a commit that two of three sites got.
void die_in_a_commit(followed& all) {
    auto w = open_writer(all.sites);
    ASSERT_TRUE(w);
    ASSERT_TRUE(w->write_file("before", pattern(1000, 1)));
    ASSERT_TRUE(w->commit());
    ASSERT_TRUE(w->write_file("half", pattern(1000, 2)));
    const std::uint64_t last = all.last_at(0);
    all.sites.run([&] { all.sites.sites[2]->hang(); });
    auto edits = w->capture();
    auto commit = std::async(std::launch::async,
                             [&] { return run_on(all.core.context, (*w)->commit(std::move(edits), {w->last_chunk})); });
    ASSERT_TRUE(eventually([&] { return all.last_at(0) > last && all.last_at(1) > last; }));
    for (std::size_t i = 0; i < 3; ++i) all.writer_reaches(i, false);
    all.sites.run([&] { all.sites.sites[2]->release(); });
    (void)run_on(all.core.context, (*w)->close());
    EXPECT_FALSE(commit.get());
    all.sites.crash();  // nobody has heard of a writer
    for (std::size_t i = 0; i < 3; ++i) all.writer_reaches(i, true);
}

/// The third site might have the last record, and then it was acknowledged: it is shown, with a warning.
result<writer_of> open_unsure_follower(followed& all) {
    all.follower_reaches(2, false);
    auto f = all.open_follower();
    if (f) EXPECT_NE((*f)->status().reason.find(unsure_reason), std::string::npos) << (*f)->status().reason;
    return f;
}

TEST(following, what_may_not_have_been_committed_is_shown_as_such_and_gives_way_to_what_was) {
    followed all(2, 3);
    die_in_a_commit(all);
    auto f = open_unsure_follower(all);
    ASSERT_TRUE(f) << f.error().message();
    EXPECT_TRUE(shows(*f, "before", pattern(1000, 1)));
    EXPECT_FALSE(shows_no(*f, "half"));
    // The third site has it not, and with the second away it is not kept.
    all.writer_reaches(1, false);
    auto w = open_writer(all.sites);
    ASSERT_TRUE(w) << w.error().message();
    EXPECT_TRUE(shows_no(*w, "half"));
    ASSERT_TRUE(w->write_file("after", pattern(3000, 3)));
    ASSERT_TRUE(w->commit());
    all.follower_reaches(2, true);
    EXPECT_TRUE(eventually([&] { return shows(*f, "after", pattern(3000, 3)); })) << (*f)->status().reason;
    EXPECT_TRUE(shows_no(*f, "half"));
    EXPECT_TRUE(shows(*f, "before", pattern(1000, 1)));
    EXPECT_TRUE(eventually([&] { return (*f)->status().reason.find(unsure_reason) == std::string::npos; }));
}

TEST(following, what_may_not_have_been_committed_stays_when_it_was_kept) {
    followed all(2, 3);
    die_in_a_commit(all);
    auto f = open_unsure_follower(all);
    ASSERT_TRUE(f) << f.error().message();
    auto w = open_writer(all.sites);
    ASSERT_TRUE(w) << w.error().message();
    ASSERT_TRUE(w->write_file("after", pattern(3000, 3)));
    ASSERT_TRUE(w->commit());
    all.follower_reaches(2, true);
    EXPECT_TRUE(eventually([&] { return shows(*f, "after", pattern(3000, 3)); })) << (*f)->status().reason;
    EXPECT_FALSE(shows_no(*f, "half"));
    EXPECT_TRUE(eventually([&] { return (*f)->status().reason.find(unsure_reason) == std::string::npos; }));
}

TEST(following, goes_on_behind_a_journal_that_was_cut) {
    followed all(2, 3);
    auto [w, f] = all.open_both("a", pattern(1000, 1));
    ASSERT_TRUE(f) << f.error().message();
    const std::uint64_t seen = (*f)->status().sequence;
    for (std::size_t i = 0; i < 3; ++i) all.follower_reaches(i, false);
    EXPECT_TRUE(eventually([&] { return (*f)->status().reason.find("cannot follow") != std::string::npos; }));
    EXPECT_TRUE(!shows_no(*f, "a")) << "names that it knows stay";
    const std::string value(60'000, 'x');
    for (int round = 0; round < 40; ++round) {
        for (int i = 0; i < 10; ++i) {
            const std::lock_guard lock((*w)->names_lock());
            ASSERT_TRUE((*w)->names().set_attribute(root_inode, "user.a" + std::to_string(i),
                                                    value + std::to_string(round), name_space::attribute_mode::any,
                                                    time_stamp::now()));
        }
        ASSERT_TRUE(w->commit());
    }
    ASSERT_TRUE(w->until([&] { return (*w)->status().snapshots > 0; }));
    ASSERT_TRUE(w->write_file("b", pattern(20'000, 2)));
    ASSERT_TRUE(w->remove_file("a"));
    ASSERT_TRUE(w->commit());
    ASSERT_GT(run_on(all.core.context, all.sites.stores[0]->state())->journal.first, seen + 1);
    for (std::size_t i = 0; i < 3; ++i) all.follower_reaches(i, true);
    EXPECT_TRUE(eventually([&] { return shows(*f, "b", pattern(20'000, 2)); })) << (*f)->status().reason;
    EXPECT_TRUE(shows_no(*f, "a"));
    EXPECT_EQ((*f)->names().get_attribute(root_inode, "user.a3")->substr(60'000), "39");
    EXPECT_EQ((*f)->status().reason.find("cannot follow"), std::string::npos);
}

TEST(following, sees_the_changes_of_a_commit_that_carries_a_snapshot) {
    followed all(2, 3);
    auto [w, f] = all.open_both("a", pattern(1000, 1));
    ASSERT_TRUE(f) << f.error().message();
    const std::string value(60'000, 'x');
    // It has seen each commit before the next one, so that it comes to the snapshot's record by itself; nothing is
    // committed after that.
    for (int round = 0; round < 200 && (*w)->status().snapshots == 0; ++round) {
        const std::string name = "file" + std::to_string(round);
        ASSERT_TRUE(w->write_file(name, pattern(10, 2)));
        for (int i = 0; i < 10; ++i) {
            const std::lock_guard lock((*w)->names_lock());
            ASSERT_TRUE((*w)->names().set_attribute(root_inode, "user.a" + std::to_string(i),
                                                    value + std::to_string(round), name_space::attribute_mode::any,
                                                    time_stamp::now()));
        }
        ASSERT_TRUE(w->commit());
        ASSERT_TRUE(eventually([&] { return shows(*f, name, pattern(10, 2)); })) << (*f)->status().reason;
    }
    ASSERT_GT((*w)->status().snapshots, 0U);
    EXPECT_TRUE(shows(*f, "a", pattern(1000, 1)));
}

TEST(following, goes_on_with_the_next_writer_and_without_a_site) {
    followed all(2, 3);
    auto [first, f] = all.open_both("a", pattern(1000, 1));
    ASSERT_TRUE(f) << f.error().message();
    {
        auto second = open_writer(all.sites);
        ASSERT_TRUE(second);
        ASSERT_TRUE(second->write_file("b", pattern(1000, 2)));
        ASSERT_TRUE(second->commit());
        EXPECT_TRUE(eventually([&] { return shows(*f, "b", pattern(1000, 2)); })) << (*f)->status().reason;
        for (std::size_t gone = 0; gone < 3; ++gone) {
            // Dead for everybody: the writer goes on with the other two.
            all.writer_reaches(gone, false);
            all.follower_reaches(gone, false);
            const std::string name = "without" + std::to_string(gone);
            ASSERT_TRUE(second->write_file(name, pattern(30'000, 3)));
            ASSERT_TRUE(second->commit());
            EXPECT_TRUE(eventually([&] { return shows(*f, name, pattern(30'000, 3)); })) << (*f)->status().reason;
            all.writer_reaches(gone, true);
            all.follower_reaches(gone, true);
            ASSERT_TRUE(second->until([&] { return second->all_members(); }));
        }
    }
    EXPECT_TRUE(shows(*f, "a", pattern(1000, 1)));
}

TEST(following, many_readers_beside_a_busy_writer) {
    followed all(2, 3);
    auto [w, f] = all.open_both("whole", pattern(3000, 0));
    ASSERT_TRUE(f) << f.error().message();
    std::atomic<bool> stop = false;
    std::atomic<int> looks = 0;
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; ++i)
        readers.emplace_back([&] {
            std::uint64_t last = 0;
            while (!stop) {
                const auto count = (*f)->names().list(root_inode, 0, 1000);
                if (!count || count->size() < last) ADD_FAILURE() << "names went";
                if (count) last = count->size();
                ++looks;
            }
        });
    for (int i = 0; i < 30; ++i) {
        EXPECT_TRUE(w->write_file("file" + std::to_string(i), pattern(100, 1)));
        EXPECT_TRUE(w->commit());
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    EXPECT_TRUE(eventually([&] { return !shows_no(*f, "file29"); }));
    stop = true;
    for (auto& reader : readers) reader.join();
    EXPECT_GT(looks, 0);
}

}  // namespace
}  // namespace warifu
