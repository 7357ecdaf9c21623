#include "keyd/pool/ledger.h"

#include <map>
#include <random>

#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "fs/base/limits.h"
#include "keyd/pool/pool_state.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t ledger_block_size = 128U << 10U;

std::vector<ledger_record> one_of_each() {
    const auto block = make_block(ab, 0, 1U << 20U);
    auto stored = block;
    stored.stream = {};  // records name streams by number
    const window_spent window{0, {8192, 1000}, random_uuid<session_id>(), key_use::control, 1234};
    return {stream_added{0, ab},
            block_imported{0, stored, -5},
            window,
            window_closed{0, {8192, 1000}, 8500, false},
            range_burnt{0, {20'000, 5}},
            floor_raised{0, 9000},
            hello_spent{0, {96, 96}},
            range_erased{0, {8192, 308}},
            ids_known{{random_uuid<block_id>(), random_uuid<block_id>()}},
            range_known{0, {1ULL << 40U, 4096}},
            window_history{window, 9000, true},
            stream_totals{0, 1, 2, 3, 4, claim::simulated},
            block_gone{0, 0}};
}

TEST(ledger_record, round_trip_and_no_prefix_decodes) {
    for (const auto& record : one_of_each()) {
        const auto bytes = encode_ledger_record(record);
        const auto back = decode_ledger_record(bytes);
        ASSERT_TRUE(back) << back.error().message();
        EXPECT_TRUE(*back == record) << record.index();
        for (std::size_t size = 0; size < bytes.size(); ++size)
            EXPECT_FALSE(decode_ledger_record(bytes_view(bytes).first(size))) << record.index() << " cut at " << size;
    }
    EXPECT_FALSE(decode_ledger_record(byte_vector{std::byte{99}}));
}

TEST(ledger, keeps_records_over_reopening) {
    const temporary_directory directory;
    const auto records = one_of_each();
    {
        auto opened = ledger::open(directory.path(), "a");
        ASSERT_TRUE(opened) << opened.error().message();
        EXPECT_TRUE(opened->contents.records.empty());
        for (const auto& record : records) ASSERT_TRUE(opened->log.append(record));
        ASSERT_TRUE(opened->log.sync());
    }
    auto opened = ledger::open(directory.path(), "a");
    ASSERT_TRUE(opened);
    EXPECT_EQ(opened->contents.records, records);
    ASSERT_TRUE(opened->log.replace({records[0]}));
    ASSERT_TRUE(opened->log.append(records[1]));
    ASSERT_TRUE(opened->log.sync());
    const auto again = read_ledger(directory / "ledger");
    ASSERT_TRUE(again);
    EXPECT_EQ(again->records, (std::vector<ledger_record>{records[0], records[1]}));
    EXPECT_EQ(again->header.generation, 1U);
    EXPECT_EQ(ledger::open(directory.path(), "b").error().code, errc::denied);
}

/// Cut anywhere: every record that lies before the cut is there, and the ledger can be written on.
TEST(ledger, torn_at_every_byte) {
    const temporary_directory directory;
    const auto records = one_of_each();
    std::vector<std::uint64_t> ends;
    {
        auto opened = ledger::open(directory.path(), "a");
        ASSERT_TRUE(opened);
        ends.push_back(opened->log.size());
        for (const auto& record : records) {
            ASSERT_TRUE(opened->log.append(record));
            ASSERT_TRUE(opened->log.sync());
            ends.push_back(opened->log.size());
        }
    }
    const auto whole = read_all(directory / "ledger");
    for (std::size_t size = ledger_header_size; size < whole.size(); ++size) {
        const auto expected = static_cast<std::size_t>(std::ranges::upper_bound(ends, size) - ends.begin()) - 1;
        const auto parsed = parse_ledger(bytes_view(whole).first(size));
        ASSERT_TRUE(parsed) << size;
        ASSERT_EQ(parsed->records.size(), expected) << size;
        ASSERT_EQ(parsed->torn, size != ends[expected]);
        if (size % 16 != 0) continue;  // writing on is checked at a sixteenth of the places
        write_all(directory / "ledger", bytes_view(whole).first(size));
        auto opened = ledger::open(directory.path(), "a");
        ASSERT_TRUE(opened) << size;
        ASSERT_TRUE(opened->log.append(records[0]));
        ASSERT_TRUE(opened->log.sync());
        const auto back = read_ledger(directory / "ledger");
        ASSERT_TRUE(back) << size;
        EXPECT_FALSE(back->torn);
        ASSERT_EQ(back->records.size(), expected + 1);
        EXPECT_TRUE(back->records.back() == records[0]);
    }
    for (std::size_t size = 0; size < ledger_header_size; ++size)
        EXPECT_FALSE(parse_ledger(bytes_view(whole).first(size))) << "a ledger is born whole";
}

/// A flushed record that is damaged is never taken for a torn tail, as later records bear witness to the flush.
TEST(ledger, a_damaged_flushed_record_is_refused) {
    const temporary_directory directory;
    const auto records = one_of_each();
    std::uint64_t last_start = 0;
    {
        auto opened = ledger::open(directory.path(), "a");
        for (const auto& record : records) {
            last_start = opened->log.size();
            ASSERT_TRUE(opened->log.append(record));
            ASSERT_TRUE(opened->log.sync());
        }
    }
    const auto good = read_all(directory / "ledger");
    for (std::size_t i = 0; i < good.size(); ++i) {
        auto bad = good;
        bad[i] ^= std::byte{0x41};
        const auto parsed = parse_ledger(bad);
        if (i < last_start) {
            EXPECT_FALSE(parsed) << i;
        } else {
            ASSERT_TRUE(parsed) << i;
            EXPECT_EQ(parsed->records.size(), records.size() - 1);
        }
    }
}

TEST(ledger, records_that_were_never_flushed_may_tear_in_any_order) {
    const temporary_directory directory;
    const auto records = one_of_each();
    std::uint64_t flushed = 0;
    {
        auto opened = ledger::open(directory.path(), "a");
        ASSERT_TRUE(opened->log.append(records[0]));
        ASSERT_TRUE(opened->log.sync());
        flushed = opened->log.size();
        for (int i = 1; i < 5; ++i) ASSERT_TRUE(opened->log.append(records[1]));
    }
    auto bytes = read_all(directory / "ledger");
    bytes[flushed + 30] ^= std::byte{1};  // the first unflushed page was lost, later ones were not
    const auto parsed = parse_ledger(bytes);
    ASSERT_TRUE(parsed) << parsed.error().message();
    EXPECT_TRUE(parsed->torn);
    EXPECT_EQ(parsed->records.size(), 1U);
}

/// What a compaction wrote was flushed before it got its name: not one byte of it may tear.
TEST(ledger, a_compacted_ledger_has_no_torn_tail) {
    const temporary_directory directory;
    const auto records = one_of_each();
    std::uint64_t snapshot_end = 0;
    {
        auto opened = ledger::open(directory.path(), "a");
        ASSERT_TRUE(opened->log.append(records[0]));
        ASSERT_TRUE(opened->log.replace(records));
        snapshot_end = opened->log.size();
        ASSERT_TRUE(opened->log.append(records[2]));
    }
    const auto whole = read_all(directory / "ledger");
    for (std::size_t i = 0; i < whole.size(); ++i) {
        auto bad = whole;
        bad[i] ^= std::byte{0x41};
        const bytes_view alone = bytes_view(bad).first(snapshot_end);
        EXPECT_EQ(parse_ledger(bad).has_value(), i >= snapshot_end) << i;
        if (i < snapshot_end) EXPECT_FALSE(parse_ledger(alone)) << i;
        const auto cut = parse_ledger(bytes_view(whole).first(i));
        EXPECT_EQ(cut.has_value(), i >= snapshot_end) << "cut at " << i;
        if (cut) EXPECT_EQ(cut->records.size(), records.size());
    }
    const auto good = parse_ledger(whole);
    ASSERT_TRUE(good);
    EXPECT_EQ(good->header.first, 2U);
    EXPECT_EQ(good->header.durable, 2U + records.size());
}

/// What the first release wrote: the same, without numbers in the header.
TEST(ledger, version_1_is_read_and_written_on) {
    const temporary_directory directory;
    const auto records = one_of_each();
    {
        auto opened = ledger::open(directory.path(), "a");
        for (const auto& record : records) ASSERT_TRUE(opened->log.append(record));
        ASSERT_TRUE(opened->log.sync());
    }
    auto bytes = read_all(directory / "ledger");
    bytes[9] = std::byte{1};
    std::fill(bytes.begin() + 108, bytes.begin() + 124, std::byte{0});
    writer crc;
    crc.put_be(crc32c(bytes_view(bytes).first(124)));
    std::ranges::copy(crc.view(), bytes.begin() + 124);
    write_all(directory / "ledger", bytes);
    auto opened = ledger::open(directory.path(), "a");
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ(opened->contents.records, records);
    ASSERT_TRUE(opened->log.append(records[2]));
    ASSERT_TRUE(opened->log.sync());
    EXPECT_EQ(read_ledger(directory / "ledger")->records.size(), records.size() + 1);
    ASSERT_TRUE(opened->log.replace(records));
    EXPECT_EQ(read_ledger(directory / "ledger")->header.first, records.size() + 2);
}

/// A block of 128 KiB at 0, 4 KiB of it hello region, with the events before; the last one must be refused or taken.
TEST(pool_state, overlapping_handouts_are_a_contradiction) {
    const auto window = [](std::uint64_t offset, std::uint64_t size) {
        return window_spent{0, {offset, size}, {}, key_use::bulk, 0};
    };
    struct row {
        const char* what;
        std::vector<ledger_record> events;
        bool good;
    };
    const std::vector<row> rows{
        {"apart", {window(5000, 100), window(5100, 100)}, true},
        {"the same again", {window(5000, 100), window(5000, 100)}, false},
        {"one byte in common", {window(5000, 100), window(5099, 100)}, false},
        {"around a small one", {window(5000, 10), window(4900, 1000)}, false},
        {"burnt bytes", {range_burnt{0, {5000, 1}}, window(4900, 200)}, false},
        {"below the floor", {floor_raised{0, 5000}, window(4999, 100)}, false},
        {"used bytes", {window(5000, 100), window_closed{0, {5000, 100}, 5010, false}, window(5009, 10)}, false},
        {"a released tail", {window(5000, 100), window_closed{0, {5000, 100}, 5010, false}, window(5010, 90)}, true},
        {"of a burnt window", {window(5000, 100), window_closed{0, {5000, 100}, 5100, true}, window(5010, 90)}, false},
    };
    for (const auto& [what, events, good] : rows) {
        pool_state state;
        ASSERT_TRUE(state.apply(stream_added{0, ab}));
        ASSERT_TRUE(state.apply(block_imported{0, make_block(ab, 0, ledger_block_size), 0}));
        for (std::size_t i = 0; i + 1 < events.size(); ++i) ASSERT_TRUE(state.apply(events[i])) << what;
        const auto free = state.streams()[0].free_bytes;
        const auto last = state.apply(events.back());
        EXPECT_EQ(last.has_value(), good) << what;
        if (!last) {
            EXPECT_EQ(last.error().code, errc::bad_format) << what;
            EXPECT_EQ(state.streams()[0].free_bytes, free) << what;
        }
    }
}

/// Sets at their bound on the way out must not close gaps on the way in.
TEST(pool_state, a_snapshot_of_full_interval_sets_is_taken_back) {
    pool_state state;
    ASSERT_TRUE(state.apply(stream_added{0, ab}));
    constexpr std::uint64_t size = 64U << 10U;
    // Every second place of the stream was covered once; every second of those is gone.
    for (std::uint64_t i = 0; i < interval_count_max; ++i) {
        ASSERT_TRUE(state.apply(block_imported{0, make_block(ab, 2 * i * size, size), 0}));
        if (i % 2 == 1) ASSERT_TRUE(state.apply(block_gone{0, 2 * i * size}));
    }
    // In one block windows that are out lie between burnt pieces, each apart from the next.
    for (std::uint64_t i = 0; i < interval_count_max; ++i) {
        const pad_range piece{4096 + 10 * i, 4};
        if (i % 2 == 0) ASSERT_TRUE(state.apply(window_spent{0, piece, {}, key_use::bulk, 0}));
        if (i % 2 == 1) ASSERT_TRUE(state.apply(range_burnt{0, piece}));
        if (i % 4 == 0) {  // the end of one window may be the begin of the next
            ASSERT_TRUE(state.apply(window_spent{0, {piece.end(), 2}, {}, key_use::bulk, 0}));
        }
    }
    pool_state again;
    for (const auto& record : state.snapshot()) {
        const auto applied = again.apply(record);
        ASSERT_TRUE(applied) << applied.error().message();
    }
    EXPECT_EQ(again.snapshot(), state.snapshot());
    EXPECT_EQ(again.streams()[0].free_bytes, state.streams()[0].free_bytes);
    EXPECT_EQ(again.streams()[0].ever, state.streams()[0].ever);
    EXPECT_EQ(again.streams()[0].open.size(), interval_count_max / 2 + interval_count_max / 4);
}

/// Some event that may make sense.
void random_event(pool_state& state, std::mt19937& random, int step) {
    const auto stream = static_cast<std::uint16_t>(random() % 2);
    const std::uint64_t offset = random() % (3 * ledger_block_size);
    const pad_range range{offset, 1 + random() % 9000};
    const auto& open = state.streams()[stream].open;
    switch (random() % 8) {
        case 0: {
            const auto* block = state.streams()[stream].data_block(range);
            if (block != nullptr && !block->spent.intersects(range.offset, range.end()))
                (void)state.apply(window_spent{stream, range, {}, key_use::bulk, step});
            break;
        }
        case 1:
            if (!open.empty()) {
                const auto window = open.begin()->second.range;
                (void)state.apply(
                    window_closed{stream, window, window.offset + random() % (window.size + 1), random() % 3 == 0});
            }
            break;
        case 2:
            (void)state.apply(range_burnt{stream, range});
            break;
        case 3:
            (void)state.apply(
                hello_spent{stream, {offset / ledger_block_size * ledger_block_size + offset % 4000 / 96 * 96, 96}});
            break;
        case 4:
            (void)state.apply(range_erased{stream, range});
            break;
        case 5:
            if (random() % 8 == 0) (void)state.apply(floor_raised{stream, offset / 4});
            break;
        case 6:
            if (random() % 8 == 0)
                (void)state.apply(block_gone{stream, offset / ledger_block_size * ledger_block_size});
            break;
        default:
            break;
    }
}

void expect_same(const pool_state& state, const pool_state& again) {
    for (std::size_t i = 0; i < 2; ++i) {
        const auto& a = state.streams()[i];
        const auto& b = again.streams()[i];
        EXPECT_EQ(b.free_bytes, a.free_bytes);
        EXPECT_EQ(b.hello_slots_free, a.hello_slots_free);
        EXPECT_EQ(b.free_blocks, a.free_blocks);
        EXPECT_EQ(b.ever, a.ever);
        EXPECT_EQ(b.history.size(), a.history.size());
        std::uint64_t free = 0, slots = 0;
        for (const auto& [offset, block] : a.blocks) {
            free += block.free_bytes();
            slots += block.hello_slots_free();
        }
        EXPECT_EQ(a.free_bytes, free) << "the running sums are right";
        EXPECT_EQ(a.hello_slots_free, slots);
    }
}

TEST(pool_state, a_snapshot_leads_to_the_same_state) {
    std::mt19937 random(7);
    for (int round = 0; round < 50; ++round) {
        pool_state state;
        ASSERT_TRUE(state.apply(stream_added{0, ab}));
        ASSERT_TRUE(state.apply(stream_added{1, ba}));
        for (std::uint16_t i = 0; i < 6; ++i) {
            auto block = make_block(ab, i / 2 * ledger_block_size, ledger_block_size);
            ASSERT_TRUE(state.apply(block_imported{static_cast<std::uint16_t>(i % 2), block, i}));
        }
        for (int step = 0; step < 60; ++step) random_event(state, random, step);
        const auto records = state.snapshot();
        pool_state again;
        for (const auto& record : records) {
            const auto bytes = encode_ledger_record(record);
            const auto applied = again.apply(*decode_ledger_record(bytes));
            ASSERT_TRUE(applied) << applied.error().message();
        }
        EXPECT_EQ(again.snapshot(), records);
        expect_same(state, again);
    }
}

TEST(block_id_set, remembers_ten_thousand) {
    block_id_set set;
    std::vector<block_id> ids(10'000);
    for (auto& id : ids) {
        id = random_uuid<block_id>();
        ASSERT_TRUE(set.insert(id));
    }
    for (const auto& id : ids) {
        ASSERT_TRUE(set.contains(id));
        ASSERT_FALSE(set.insert(id));
    }
    EXPECT_EQ(set.size(), ids.size());
    EXPECT_FALSE(set.contains(random_uuid<block_id>()));
}

}  // namespace
}  // namespace warifu
