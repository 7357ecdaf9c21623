#pragma once
// What every share_store must do, sentence by sentence of share_store.h. A store's test includes this header in one
// file and instantiates the suite with a way to make the store:
//
//     INSTANTIATE_TEST_SUITE_P(memory, share_store_conformance, testing::Values(conformance_case{"memory",
//     make_memory}));

#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>

#include "backends/run_task.h"
#include "backends/share_store.h"
#include "backends/store_rules.h"
#include "fs/async/wait.h"

namespace warifu {

/// One store under test. `reopen` is a crash of the store's process without a clean stop: what was durable is there
/// after it.
class store_harness {
  public:
    virtual ~store_harness() = default;
    virtual asio::io_context& core() = 0;
    virtual share_store& store() = 0;
    virtual void reopen() = 0;
    /// Bytes that a put of `size` more cannot fit in; 0 when this store cannot be filled within a test.
    virtual std::uint64_t capacity() { return 0; }
};

struct conformance_case {
    std::string name;
    std::function<std::unique_ptr<store_harness>()> make;
};

inline void PrintTo(const conformance_case& c, std::ostream* out) {
    *out << c.name;
}

class share_store_conformance : public testing::TestWithParam<conformance_case> {
  protected:
    void SetUp() override {
        harness_ = GetParam().make();
        ASSERT_NE(harness_, nullptr);
    }
    void TearDown() override { harness_.reset(); }

    share_store& store() { return harness_->store(); }
    template <typename T>
    result<T> run(task<T> work) {
        return run_task(harness_->core(), std::move(work));
    }

    static byte_vector pattern(std::size_t size, std::uint64_t seed) {
        byte_vector out(size);
        std::uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;
        for (std::byte& b : out) {
            x ^= x << 13U;
            x ^= x >> 7U;
            x ^= x << 17U;
            b = static_cast<std::byte>(x >> 32U);
        }
        return out;
    }
    static slice bytes(std::size_t size, std::uint64_t seed) { return slice(buffer::copy_of(pattern(size, seed))); }

    share_put share(std::uint64_t sequence, std::vector<std::size_t> sizes, std::size_t side = 48) const {
        share_put out;
        out.chunk = id(sequence);
        out.authority = writer_;
        out.index.value = 1;
        out.side = bytes(side, sequence * 1000 + 999);
        for (std::size_t i = 0; i < sizes.size(); ++i) out.pieces.push_back(bytes(sizes[i], sequence * 1000 + i));
        return out;
    }
    chunk_id id(std::uint64_t sequence) const { return chunk_id{first_ballot, sequence}; }
    result<void> put(std::uint64_t sequence, std::vector<std::size_t> sizes, std::size_t side = 48) {
        return run(store().put(share(sequence, std::move(sizes), side)));
    }

    append_request record(std::uint64_t sequence, std::size_t size = 100, std::vector<chunk_id> chunks = {}) const {
        append_request out;
        out.authority = writer_;
        out.entry.sequence = sequence;
        out.entry.epoch = writer_;
        out.entry.chunks = std::move(chunks);
        out.entry.share = bytes(size, sequence * 7 + writer_.counter);
        return out;
    }
    result<void> append(append_request request) { return run(store().append(std::move(request))); }

    void promise(ballot b) {
        const auto done = run(store().promise(b));
        ASSERT_TRUE(done) << done.error().message();
        writer_ = b;
    }
    void expect_code(const result<void>& got, errc code) const {
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().code, code) << got.error().message();
    }
    template <typename T>
    void expect_error(const result<T>& got, errc code) const {
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().code, code) << got.error().message();
    }
    void expect_piece(std::uint64_t sequence, std::uint32_t piece, std::size_t size) {
        share_range range;
        range.part = piece;
        range.size = static_cast<std::uint32_t>(size);
        const auto got = run(store().get(id(sequence), std::vector{range}));
        ASSERT_TRUE(got) << got.error().message();
        ASSERT_EQ(got->size(), 1U);
        EXPECT_TRUE(std::ranges::equal((*got)[0].view(), pattern(size, sequence * 1000 + piece)));
    }
    static share_range side_range(std::uint32_t offset, std::uint32_t size) {
        share_range out;
        out.part = side_part;
        out.offset = offset;
        out.size = size;
        return out;
    }
    share_removal removal(std::uint64_t sequence, std::vector<std::uint32_t> pieces = {},
                          std::vector<share_range> ranges = {}) const {
        share_removal out;
        out.chunk = id(sequence);
        out.pieces = std::move(pieces);
        out.side_ranges = std::move(ranges);
        return out;
    }
    std::vector<std::uint64_t> journal_sequences(std::uint64_t from = 0, std::uint32_t size_max = 1U << 30U) {
        std::vector<std::uint64_t> out;
        const auto entries = run(store().read_journal(from, size_max));
        EXPECT_TRUE(entries);
        if (entries)
            for (const journal_entry& entry : *entries) out.push_back(entry.sequence);
        return out;
    }

    static constexpr ballot first_ballot{3, 0x1111};
    static constexpr ballot second_ballot{4, 0x0222};
    static constexpr ballot third_ballot{5, 0x0111};
    ballot writer_;
    std::unique_ptr<store_harness> harness_;
};

using sequences = std::vector<std::uint64_t>;

TEST_P(share_store_conformance, fresh_store_is_empty_and_keeps_its_incarnation) {
    const auto before = run(store().state());
    ASSERT_TRUE(before);
    EXPECT_FALSE(before->incarnation.is_zero());
    EXPECT_TRUE(before->promised.is_zero());
    EXPECT_EQ(before->journal.last, 0U);
    EXPECT_GT(before->capacity, 0U);
    EXPECT_LE(before->free, before->capacity);
    EXPECT_FALSE(before->heartbeat);
    harness_->reopen();
    const auto after = run(store().state());
    ASSERT_TRUE(after);
    EXPECT_EQ(after->incarnation, before->incarnation);
}

TEST_P(share_store_conformance, promise_is_durable_and_only_grows) {
    promise(first_ballot);
    EXPECT_TRUE(run(store().promise(first_ballot)));
    ballot lower = first_ballot;
    --lower.nonce;
    expect_code(run(store().promise(lower)), errc::stale_epoch);
    harness_->reopen();
    EXPECT_EQ(run(store().state())->promised, first_ballot);
    expect_code(run(store().promise(lower)), errc::stale_epoch);
    promise(second_ballot);
    EXPECT_EQ(run(store().state())->promised, second_ballot);
}

TEST_P(share_store_conformance, every_change_is_fenced) {
    promise(second_ballot);
    for (const ballot wrong : {first_ballot, ballot{second_ballot.counter + 1, 0}}) {
        writer_ = wrong;
        expect_code(run(store().reserve(wrong, 4096)), errc::stale_epoch);
        expect_code(put(1, {100}), errc::stale_epoch);
        expect_code(run(store().remove(wrong, std::vector{removal(1)})), errc::stale_epoch);
        expect_code(append(record(1)), errc::stale_epoch);
        expect_code(run(store().cut_journal(wrong, 1)), errc::stale_epoch);
        expect_code(run(store().heartbeat(wrong, writer_identity())), errc::stale_epoch);
    }
    writer_ = second_ballot;
    EXPECT_TRUE(put(1, {100}));
    EXPECT_TRUE(run(store().list(chunk_id(), 10))->size() == 1);
}

TEST_P(share_store_conformance, put_and_get_ranges) {
    promise(first_ballot);
    const std::vector<std::size_t> sizes = {1, 4095, 4096, 4097, 70'000};
    ASSERT_TRUE(put(5, sizes, 200));
    for (std::uint32_t i = 0; i < sizes.size(); ++i) expect_piece(5, i, sizes[i]);
    std::vector<share_range> ranges(4);
    ranges[0] = side_range(16, 32);
    ranges[1].part = 4, ranges[1].offset = 4090, ranges[1].size = 5000;
    ranges[2].part = 0, ranges[2].size = 1;
    ranges[3].part = 4, ranges[3].offset = 69'999, ranges[3].size = 1;
    const auto got = run(store().get(id(5), ranges));
    ASSERT_TRUE(got) << got.error().message();
    ASSERT_EQ(got->size(), 4U);
    const auto side = pattern(200, 5999), big = pattern(70'000, 5004);
    EXPECT_TRUE(std::ranges::equal((*got)[0].view(), bytes_view(side).subspan(16, 32)));
    EXPECT_TRUE(std::ranges::equal((*got)[1].view(), bytes_view(big).subspan(4090, 5000)));
    EXPECT_TRUE(std::ranges::equal((*got)[2].view(), pattern(1, 5000)));
    EXPECT_TRUE(std::ranges::equal((*got)[3].view(), bytes_view(big).subspan(69'999, 1)));
}

TEST_P(share_store_conformance, full_chunk_round_trip) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {4U << 20U}, 20'000));
    expect_piece(1, 0, 4U << 20U);
    ASSERT_TRUE(append(record(1, 100, {id(1)})));
    harness_->reopen();
    expect_piece(1, 0, 4U << 20U);
}

TEST_P(share_store_conformance, get_rejects_what_is_outside) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {100, 200}, 10));
    std::vector<share_range> range(1);
    range[0].part = 1, range[0].offset = 150, range[0].size = 51;
    expect_error(run(store().get(id(1), range)), errc::bad_argument);
    range[0].part = 2, range[0].offset = 0, range[0].size = 1;
    expect_error(run(store().get(id(1), range)), errc::bad_argument);
    expect_error(run(store().get(id(1), std::vector{side_range(10, 1)})), errc::bad_argument);
    range[0].part = 0, range[0].offset = 0xffffffffU, range[0].size = 0xffffffffU;
    expect_error(run(store().get(id(1), range)), errc::bad_argument);
    range[0].offset = 0, range[0].size = 1;
    expect_error(run(store().get(id(2), range)), errc::not_found);
    expect_error(run(store().describe(id(2))), errc::not_found);
    expect_error(run(store().get(id(1), std::vector<share_range>(get_range_count_max + 1))), errc::too_large);
}

TEST_P(share_store_conformance, describe_tells_what_was_put) {
    promise(first_ballot);
    share_put sent = share(9, {10, 5000}, 33);
    sent.index.value = 2;
    sent.policy.bytes[3] = std::byte{7};
    ASSERT_TRUE(run(store().put(sent)));
    const auto got = run(store().describe(id(9)));
    ASSERT_TRUE(got);
    EXPECT_EQ(got->index.value, 2);
    EXPECT_EQ(got->policy, sent.policy);
    EXPECT_EQ(got->side_size, 33U);
    EXPECT_EQ(got->piece_sizes, (std::vector<std::uint32_t>{10, 5000}));
}

TEST_P(share_store_conformance, second_put_must_be_equal) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {5000, 10}));
    EXPECT_TRUE(put(1, {5000, 10}));
    share_put other = share(1, {5000, 10});
    other.pieces[1] = bytes(10, 4242);
    expect_code(run(store().put(other)), errc::conflict);
    other = share(1, {5000, 10});
    other.side = bytes(48, 4243);
    expect_code(run(store().put(other)), errc::conflict);
    other = share(1, {5000, 10});
    other.index.value = 0;
    expect_code(run(store().put(other)), errc::conflict);
    expect_code(put(1, {5000}), errc::conflict);
    expect_piece(1, 1, 10);
}

TEST_P(share_store_conformance, put_rejects_bad_shares) {
    promise(first_ballot);
    expect_code(put(1, {}), errc::bad_argument);
    expect_code(put(1, {10, 0}), errc::bad_argument);
    share_put wrong = share(1, {10});
    wrong.index.value = site_count_max;
    expect_code(run(store().put(wrong)), errc::bad_argument);
    wrong = share(1, {10});
    wrong.pieces.assign(chunk_piece_count_max + 1, bytes(1, 1));
    expect_code(run(store().put(wrong)), errc::too_large);
    expect_code(put(1, {share_size_max, 1}), errc::too_large);
    EXPECT_TRUE(run(store().list(chunk_id(), 10))->empty());
}

TEST_P(share_store_conformance, list_is_ascending_and_pages) {
    promise(first_ballot);
    for (const std::uint64_t sequence : sequences{40, 10, 30, 20, 50}) ASSERT_TRUE(put(sequence, {16}, 0));
    EXPECT_EQ(*run(store().list(chunk_id(), 100)), (std::vector{id(10), id(20), id(30), id(40), id(50)}));
    EXPECT_EQ(*run(store().list(chunk_id(), 2)), (std::vector{id(10), id(20)}));
    EXPECT_EQ(*run(store().list(id(20), 2)), (std::vector{id(30), id(40)}));
    EXPECT_EQ(*run(store().list(id(45), 2)), (std::vector{id(50)}));
    EXPECT_TRUE(run(store().list(id(50), 2))->empty());
    expect_error(run(store().list(chunk_id(), list_count_max + 1)), errc::too_large);
}

TEST_P(share_store_conformance, append_makes_puts_and_itself_durable) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {5000, 77}));
    ASSERT_TRUE(put(2, {100}));
    ASSERT_TRUE(append(record(1, 300, {id(1), id(2)})));
    harness_->reopen();
    expect_piece(1, 0, 5000);
    expect_piece(1, 1, 77);
    expect_piece(2, 0, 100);
    const auto entries = run(store().read_journal(1, 1U << 20U));
    ASSERT_TRUE(entries);
    ASSERT_EQ(entries->size(), 1U);
    EXPECT_EQ((*entries)[0].sequence, 1U);
    EXPECT_EQ((*entries)[0].epoch, first_ballot);
    EXPECT_EQ((*entries)[0].chunks, (std::vector{id(1), id(2)}));
    EXPECT_TRUE(std::ranges::equal((*entries)[0].share.view(), record(1, 300).entry.share.view()));
}

TEST_P(share_store_conformance, append_needs_its_chunks) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {100}));
    expect_code(append(record(1, 10, {id(1), id(2)})), errc::not_found);
    EXPECT_EQ(run(store().state())->journal.last, 0U);
    ASSERT_TRUE(put(2, {100}));
    EXPECT_TRUE(append(record(1, 10, {id(1), id(2)})));
}

TEST_P(share_store_conformance, append_order_rules) {
    promise(first_ballot);
    expect_code(append(record(0)), errc::bad_argument);
    expect_code(append(record(2)), errc::conflict);
    ASSERT_TRUE(append(record(1)));
    ASSERT_TRUE(append(record(2)));
    EXPECT_TRUE(append(record(2)));  // a repeat
    EXPECT_TRUE(append(record(1)));
    append_request other = record(2);
    other.entry.share = bytes(100, 31337);
    expect_code(append(other), errc::conflict);
    other = record(2);
    other.entry.chunks.push_back(id(1));
    expect_code(append(other), errc::conflict);
    expect_code(append(record(4)), errc::conflict);
    other = record(3);
    other.entry.epoch = second_ballot;  // of the future
    expect_code(append(other), errc::bad_argument);
    EXPECT_EQ(journal_sequences(), (sequences{1, 2}));
    const journal_span span = run(store().state())->journal;
    EXPECT_EQ(span.first, 1U);
    EXPECT_EQ(span.last, 2U);
    EXPECT_EQ(span.last_epoch, first_ballot);
}

TEST_P(share_store_conformance, greater_epoch_replaces_and_drops_what_follows) {
    promise(first_ballot);
    for (std::uint64_t i = 1; i <= 4; ++i) ASSERT_TRUE(append(record(i)));
    promise(second_ballot);
    ASSERT_TRUE(append(record(3, 50)));
    EXPECT_EQ(journal_sequences(), (sequences{1, 2, 3}));
    harness_->reopen();
    EXPECT_EQ(journal_sequences(), (sequences{1, 2, 3}));
    EXPECT_EQ(run(store().state())->journal.last_epoch, second_ballot);
    append_request old = record(3);
    old.entry.epoch = first_ballot;
    expect_code(append(old), errc::stale_epoch);
    old = record(4);  // a record of an earlier epoch, copied by its successor
    old.entry.epoch = first_ballot;
    EXPECT_TRUE(append(old));
    promise(third_ballot);
    old = record(3, 60);  // who comes after both decides for the earlier one
    old.entry.epoch = first_ballot;
    ASSERT_TRUE(append(old));
    EXPECT_TRUE(append(old));
    EXPECT_EQ(journal_sequences(), (sequences{1, 2, 3}));
    EXPECT_EQ(run(store().state())->journal.last_epoch, first_ballot);
    harness_->reopen();
    EXPECT_EQ(run(store().state())->journal.last_epoch, first_ballot);
    ASSERT_TRUE(append(record(4)));
}

TEST_P(share_store_conformance, restart_drops_everything_before) {
    promise(first_ballot);
    for (std::uint64_t i = 1; i <= 3; ++i) ASSERT_TRUE(append(record(i)));
    append_request anew = record(90);
    anew.restart = true;
    ASSERT_TRUE(append(anew));
    EXPECT_EQ(journal_sequences(), (sequences{90}));
    ASSERT_TRUE(append(record(91)));
    EXPECT_TRUE(append(anew));  // a late repeat loses nothing
    EXPECT_EQ(journal_sequences(), (sequences{90, 91}));
    append_request middle = record(91);
    middle.restart = true;
    ASSERT_TRUE(append(middle));
    EXPECT_EQ(journal_sequences(), (sequences{91}));
    append_request back = record(10);
    back.restart = true;
    ASSERT_TRUE(append(back));
    harness_->reopen();
    EXPECT_EQ(journal_sequences(), (sequences{10}));
    expect_code(append(record(12)), errc::conflict);
    EXPECT_TRUE(append(record(11)));
}

TEST_P(share_store_conformance, cut_drops_the_front) {
    promise(first_ballot);
    expect_code(run(store().cut_journal(writer_, 1)), errc::bad_argument);
    for (std::uint64_t i = 1; i <= 5; ++i) ASSERT_TRUE(append(record(i)));
    ASSERT_TRUE(run(store().cut_journal(writer_, 4)));
    EXPECT_TRUE(run(store().cut_journal(writer_, 2)));  // already gone
    expect_code(run(store().cut_journal(writer_, 6)), errc::bad_argument);
    EXPECT_EQ(journal_sequences(), (sequences{4, 5}));
    EXPECT_EQ(run(store().state())->journal.first, 4U);
    expect_code(append(record(3)), errc::conflict);
    ASSERT_TRUE(run(store().sync()));
    harness_->reopen();
    EXPECT_EQ(journal_sequences(), (sequences{4, 5}));
    EXPECT_TRUE(append(record(6)));
}

TEST_P(share_store_conformance, read_journal_pages) {
    promise(first_ballot);
    for (std::uint64_t i = 1; i <= 6; ++i) ASSERT_TRUE(append(record(i, i == 3 ? 200'000 : 1000)));
    EXPECT_EQ(journal_sequences(2, 1), (sequences{2}));  // at least one
    EXPECT_EQ(journal_sequences(3, 1000), (sequences{3}));
    EXPECT_EQ(journal_sequences(4, 2500), (sequences{4, 5}));
    EXPECT_EQ(journal_sequences(7), sequences{});
    const auto big = run(store().read_journal(3, 1));
    ASSERT_TRUE(big);
    EXPECT_TRUE(std::ranges::equal((*big)[0].share.view(), record(3, 200'000).entry.share.view()));
}

TEST_P(share_store_conformance, large_records_survive) {
    promise(first_ballot);
    ASSERT_TRUE(append(record(1, 3U << 20U)));
    ASSERT_TRUE(append(record(2, 20'000)));
    append_request other = record(1, 3U << 20U);
    other.entry.share = bytes(3U << 20U, 5);
    expect_code(append(other), errc::conflict);
    EXPECT_TRUE(append(record(1, 3U << 20U)));
    harness_->reopen();
    const auto entries = run(store().read_journal(1, 16U << 20U));
    ASSERT_TRUE(entries) << entries.error().message();
    ASSERT_EQ(entries->size(), 2U);
    EXPECT_TRUE(std::ranges::equal((*entries)[0].share.view(), record(1, 3U << 20U).entry.share.view()));
    EXPECT_TRUE(std::ranges::equal((*entries)[1].share.view(), record(2, 20'000).entry.share.view()));
}

TEST_P(share_store_conformance, remove_whole_chunks) {
    promise(first_ballot);
    for (const std::uint64_t i : sequences{1, 2, 3}) ASSERT_TRUE(put(i, {6000}));
    ASSERT_TRUE(append(record(1, 10, {id(1), id(2), id(3)})));
    ASSERT_TRUE(run(store().remove(writer_, std::vector{removal(1), removal(3), removal(77)})));
    EXPECT_TRUE(run(store().remove(writer_, std::vector{removal(1)})));  // a repeat is harmless
    expect_error(run(store().describe(id(1))), errc::not_found);
    EXPECT_EQ(*run(store().list(chunk_id(), 9)), std::vector{id(2)});
    ASSERT_TRUE(run(store().sync()));
    harness_->reopen();
    EXPECT_EQ(*run(store().list(chunk_id(), 9)), std::vector{id(2)});
    EXPECT_EQ(journal_sequences(), (sequences{1}));  // a record does not vanish because its chunks were removed later
    expect_piece(2, 0, 6000);
}

TEST_P(share_store_conformance, remove_pieces_and_side_ranges) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {5000, 6000, 7000}, 96));
    ASSERT_TRUE(append(record(1, 10, {id(1)})));
    ASSERT_TRUE(run(store().remove(writer_, std::vector{removal(1, {1}, {side_range(32, 32)})})));
    const auto check = [this] {
        EXPECT_EQ(run(store().describe(id(1)))->piece_sizes, (std::vector<std::uint32_t>{5000, 0, 7000}));
        share_range gone;
        gone.part = 1;
        gone.size = 1;
        expect_error(run(store().get(id(1), std::vector{gone})), errc::not_found);
        expect_piece(1, 0, 5000);
        expect_piece(1, 2, 7000);
        auto side = pattern(96, 1999);
        std::fill(side.begin() + 32, side.begin() + 64, std::byte{0});
        const auto got = run(store().get(id(1), std::vector{side_range(0, 96)}));
        ASSERT_TRUE(got);
        EXPECT_TRUE(std::ranges::equal((*got)[0].view(), side));
    };
    check();
    ASSERT_TRUE(run(store().sync()));
    harness_->reopen();
    check();
    EXPECT_TRUE(put(1, {5000, 6000, 7000}, 96));  // a late repeat of the put brings nothing back
    check();
    ASSERT_TRUE(run(store().remove(writer_, std::vector{removal(1, {1, 0})})));
    ASSERT_TRUE(run(store().remove(writer_, std::vector{removal(1, {2})})));  // the last piece takes the chunk along
    expect_error(run(store().describe(id(1))), errc::not_found);
}

TEST_P(share_store_conformance, remove_rejects_what_never_was_and_changes_nothing) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {100, 100}, 10));
    expect_code(run(store().remove(writer_, std::vector{removal(1, {0}), removal(1, {2})})), errc::bad_argument);
    expect_code(run(store().remove(writer_, std::vector{removal(1, {0}, {side_range(5, 6)})})), errc::bad_argument);
    share_range piece;
    piece.size = 1;
    expect_code(run(store().remove(writer_, std::vector{removal(1, {0}, {piece})})), errc::bad_argument);
    expect_code(run(store().remove(writer_, std::vector<share_removal>(remove_count_max + 1))), errc::too_large);
    EXPECT_EQ(run(store().describe(id(1)))->piece_sizes, (std::vector<std::uint32_t>{100, 100}));
}

TEST_P(share_store_conformance, many_pieces_can_go_one_by_one) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, std::vector<std::size_t>(chunk_piece_count_max, 33), 4096));
    for (std::uint32_t i = 1; i < chunk_piece_count_max; i += 2)
        ASSERT_TRUE(run(store().remove(writer_, std::vector{removal(1, {i}, {side_range(i * 4, 4)})})));
    ASSERT_TRUE(run(store().sync()));
    harness_->reopen();
    const auto description = run(store().describe(id(1)));
    ASSERT_TRUE(description);
    for (std::uint32_t i = 0; i < chunk_piece_count_max; ++i)
        ASSERT_EQ(description->piece_sizes[i], i % 2 == 0 ? 33U : 0U);
    for (std::uint32_t i = 0; i < chunk_piece_count_max; i += 2) expect_piece(1, i, 33);
}

TEST_P(share_store_conformance, pins_keep_removed_chunks_readable_for_a_while) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {5000, 60}));
    ASSERT_TRUE(put(2, {5000, 60}));
    ASSERT_TRUE(append(record(1, 10, {id(1), id(2)})));
    ASSERT_TRUE(run(store().pin(std::vector{id(1), id(2)}, 60'000)));
    ASSERT_TRUE(run(store().remove(writer_, std::vector{removal(1), removal(2, {1})})));
    ASSERT_TRUE(run(store().sync()));
    expect_piece(1, 0, 5000);
    expect_piece(2, 1, 60);
    EXPECT_EQ(*run(store().list(chunk_id(), 9)), std::vector{id(2)});
    harness_->reopen();  // pins are volatile
    expect_error(run(store().describe(id(1))), errc::not_found);
    EXPECT_EQ(run(store().describe(id(2)))->piece_sizes, (std::vector<std::uint32_t>{5000, 0}));
    expect_error(run(store().pin(std::vector{id(1)}, 10)), errc::not_found);
    ASSERT_TRUE(run(store().pin(std::vector{id(2)}, 1)));
    ASSERT_TRUE(run(store().remove(writer_, std::vector{removal(2)})));
    share_range all;
    all.size = 5000;
    for (int i = 0; i < 2000; ++i) {  // it expires some time after its millisecond
        const auto got = run(store().get(id(2), std::vector{all}));
        if (!got) {
            EXPECT_EQ(got.error().code, errc::not_found);
            return;
        }
    }
    asio::steady_timer timer(harness_->core(), std::chrono::milliseconds(50));
    timer.wait();
    expect_error(run(store().get(id(2), std::vector{all})), errc::not_found);
}

TEST_P(share_store_conformance, heartbeat_is_told_with_its_age_and_forgotten_by_a_crash) {
    promise(first_ballot);
    writer_identity writer;
    writer.machine = "machine";
    writer.boot = "boot";
    writer.pid = 1234;
    writer.start = 99;
    ASSERT_TRUE(run(store().heartbeat(writer_, writer)));
    const auto state = run(store().state());
    ASSERT_TRUE(state->heartbeat);
    EXPECT_EQ(state->heartbeat->authority, first_ballot);
    EXPECT_EQ(state->heartbeat->writer, writer);
    EXPECT_LT(state->heartbeat->age_ms, 10'000U);
    harness_->reopen();
    EXPECT_FALSE(run(store().state())->heartbeat);
}

TEST_P(share_store_conformance, reservations_are_taken_off_and_drawn_on) {
    promise(first_ballot);
    const std::uint64_t before = run(store().state())->free;
    ASSERT_TRUE(run(store().reserve(writer_, 65536)));
    const std::uint64_t reserved = run(store().state())->free;
    EXPECT_LE(reserved, before - 65536);
    ASSERT_TRUE(put(1, {16384}, 0));
    EXPECT_EQ(run(store().state())->free, reserved);  // the put drew on the reservation
    expect_code(run(store().reserve(writer_, before)), errc::no_space);
    harness_->reopen();
    EXPECT_GT(run(store().state())->free, reserved);  // dropped
}

TEST_P(share_store_conformance, full_store_says_so_and_serves_on) {
    const std::uint64_t capacity = harness_->capacity();
    if (capacity == 0) GTEST_SKIP() << "this store cannot be filled within a test";
    promise(first_ballot);
    constexpr std::size_t size = 1U << 20U;
    std::uint64_t count = 0;
    for (;; ++count) {
        ASSERT_LE(count, capacity / size);
        const auto done = put(count + 1, {size}, 0);
        if (done) continue;
        expect_code(done, errc::no_space);
        break;
    }
    ASSERT_GE(count, 2U);
    expect_piece(count, 0, size);
    ASSERT_TRUE(append(record(1, 100, {id(1)})));  // the journal still runs
    std::vector<share_removal> removals;
    for (std::uint64_t i = 1; i <= count; ++i) removals.push_back(removal(i));
    ASSERT_TRUE(run(store().remove(writer_, removals)));
    ASSERT_TRUE(run(store().sync()));
    for (std::uint64_t i = 1; i <= count; ++i) {
        const auto again = put(1000 + i, {size}, 0);
        ASSERT_TRUE(again) << again.error().message();
    }
}

TEST_P(share_store_conformance, sync_makes_puts_and_removes_durable) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {100}));
    ASSERT_TRUE(put(2, {100}));
    ASSERT_TRUE(run(store().sync()));
    ASSERT_TRUE(run(store().remove(writer_, std::vector{removal(1)})));
    ASSERT_TRUE(run(store().sync()));
    harness_->reopen();
    EXPECT_EQ(*run(store().list(chunk_id(), 9)), std::vector{id(2)});
    expect_piece(2, 0, 100);
}

TEST_P(share_store_conformance, crash_without_flush_leaves_whole_shares_or_none) {
    promise(first_ballot);
    ASSERT_TRUE(put(1, {9000, 20}));
    ASSERT_TRUE(append(record(1, 10, {id(1)})));
    ASSERT_TRUE(put(2, {9000, 20}));  // not covered
    harness_->reopen();
    expect_piece(1, 0, 9000);
    EXPECT_EQ(journal_sequences(), (sequences{1}));
    if (run(store().describe(id(2)))) expect_piece(2, 0, 9000);
    EXPECT_TRUE(put(2, {9000, 20}));
    expect_piece(2, 1, 20);
}

TEST_P(share_store_conformance, many_requests_at_once) {
    promise(first_ballot);
    constexpr std::uint64_t count = 100;
    std::uint64_t good = 0, done = 0;
    for (std::uint64_t i = 1; i <= count; ++i) {
        const auto counted = [&good, &done](std::exception_ptr failure, result<void> value) {
            if (failure) std::rethrow_exception(failure);
            done += 1;
            good += value ? 1 : 0;
            if (!value) ADD_FAILURE() << value.error().message();
        };
        asio::co_spawn(harness_->core(), store().put(share(i, {3000 + i})), counted);
        asio::co_spawn(harness_->core(), store().append(record(i, 64)), counted);  // pipelined, in order
    }
    while (done < 2 * count) {
        if (harness_->core().stopped()) harness_->core().restart();
        harness_->core().run_one();
    }
    EXPECT_EQ(good, 2 * count);
    ASSERT_TRUE(run(store().sync()));
    harness_->reopen();
    EXPECT_EQ(run(store().list(chunk_id(), count + 1))->size(), count);
    EXPECT_EQ(journal_sequences().size(), count);
    for (const std::uint64_t i : sequences{1, 50, 100}) expect_piece(i, 0, 3000 + i);
}

}  // namespace warifu
