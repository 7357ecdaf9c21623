#include "fs/volume/record.h"

#include <gtest/gtest.h>

#include "fs/base/limits.h"
#include "fs/volume/history.h"
#include "fs/volume/quorum.h"

namespace warifu {
namespace {

TEST(quorum, every_scheme_has_the_properties_that_the_proofs_use) {
    for (unsigned n = 2; n <= site_count_max; ++n) {
        for (unsigned k = 2; k <= n; ++k) {
            const unsigned w = view_size_min(k, n), p = promise_count_min(k, n);
            EXPECT_GE(w, k) << "a view gives the data back";
            EXPECT_LE(w, n);
            EXPECT_GT(2 * w, n) << "two views meet";
            EXPECT_GT(w + k, n) << "a view meets any k sites";
            EXPECT_GT(p + w, n) << "an opener meets every view";
            EXPECT_GT(2 * p, n) << "two openers meet";
        }
    }
    EXPECT_EQ(view_size_min(2, 3), 2U);
    EXPECT_EQ(promise_count_min(2, 3), 2U);
    EXPECT_EQ(view_size_min(3, 5), 3U);
    EXPECT_EQ(view_size_min(2, 5), 4U);
}

journal_record full_record() {
    journal_record record;
    record.committed = 41;
    view v;
    v.number = 7;
    for (const std::uint8_t i : {std::uint8_t{0}, std::uint8_t{2}}) {
        view_member member;
        member.site.value = i;
        member.incarnation = random_uuid<incarnation_id>();
        v.members.push_back(member);
    }
    record.new_view = v;
    epoch_keys keys;
    keys.epoch = ballot{3, 0x1234};
    keys.tag_point[0] = std::byte{9};
    record.epochs = {keys, keys};
    volume_description description;
    description.id = random_uuid<volume_id>();
    description.threshold = 2;
    description.sites = {"site1", "site2", "site3"};
    record.description = description;
    record.snapshot = snapshot_part{1, 3};
    record.edits = byte_vector(1000, std::byte{5});
    return record;
}

TEST(journal_record, round_trips_with_every_mix_of_sections) {
    const journal_record full = full_record();
    for (unsigned mix = 0; mix < 32; ++mix) {
        journal_record record;
        record.committed = 5;
        if ((mix & 1U) != 0) record.new_view = full.new_view;
        if ((mix & 2U) != 0) record.epochs = full.epochs;
        if ((mix & 4U) != 0) record.description = full.description;
        if ((mix & 8U) != 0) record.snapshot = full.snapshot;
        if ((mix & 16U) != 0) record.edits = full.edits;
        const auto back = decode_journal_record(encode_journal_record(record));
        ASSERT_TRUE(back) << back.error().message();
        EXPECT_EQ(*back, record);
    }
}

TEST(journal_record, every_truncation_and_any_trailing_byte_is_refused) {
    byte_vector bytes = encode_journal_record(full_record());
    for (std::size_t size = 0; size < bytes.size(); ++size)
        EXPECT_FALSE(decode_journal_record(bytes_view(bytes).first(size))) << size;
    bytes.push_back(std::byte{0});
    EXPECT_EQ(decode_journal_record(bytes).error().code, errc::bad_format);
}

TEST(journal_record, refuses_wrong_versions_sections_views_and_schemes) {
    byte_vector bytes = encode_journal_record(full_record());
    bytes[0] = std::byte{2};
    EXPECT_EQ(decode_journal_record(bytes).error().code, errc::bad_version);
    bytes[0] = std::byte{1};
    bytes[1] = std::byte{0xff};
    EXPECT_EQ(decode_journal_record(bytes).error().code, errc::bad_format);
    journal_record record = full_record();
    std::swap(record.new_view->members[0], record.new_view->members[1]);
    EXPECT_FALSE(decode_journal_record(encode_journal_record(record))) << "members that do not ascend";
    record = full_record();
    record.description->threshold = 4;
    EXPECT_FALSE(decode_journal_record(encode_journal_record(record))) << "k over n";
    record = full_record();
    record.snapshot = snapshot_part{3, 3};
    EXPECT_FALSE(decode_journal_record(encode_journal_record(record))) << "a part beyond the last";
}

TEST(view_mark, round_trips_behind_a_share_and_garbage_is_refused) {
    const auto shape = *scheme::make(2, 3);
    const record_codec codec(shape, random_uuid<volume_id>());
    const auto random = make_drbg();
    view v;
    for (const std::uint8_t i : {std::uint8_t{0}, std::uint8_t{2}}) {
        v.members.emplace_back().site.value = i;
        v.members.back().incarnation = random_uuid<incarnation_id>();
    }
    const auto shares = *codec.seal({1, 2}, 3, v, as_bytes_view("text"), *random);
    EXPECT_EQ(decode_view_mark(shares[1].view()), mark_of(v));
    const std::map<share_index, bytes_view> two = {{share_index{0}, shares[0].view()},
                                                   {share_index{2}, shares[2].view()}};
    EXPECT_TRUE(std::ranges::equal(codec.rebuild(share_index{1}, two)->view(), shares[1].view()));
    byte_vector bad(shares[0].view().begin(), shares[0].view().end());
    bad.back() = std::byte{9};
    EXPECT_EQ(decode_view_mark(bad).error().code, errc::bad_version);
    bad.back() = std::byte{1};
    for (const int count : {0, 17, 16}) {
        bad[bad.size() - 2] = static_cast<std::byte>(count);
        EXPECT_FALSE(decode_view_mark(bytes_view(bad).last(20))) << count;
    }
    EXPECT_FALSE(decode_view_mark(bytes_view(bad).first(1)));
}

/// A journal of five sites under 3-of-5: a snapshot and `count` commits.
class history_rules : public testing::Test {
  protected:
    void SetUp() override {
        for (std::uint8_t i = 0; i < 5; ++i) journals.emplace_back().site.value = i;
        journal_record record = full_record();
        record.snapshot = snapshot_part{0, 1};
        record.description->threshold = 3;
        record.description->sites = {"a", "b", "c", "d", "e"};
        for (site_journal& journal : journals) journal.incarnation = random_uuid<incarnation_id>();
        record.committed = 0;
        record.new_view = view_of(0b11111);
        add(1, {1, 1}, record, 0b11111);
    }
    view view_of(unsigned sites) {
        view v;
        for (std::uint8_t i = 0; i < 5; ++i) {
            if (((sites >> i) & 1U) == 0) continue;
            view_member& member = v.members.emplace_back();
            member.site.value = i;
            member.incarnation = journals[i].incarnation;
        }
        return v;
    }
    /// Takes the journals of all but these sites away.
    void answer(unsigned sites) {
        std::erase_if(journals, [&](const site_journal& j) { return ((sites >> j.site.value) & 1U) == 0; });
    }
    journal_record commit(const char* text) {
        journal_record record;
        const bytes_view bytes = as_bytes_view(text);
        record.edits.assign(bytes.begin(), bytes.end());
        return record;
    }
    void add(std::uint64_t sequence, ballot epoch, const journal_record& record, unsigned sites,
             unsigned holders = 0b11111) {
        const auto shares = *codec.seal(epoch, sequence, view_of(holders), encode_journal_record(record), *random);
        for (std::size_t i = 0; i < 5; ++i) {
            if (((sites >> i) & 1U) == 0) continue;
            journal_entry entry;
            entry.sequence = sequence;
            entry.epoch = epoch;
            entry.share = shares[i];
            journals[i].entries.push_back(entry);
        }
    }
    void flip(std::size_t site, std::size_t entry) {
        buffer changed = buffer::copy_of(journals[site].entries[entry].share.view());
        changed.data()[40] ^= std::byte{1};
        journals[site].entries[entry].share = slice(std::move(changed));
    }
    std::string text_of(const kept_record& kept) { return std::string(as_text(kept.record.edits)); }

    volume_id id = random_uuid<volume_id>();
    record_codec codec{*scheme::make(3, 5), id};
    std::unique_ptr<random_source> random = make_drbg();
    std::vector<site_journal> journals;
};

TEST_F(history_rules, a_tail_record_is_kept_if_k_sites_hold_it) {
    add(2, {1, 1}, commit("two"), 0b11111);
    add(3, {1, 1}, commit("three"), 0b00111);
    add(4, {1, 1}, commit("four"), 0b00011);
    const auto past = rebuild_history(codec, journals);
    ASSERT_TRUE(past) << past.error().message();
    EXPECT_EQ(past->head(), 3U);
    EXPECT_EQ(text_of(past->records.back()), "three");
    EXPECT_FALSE(past->disputed) << "an append that a crash cut short is no dispute";
}

TEST_F(history_rules, the_newest_epoch_that_k_sites_hold_wins) {
    add(2, {1, 1}, commit("old"), 0b00111);
    journals[3].entries.clear();
    journals[4].entries.clear();
    add(2, {2, 5}, commit("uncommitted"), 0b11000);
    EXPECT_EQ(text_of(rebuild_history(codec, journals)->records.back()), "old");
}

TEST_F(history_rules, what_followed_a_record_that_a_later_opening_replaced_is_no_part_of_it) {
    // As 2-of-4 can leave it: two sites go on from the old record, two have the opening that met none of them.
    add(2, {1, 1}, commit("old"), 0b00011);
    add(3, {1, 1}, commit("after the old"), 0b00111);
    add(2, {2, 5}, commit("opening"), 0b11100);
    const auto past = rebuild_history(codec, journals);
    ASSERT_TRUE(past) << past.error().message();
    EXPECT_EQ(past->head(), 2U);
    EXPECT_EQ(text_of(past->records.back()), "opening");
    EXPECT_FALSE(past->disputed) << *past->disputed;
}

TEST_F(history_rules, liars_are_named_and_routed_around) {
    add(2, {1, 1}, commit("two"), 0b11111);
    flip(1, 1);
    const auto past = rebuild_history(codec, journals);
    ASSERT_TRUE(past);
    EXPECT_EQ(text_of(past->records.back()), "two");
    EXPECT_EQ(past->liars, std::vector<share_index>{share_index{1}});
    EXPECT_FALSE(past->records.back().shares.contains(share_index{1}));
}

TEST_F(history_rules, a_claimed_head_that_cannot_be_rebuilt_is_disputed_not_dropped) {
    add(2, {1, 1}, commit("two"), 0b11111);
    add(3, {1, 1}, commit("three"), 0b00111);
    flip(0, 2);
    const auto past = rebuild_history(codec, journals);
    ASSERT_TRUE(past);
    EXPECT_EQ(past->head(), 2U);
    EXPECT_TRUE(past->disputed);
}

TEST_F(history_rules, it_starts_at_the_last_whole_snapshot) {
    journal_record part = full_record();
    part.snapshot = snapshot_part{0, 2};
    add(2, {1, 1}, part, 0b11111);
    add(3, {1, 1}, commit("a hole in the snapshot"), 0b11111);
    EXPECT_EQ(rebuild_history(codec, journals)->records.front().sequence, 1U);
    part.snapshot = snapshot_part{0, 2};
    add(4, {1, 1}, part, 0b11111);
    part.snapshot = snapshot_part{1, 2};
    add(5, {1, 1}, part, 0b11111);
    EXPECT_EQ(rebuild_history(codec, journals)->records.front().sequence, 4U);
    EXPECT_EQ(rebuild_history(codec, journals)->first_state(), 5U);
}

TEST_F(history_rules, a_view_between_the_parts_of_a_snapshot_leaves_it_whole) {  // as versions before could write it
    journal_record part = full_record();
    part.snapshot = snapshot_part{0, 2};
    add(2, {1, 1}, part, 0b11111);
    journal_record smaller;
    smaller.new_view = view_of(0b01111);
    add(3, {1, 1}, smaller, 0b01111, 0b01111);
    part.snapshot = snapshot_part{1, 2};
    add(4, {1, 1}, part, 0b01111, 0b01111);
    EXPECT_EQ(rebuild_history(codec, journals)->records.front().sequence, 2U);
    EXPECT_EQ(rebuild_history(codec, journals)->first_state(), 4U);
}

TEST_F(history_rules, parts_of_two_writers_are_no_snapshot) {
    journal_record part = full_record();
    part.snapshot = snapshot_part{0, 2};
    add(2, {1, 1}, part, 0b11111);
    part.snapshot = snapshot_part{1, 2};
    add(3, {2, 5}, part, 0b11111);
    EXPECT_EQ(rebuild_history(codec, journals)->records.front().sequence, 1U);
}

TEST_F(history_rules, what_a_smaller_view_may_have_committed_is_not_dropped) {
    // Sites a and b fell silent; c, d and e went on without them. Then d and e are lost, and a and b are back.
    add(2, {1, 1}, commit("two"), 0b11111);
    add(3, {1, 1}, commit("three"), 0b11100, 0b11100);
    answer(0b00111);
    const auto past = rebuild_history(codec, journals);
    ASSERT_TRUE(past) << past.error().message();
    EXPECT_EQ(past->head(), 2U);
    ASSERT_TRUE(past->disputed) << "site c alone cannot give record 3, but it was committed";
    EXPECT_EQ(past->awaited, (std::vector<share_index>{share_index{3}, share_index{4}}));
    EXPECT_EQ(*past->disputed, "record 3 is held by c alone of the sites that answer; d, e may hold it too");
}

TEST_F(history_rules, a_record_that_a_site_of_its_view_lacks_was_never_committed) {
    add(2, {1, 1}, commit("two"), 0b11111);
    add(3, {1, 1}, commit("three"), 0b00100, 0b11100);
    answer(0b01111);
    EXPECT_FALSE(rebuild_history(codec, journals)->disputed) << "d answers and does not have it";
    journals.back().incarnation = random_uuid<incarnation_id>();
    EXPECT_TRUE(rebuild_history(codec, journals)->disputed) << "d lost its store: it may have had it";
}

TEST_F(history_rules, a_mark_of_sites_that_there_are_not_stops_nobody) {
    add(2, {1, 1}, commit("two"), 0b11111);
    view invented = view_of(0b00001);
    for (const std::uint8_t i : {std::uint8_t{9}, std::uint8_t{10}}) invented.members.emplace_back().site.value = i;
    const auto shares = *codec.seal({1, 1}, 3, invented, encode_journal_record(commit("three")), *random);
    journal_entry& entry = journals[0].entries.emplace_back();
    entry.sequence = 3;
    entry.epoch = {1, 1};
    entry.share = shares[0];
    EXPECT_FALSE(rebuild_history(codec, journals)->disputed);
}

TEST_F(history_rules, a_store_that_comes_back_behind_a_later_one_proves_nothing) {
    // Site a's store was replaced and readmitted; what was committed then is at c alone when the old one is back.
    add(2, {1, 1}, commit("two"), 0b11111);
    const incarnation_id old_store = journals[0].incarnation;
    journals[0].incarnation = random_uuid<incarnation_id>();
    add(3, {1, 1}, commit("three"), 0b00100, 0b00111);
    journals[0].incarnation = old_store;
    answer(0b11101);
    EXPECT_TRUE(rebuild_history(codec, journals)->disputed);
}

TEST_F(history_rules, the_chunks_that_most_sites_name_are_those_of_a_record) {
    add(2, {1, 1}, commit("two"), 0b11111);
    for (site_journal& journal : journals) journal.entries.back().chunks = {{{1, 1}, 7}, {{1, 1}, 8}};
    journals[0].entries.back().chunks = {{{1, 1}, 7}};
    journals[1].entries.back().chunks = {{{1, 1}, 7}, {{1, 1}, 8}, {{1, 1}, 9}};
    EXPECT_EQ(rebuild_history(codec, journals)->records.back().chunks, journals[2].entries.back().chunks);
}

TEST_F(history_rules, a_mark_of_fewer_sites_than_a_view_has_counts_for_nothing) {
    add(2, {1, 1}, commit("two"), 0b11111);
    add(3, {1, 1}, commit("three"), 0b00001, 0b10001);
    answer(0b01111);
    EXPECT_FALSE(rebuild_history(codec, journals)->disputed);
}

TEST_F(history_rules, committed_is_what_a_record_says_or_a_whole_view_holds) {
    add(2, {1, 1}, commit("two"), 0b11111);
    EXPECT_EQ(rebuild_history(codec, journals)->committed, 2U);
    add(3, {1, 1}, commit("three"), 0b01111);
    EXPECT_EQ(rebuild_history(codec, journals)->head(), 3U);
    EXPECT_EQ(rebuild_history(codec, journals)->committed, 2U) << "e may never get it";
    journal_record four = commit("four");
    four.committed = 3;
    add(4, {1, 1}, four, 0b01111, 0b01111);
    EXPECT_EQ(rebuild_history(codec, journals)->committed, 4U);
    answer(0b00111);
    EXPECT_EQ(rebuild_history(codec, journals)->committed, 3U) << "d, of its view, does not answer";
}

TEST_F(history_rules, fewer_than_k_sites_tell_nothing) {
    journals.resize(2);
    EXPECT_EQ(rebuild_history(codec, journals).error().code, errc::missing_shares);
    journals.clear();
    EXPECT_EQ(rebuild_history(codec, journals).error().code, errc::not_found);
}

}  // namespace
}  // namespace warifu
