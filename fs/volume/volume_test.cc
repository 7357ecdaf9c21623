#include "fs/volume/volume_impl.h"
#include "fs/volume/volume_test_support.h"

namespace warifu {
namespace {

using test::core_thread;
using test::memory_sites;
using test::open_writer;
using test::pattern;

struct scheme_case {
    unsigned k, n;
};

class volume_over : public testing::TestWithParam<scheme_case> {
  protected:
    core_thread core;
    memory_sites sites{core.context, GetParam().k, GetParam().n};
};

TEST_P(volume_over, what_was_committed_is_there_after_a_crash_of_everything) {
    sites.create();
    std::vector<byte_vector> contents;
    {
        auto w = open_writer(sites);
        ASSERT_TRUE(w) << w.error().message();
        for (unsigned i = 0; i < 20; ++i) {
            contents.push_back(pattern(1 + i * 7919, i));
            ASSERT_TRUE(w->write_file("f" + std::to_string(i), contents.back()));
            const auto done = w->commit();
            ASSERT_TRUE(done) << done.error().message();
        }
        ASSERT_TRUE(w->write_file("never committed", pattern(100, 1)));
    }
    sites.crash();
    auto w = open_writer(sites);
    ASSERT_TRUE(w) << w.error().message();
    for (unsigned i = 0; i < 20; ++i) {
        const auto read = w->read_file("f" + std::to_string(i));
        ASSERT_TRUE(read) << read.error().message();
        EXPECT_EQ(*read, contents[i]);
    }
    EXPECT_EQ((*w)->names().lookup(root_inode, "never committed").error().code, errc::not_found);
    EXPECT_TRUE((*w)->status().writable);
}

TEST_P(volume_over, any_k_sites_read_and_fewer_do_not) {
    sites.create();
    const byte_vector content = pattern(100'000, 3);
    {
        auto w = open_writer(sites);
        ASSERT_TRUE(w) << w.error().message();
        ASSERT_TRUE(w->write_file("f", content));
        ASSERT_TRUE(w->commit());
    }
    const unsigned n = GetParam().n;
    for (unsigned mask = 1; mask < (1U << n); ++mask) {
        for (unsigned i = 0; i < n; ++i) sites.run([&] { sites.sites[i]->unreachable = ((mask >> i) & 1U) == 0; });
        auto r = open_writer(sites, open_mode::read_only);
        const bool enough = static_cast<unsigned>(std::popcount(mask)) >= GetParam().k;
        ASSERT_EQ(r.has_value(), enough) << mask << (r ? "" : r.error().message());
        if (!enough) {
            EXPECT_EQ(r.error().code, errc::missing_shares);
            continue;
        }
        const auto read = r->read_file("f");
        ASSERT_TRUE(read) << read.error().message();
        EXPECT_EQ(*read, content);
        EXPECT_FALSE((*r)->status().writable);
    }
}

TEST_P(volume_over, a_silent_site_is_dropped_healed_and_readmitted) {
    if (GetParam().n == GetParam().k) GTEST_SKIP() << "with n = k no site can be dropped";
    sites.create();
    auto w = open_writer(sites);
    ASSERT_TRUE(w) << w.error().message();
    const unsigned last = GetParam().n - 1;
    ASSERT_TRUE(w->write_file("before", pattern(50'000, 1)));
    ASSERT_TRUE(w->commit());
    sites.run([&] { sites.sites[last]->unreachable = true; });
    ASSERT_TRUE(w->write_file("without", pattern(60'000, 2)));
    const auto done = w->commit();
    ASSERT_TRUE(done) << done.error().message();
    EXPECT_FALSE(w->all_members());
    sites.run([&] { sites.sites[last]->unreachable = false; });
    EXPECT_TRUE(w->until([&] { return w->all_members(); }));
    // The healed site and k-1 others give everything back.
    for (unsigned i = 0; i + GetParam().k < GetParam().n; ++i) sites.run([&] { sites.sites[i]->unreachable = true; });
    EXPECT_EQ(*w->read_file("before"), pattern(50'000, 1));
    EXPECT_EQ(*w->read_file("without"), pattern(60'000, 2));
}

TEST_P(volume_over, a_wiped_site_comes_back_as_a_learner) {
    if (GetParam().n == GetParam().k) GTEST_SKIP() << "with n = k no site can be dropped";
    sites.create();
    {
        auto w = open_writer(sites);
        ASSERT_TRUE(w);
        for (unsigned i = 0; i < 5; ++i) ASSERT_TRUE(w->write_file("f" + std::to_string(i), pattern(30'000, i)));
        ASSERT_TRUE(w->commit());
    }
    sites.run([&] {
        sites.stores[0] = std::make_shared<memory_store>();
        sites.sites[0] = std::make_shared<faulty_store>(core.context.get_executor(), sites.stores[0]);
    });
    auto w = open_writer(sites);
    ASSERT_TRUE(w) << w.error().message();
    EXPECT_FALSE(w->all_members());
    EXPECT_TRUE(w->until([&] { return w->all_members(); }));
    for (unsigned i = GetParam().k; i < GetParam().n; ++i) sites.run([&] { sites.sites[i]->unreachable = true; });
    for (unsigned i = 0; i < 5; ++i) EXPECT_EQ(*w->read_file("f" + std::to_string(i)), pattern(30'000, i));
}

TEST_P(volume_over, a_second_writer_fences_the_first) {
    sites.create();
    auto first = open_writer(sites);
    ASSERT_TRUE(first);
    ASSERT_TRUE(first->write_file("a", pattern(1000, 1)));
    ASSERT_TRUE(first->commit());
    auto second = open_writer(sites);
    ASSERT_TRUE(second) << second.error().message();
    ASSERT_TRUE(second->write_file("b", pattern(1000, 2)));
    ASSERT_TRUE(second->commit());
    EXPECT_FALSE(first->write_file("late", pattern(1000, 3)).has_value() && first->commit().has_value());
    EXPECT_FALSE((*first)->status().writable);
    EXPECT_TRUE(second->commit());
    EXPECT_EQ(*second->read_file("a"), pattern(1000, 1));
}

TEST_P(volume_over, a_live_writer_is_not_displaced_without_takeover) {
    sites.create();
    auto first = open_writer(sites);
    ASSERT_TRUE(first);
    ASSERT_TRUE(first->until([&] {
        const auto state = run_on(core.context, sites.sites[0]->state());
        return state && state->heartbeat.has_value();
    }));
    const auto second = open_writer(sites, open_mode::write, false);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, errc::busy);
    EXPECT_TRUE(first->commit());
    ASSERT_TRUE(run_on(core.context, (*first)->close()));
    EXPECT_TRUE(open_writer(sites, open_mode::write, false)) << "it went in peace";
}

TEST_P(volume_over, snapshots_cut_the_journal) {
    sites.create();
    {
        auto w = open_writer(sites);
        ASSERT_TRUE(w);
        // Long attributes fill the log quickly: over 16 MiB of edits.
        const std::string value(60'000, 'x');
        for (int round = 0; round < 40; ++round) {
            for (int i = 0; i < 10; ++i) {
                const std::lock_guard lock((*w)->names_lock());
                ASSERT_TRUE((*w)->names().set_attribute(root_inode, "user.a" + std::to_string(i),
                                                        value + std::to_string(round), name_space::attribute_mode::any,
                                                        time_stamp::now()));
            }
            const auto done = w->commit();
            ASSERT_TRUE(done) << done.error().message();
        }
        EXPECT_TRUE(w->until([&] { return (*w)->status().snapshots > 0; }));
        ASSERT_TRUE(w->write_file("after", pattern(10'000, 9)));
        ASSERT_TRUE(w->commit());
    }
    const auto state = run_on(core.context, sites.sites[0]->state());
    EXPECT_GT(state->journal.first, 1U);
    sites.crash();
    auto w = open_writer(sites);
    ASSERT_TRUE(w) << w.error().message();
    EXPECT_EQ(*w->read_file("after"), pattern(10'000, 9));
    EXPECT_EQ((*w)->names().get_attribute(root_inode, "user.a3")->substr(60'000), "39");
}

TEST_P(volume_over, lying_sites_are_caught_and_routed_around) {
    sites.create();
    auto w = open_writer(sites);
    ASSERT_TRUE(w);
    ASSERT_TRUE(w->write_file("f", pattern(200'000, 5)));
    ASSERT_TRUE(w->commit());
    for (unsigned liar = 0; liar < GetParam().n; ++liar) {
        sites.run([&] { sites.sites[liar]->lie_always = true; });
        const auto read = w->read_file("f");
        if (GetParam().n > GetParam().k) {
            ASSERT_TRUE(read) << read.error().message();
            EXPECT_EQ(*read, pattern(200'000, 5));
        } else {
            ASSERT_FALSE(read);
            EXPECT_EQ(read.error().code, errc::bad_tag);
        }
        sites.run([&] { sites.sites[liar]->lie_always = false; });
    }
}

TEST_P(volume_over, removed_files_leave_the_sites) {
    sites.create();
    auto w = open_writer(sites);
    ASSERT_TRUE(w);
    ASSERT_TRUE(w->write_file("f", pattern(20'000, 5)));
    ASSERT_TRUE(w->commit());
    EXPECT_TRUE(sites.holds(0, w->last_chunk));
    ASSERT_TRUE(w->remove_file("f"));
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    EXPECT_TRUE(sites.holds(0, w->last_chunk)) << "never before the commit that freed it";
    EXPECT_TRUE(w->until([&] {
        for (unsigned i = 0; i < GetParam().n; ++i)
            if (sites.holds(i, w->last_chunk)) return false;
        return true;
    }));
}

TEST_P(volume_over, puts_whose_commit_never_came_are_collected) {
    sites.create();
    chunk_id garbage;
    {
        auto w = open_writer(sites);
        ASSERT_TRUE(w);
        ASSERT_TRUE(w->write_file("kept", pattern(20'000, 5)));
        ASSERT_TRUE(w->commit());
        ASSERT_TRUE(w->write_file("uncommitted", pattern(20'000, 5)));
        garbage = w->last_chunk;
    }
    EXPECT_TRUE(sites.holds(0, garbage));
    auto w = open_writer(sites);
    ASSERT_TRUE(w);
    EXPECT_TRUE(w->until([&] { return !sites.holds(0, garbage) && !sites.holds(GetParam().n - 1, garbage); }));
    EXPECT_EQ(*w->read_file("kept"), pattern(20'000, 5));
}

INSTANTIATE_TEST_SUITE_P(schemes, volume_over, testing::Values(scheme_case{2, 2}, scheme_case{2, 3}, scheme_case{3, 5}),
                         [](const auto& p) { return std::to_string(p.param.k) + "of" + std::to_string(p.param.n); });

TEST(journal, a_snapshot_during_which_a_member_falls_silent_begins_again) {
    core_thread core;
    memory_sites sites{core.context, 3, 5};
    sites.create();
    const std::string value(60'000, 'x');
    {
        volume_options options = sites.options();
        options.memory_size = 256U << 20U;  // RocksDB keeps its log for longer
        auto opened = run_on(core.context, volume::open(core.context, std::move(options)));
        ASSERT_TRUE(opened);
        auto w = std::make_unique<test::writer_of>(core.context, std::move(*opened));
        sites.run([&] { sites.sites[4]->unreachable = true; });
        for (int i = 0; i < 70; ++i) {  // a log of more than one part
            const std::lock_guard lock((*w)->names_lock());
            ASSERT_TRUE((*w)->names().set_attribute(root_inode, "user.a" + std::to_string(i), value,
                                                    name_space::attribute_mode::any, time_stamp::now()));
        }
        ASSERT_TRUE(w->commit());
        sites.run([&] { sites.sites[4]->unreachable = false; });
        bool cut_short = false;
        for (int i = 0; i < 500 && !cut_short; ++i) {
            auto edits = w->capture();
            const auto& snapshot = static_cast<captured_batches&>(*edits).snapshot;  // the returning site asks for one
            cut_short = snapshot.has_value();
            if (cut_short) {
                EXPECT_GT(snapshot->size(), record_edit_size_max);
                sites.run([&] { sites.sites[3]->unreachable = true; });
            }
            ASSERT_TRUE(run_on(core.context, (*w)->commit(std::move(edits), {})));
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        ASSERT_TRUE(cut_short);
        EXPECT_FALSE(w->all_members());
    }
    std::vector<std::vector<journal_entry>> journals;
    for (std::size_t i = 0; i < 3; ++i)
        journals.push_back(*run_on(core.context, sites.stores[i]->read_journal(0, 64U << 20U)));
    for (std::uint32_t part = 0; part < 2; ++part) {
        std::map<share_index, bytes_view> shares;
        for (std::uint8_t i = 0; i < 3; ++i) shares[share_index{i}] = journals[i][part].share.view();
        const auto opened = record_codec(*scheme::make(3, 5), sites.id)
                                .open_any(journals[0][part].epoch, journals[0][part].sequence, shares);
        ASSERT_TRUE(opened);
        EXPECT_EQ(decode_journal_record(opened->payload)->snapshot, (snapshot_part{part, 2}))
            << "the view that came between is cut with the first attempt";
    }
    auto w = open_writer(sites);
    ASSERT_TRUE(w) << w.error().message();
    EXPECT_EQ(*(*w)->names().get_attribute(root_inode, "user.a69"), value);
}

TEST(journal, is_cut_also_when_no_writer_lives_long_enough_to_fill_it) {
    core_thread core;
    memory_sites sites{core.context, 2, 3};
    sites.create();
    const std::string value(60'000, 'x');
    std::uint64_t snapshots = 0;
    for (int life = 0; life < 9 && snapshots == 0; ++life) {  // each appends 3 MB
        auto w = open_writer(sites);
        ASSERT_TRUE(w) << w.error().message();
        for (int i = 0; i < 50; ++i) {
            {
                const std::lock_guard lock((*w)->names_lock());
                ASSERT_TRUE((*w)->names().set_attribute(root_inode, "user.a" + std::to_string(i % 10),
                                                        value + std::to_string(life), name_space::attribute_mode::any,
                                                        time_stamp::now()));
            }
            ASSERT_TRUE(w->commit());
        }
        if (life > 5) (void)w->until([&] { return (*w)->status().snapshots > 0; });
        snapshots = (*w)->status().snapshots;
        sites.crash();
    }
    EXPECT_GT(snapshots, 0U);
}

}  // namespace
}  // namespace warifu
