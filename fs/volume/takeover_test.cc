// Who may write: displacing a writer, what the displaced one sees, and which sites an opener must hear.

#include <unistd.h>

#include "fs/volume/volume_impl.h"
#include "fs/volume/volume_test_support.h"

namespace warifu {
namespace {

using test::core_thread;
using test::memory_sites;
using test::open_writer;
using test::pattern;

class takeover : public testing::Test {
  protected:
    void SetUp() override { sites.create(); }
    void reach(std::size_t site, bool yes) {
        sites.run([&] { sites.sites[site]->unreachable = !yes; });
    }
    /// The request of a packet that was on its way when the volume was taken over.
    result<void> late_put(std::size_t site, ballot authority) {
        share_put put;
        put.chunk = chunk_id{authority, 99'999};
        put.authority = authority;
        put.pieces.emplace_back(buffer::zeroed(4096));
        return run_on(core.context, sites.stores[site]->put(std::move(put)));
    }
    result<void> late_append(std::size_t site, ballot authority) {
        append_request request;
        request.authority = authority;
        request.entry.epoch = authority;
        request.entry.sequence = run_on(core.context, sites.stores[site]->state())->journal.last + 1;
        request.entry.share = slice(buffer::zeroed(100));
        return run_on(core.context, sites.stores[site]->append(std::move(request)));
    }

    core_thread core;
    memory_sites sites{core.context, 2, 3};
};

TEST_F(takeover, the_old_writer_is_read_only_for_good_and_says_who_has_the_volume) {
    auto old = open_writer(sites);
    ASSERT_TRUE(old) << old.error().message();
    ASSERT_TRUE(old->write_file("committed", pattern(50'000, 1)));
    ASSERT_TRUE(old->commit());
    ASSERT_TRUE(old->write_file("put, not committed", pattern(50'000, 2)));
    const ballot old_epoch = (*old)->status().epoch;

    auto now = open_writer(sites);
    ASSERT_TRUE(now) << now.error().message();
    EXPECT_GT((*now)->status().epoch, old_epoch);
    EXPECT_EQ(*now->read_file("committed"), pattern(50'000, 1));
    EXPECT_EQ((*now)->names().lookup(root_inode, "put, not committed").error().code, errc::not_found);

    EXPECT_EQ(old->commit().error().code, errc::read_only);
    EXPECT_EQ(old->write_file("more", pattern(100, 3)).error().code, errc::read_only);
    EXPECT_EQ((*old)->check_writable().error().code, errc::read_only);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(late_put(i, old_epoch).error().code, errc::stale_epoch) << i;
        EXPECT_EQ(late_append(i, old_epoch).error().code, errc::stale_epoch) << i;
    }
    EXPECT_EQ(*old->read_file("committed"), pattern(50'000, 1)) << "it reads on";
    const std::string who = "process " + std::to_string(::getpid()) + " on ";
    for (int i = 0; i < 1000 && (*old)->status().reason.find(who) == std::string::npos; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_NE((*old)->status().reason.find(who), std::string::npos) << (*old)->status().reason;
    EXPECT_NE((*old)->status().reason.find("took over"), std::string::npos) << (*old)->status().reason;

    ASSERT_TRUE(now->write_file("after", pattern(10'000, 4)));
    EXPECT_TRUE(now->commit());
}

TEST_F(takeover, a_writer_that_writes_nothing_notices_by_its_heartbeats) {
    auto old = open_writer(sites);
    ASSERT_TRUE(old);
    auto now = open_writer(sites);
    ASSERT_TRUE(now);
    for (int i = 0; i < 1000 && (*old)->check_writable(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ((*old)->check_writable().error().code, errc::read_only);
}

TEST_F(takeover, what_two_sites_committed_without_the_third_is_not_lost_with_one_of_them) {
    {
        auto w = open_writer(sites);
        ASSERT_TRUE(w);
        ASSERT_TRUE(w->write_file("before", pattern(1000, 1)));
        ASSERT_TRUE(w->commit());
        reach(0, false);
        ASSERT_TRUE(w->write_file("after", pattern(2000, 2)));
        const auto done = w->commit();
        ASSERT_TRUE(done) << done.error().message();
        for (std::size_t i = 0; i < 3; ++i) reach(i, false);  // the end of the machine, without a goodbye
    }
    // Site 1 is back, as old as it was; site 3, which has what was committed, is away.
    reach(0, true);
    reach(1, true);
    const auto refused = open_writer(sites);
    ASSERT_FALSE(refused) << "a state without a committed file would be shown";
    EXPECT_EQ(refused.error().code, errc::missing_shares);
    EXPECT_NE(refused.error().text.find("site3 may hold it too"), std::string::npos) << refused.error().text;
    {
        auto r = open_writer(sites, open_mode::read_only);
        ASSERT_TRUE(r) << "what can be read is readable";
        EXPECT_EQ(*r->read_file("before"), pattern(1000, 1));
        EXPECT_NE((*r)->status().reason.find("head disputed"), std::string::npos) << (*r)->status().reason;
    }
    reach(2, true);
    auto w = open_writer(sites);
    ASSERT_TRUE(w) << w.error().message();
    EXPECT_EQ(*w->read_file("after"), pattern(2000, 2));
    EXPECT_TRUE(w->until([&] { return w->all_members(); }));
}

TEST_F(takeover, an_append_that_a_crash_cut_short_stops_nobody) {
    {
        auto w = open_writer(sites);
        ASSERT_TRUE(w);
        ASSERT_TRUE(w->write_file("before", pattern(1000, 1)));
        ASSERT_TRUE(w->commit());
        // One site gets the record, the others are not reached any more and cannot be dropped.
        ASSERT_TRUE(w->write_file("half", pattern(1000, 2)));
        reach(1, false);
        reach(2, false);
        auto edits = w->capture();
        auto commit =
            std::async(std::launch::async, [&] { return run_on(core.context, (*w)->commit(std::move(edits), {})); });
        EXPECT_EQ(commit.wait_for(std::chrono::milliseconds(500)), std::future_status::timeout);
        reach(0, false);
        (void)run_on(core.context, (*w)->close());
        EXPECT_FALSE(commit.get());
    }
    for (std::size_t i = 0; i < 3; ++i) reach(i, true);
    reach(2, false);
    auto w = open_writer(sites);
    ASSERT_TRUE(w) << "site 2 was to hold the record too, answers, and does not: " << w.error().message();
    EXPECT_EQ(*w->read_file("before"), pattern(1000, 1));
}

TEST_F(takeover, a_site_whose_journal_was_not_read_is_no_member_of_the_writers_view) {
    memory_sites four(core.context, 2, 4);
    four.create();
    {
        auto w = open_writer(four);
        ASSERT_TRUE(w);
        ASSERT_TRUE(w->write_file("before", pattern(1000, 1)));
        ASSERT_TRUE(w->commit());
    }
    four.run([&] {
        four.sites[0]->journal_fails = true;
        four.sites[3]->unreachable = true;
    });
    const auto refused = open_writer(four);
    ASSERT_FALSE(refused) << "what site 1 lacks is not known, and three sites are needed";
    EXPECT_EQ(refused.error().code, errc::missing_shares) << refused.error().message();
    four.run([&] { four.sites[3]->unreachable = false; });
    auto w = open_writer(four);
    ASSERT_TRUE(w) << w.error().message();
    EXPECT_EQ(*w->read_file("before"), pattern(1000, 1));
    EXPECT_TRUE(w->until([&] { return w->all_members(); })) << "it is healed as one that was away";
}

TEST_F(takeover, a_journal_without_end_is_a_lie) {
    sites.run([&] { sites.sites[1]->journal_has_no_end = true; });
    auto w = open_writer(sites);
    ASSERT_TRUE(w) << w.error().message();
    EXPECT_TRUE(w->write_file("after", pattern(1000, 1)));
    EXPECT_TRUE(w->commit());
}

// Simulated life 34711. A site can hold a record of a displaced writer in the middle of its journal: it answered an
// opening but for its journal, and took the records behind as a member (so it was before the test above).
class stale_record : public testing::Test {
  protected:
    void SetUp() override {
        four.create();
        ballot epoch;
        {
            auto w = open_writer(four);
            ASSERT_TRUE(w);
            epoch = (*w)->status().epoch;
            for (unsigned i = 0; i < 3; ++i) {
                ASSERT_TRUE(w->write_file("file" + std::to_string(i), pattern(1000, i)));
                ASSERT_TRUE(w->commit());
            }
        }
        journal = read();
        ASSERT_GE(journal.size(), 4U);
        append_request request;
        request.authority = epoch;
        ++request.authority.counter;
        memory_store& store = *four.stores[0];
        ASSERT_TRUE(run_on(core.context, store.promise(request.authority)));
        request.entry = journal[journal.size() - 2];
        --request.entry.epoch.counter;
        request.entry.share = slice(buffer::zeroed(100));
        ASSERT_TRUE(run_on(core.context, store.append(request)));
        request.entry = journal.back();
        ASSERT_TRUE(run_on(core.context, store.append(request)));
    }
    std::vector<journal_entry> read() { return *run_on(core.context, four.stores[0]->read_journal(0, 1U << 20U)); }
    void check_files(test::writer_of& w) {
        for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(*w.read_file("file" + std::to_string(i)), pattern(1000, i));
    }

    core_thread core;
    memory_sites four{core.context, 2, 4};
    std::vector<journal_entry> journal;  // of site 1, before
};

TEST_F(stale_record, ends_the_membership_of_its_site_until_it_is_healed) {
    auto w = open_writer(four);
    ASSERT_TRUE(w) << w.error().message();
    EXPECT_EQ((*w)->status().sites[0].role, site_role::down);
    check_files(*w);
    EXPECT_TRUE(w->until([&] { return w->all_members(); }));
    EXPECT_GT(read().front().sequence, journal.back().sequence);
}

// To replace the record would drop those behind it, perhaps the last copies.
TEST_F(stale_record, stays_until_a_snapshot_where_no_site_can_be_spared) {
    four.run([&] { four.sites[3]->unreachable = true; });
    auto w = open_writer(four);  // hangs here if site 1 lacks the last record then
    ASSERT_TRUE(w) << w.error().message();
    const auto opened = read();
    ASSERT_EQ(opened.size(), journal.size() + 1);
    EXPECT_TRUE(std::ranges::equal(opened[journal.size() - 1].share.view(), journal.back().share.view()));
    check_files(*w);
    bool asked = false;
    four.run([&] { (*w)->set_commit_wanted([&] { asked = true; }); });
    EXPECT_TRUE(asked) << "also when nothing is written";
    EXPECT_TRUE(w->until([&] { return read().front().sequence > journal.back().sequence; }));
    four.run([&] { (*w)->set_commit_wanted({}); });
}

TEST(writer_identity, names_this_process_and_nobody_elses) {
    const writer_identity self = this_writer();
    EXPECT_FALSE(is_dead(self));
    writer_identity other = self;
    other.start += 1;
    EXPECT_TRUE(is_dead(other)) << "its number went to another process";
    other = self;
    other.boot += "x";
    EXPECT_TRUE(is_dead(other)) << "the machine was restarted";
    other.machine = "elsewhere/" + self.machine;
    EXPECT_FALSE(is_dead(other)) << "nothing is known of other machines";
    EXPECT_EQ(describe(other), "process " + std::to_string(::getpid()) + " on elsewhere");
    EXPECT_LE(self.machine.size(), identity_text_size_max);
}

}  // namespace
}  // namespace warifu
