// What the sector store does beyond the conformance suite: damage, refusal, full disks, rebuilding, costs.

#include <fcntl.h>
#include <fstream>
#include <linux/loop.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <thread>
#include <unistd.h>

#include "backends/block/store_test_support.h"
#include "backends/block/superblock.h"
#include "backends/block/test_files.h"

namespace warifu {
namespace {

TEST(block_store, a_commit_of_many_puts_costs_one_flush) {
    memory_disk_store t;
    t.settle();
    const auto before = t.store->status();
    for (std::uint64_t i = 1; i <= 5; ++i) ASSERT_TRUE(t.put(i, {4096, 100}));
    EXPECT_EQ(t.store->status().flush_count, before.flush_count);
    ASSERT_TRUE(t.append({t.id(1), t.id(5)}));
    EXPECT_EQ(t.store->status().flush_count, before.flush_count + 1);
    EXPECT_EQ(t.store->status().commit_count, before.commit_count + 1);
    EXPECT_EQ(t.store->status().bytes_written - before.bytes_written, (5 * 3 + 1) * sector_size);
}

/// A writer sends a record behind the puts that it names, without waiting for their answers: one flush makes all
/// durable.
TEST(block_store, a_record_waits_for_puts_of_its_chunks_that_are_under_way) {
    memory_disk_store t;
    t.settle();
    const auto before = t.store->status();
    int good = 0;
    const auto counted = [&good](std::exception_ptr failure, result<void> value) {
        if (failure) std::rethrow_exception(failure);
        EXPECT_TRUE(value) << value.error().message();
        good += value ? 1 : 0;
    };
    for (const std::uint64_t i : {1U, 2U}) asio::co_spawn(t.core, t.volume->put(t.share(i, {100'000})), counted);
    append_request request;
    request.authority = request.entry.epoch = test_writer;
    request.entry.sequence = 1;
    request.entry.chunks = {t.id(1), t.id(2)};
    request.entry.share = slice(buffer::copy_of(test_bytes(100, 1)));
    asio::co_spawn(t.core, t.volume->append(std::move(request)), counted);
    t.settle();
    EXPECT_EQ(good, 3);
    EXPECT_EQ(t.store->status().commit_count, before.commit_count + 1);
    ASSERT_TRUE(t.reopen());
    EXPECT_EQ(t.count(), 2U);
    EXPECT_EQ(t.run(t.volume->state())->journal.last, 1U);
    t.next_record = 2;
    EXPECT_EQ(t.append({t.id(3)}).error().code, errc::not_found);
}

/// A put of a small share, the record that names it and a reader, all under way, with the share's bytes held back.
/// Another share's bytes were written before, for the same commit.
struct held_put {
    memory_disk_store t;
    std::shared_ptr<event> gate = std::make_shared<event>(t.core.get_executor());
    std::optional<result<void>> put, append;
    std::optional<result<std::vector<slice>>> got;
    std::uint64_t flushes = 0;

    held_put() {
        t.settle();
        EXPECT_TRUE(t.put(2, {4096}));
        flushes = t.disk->flush_count();
        t.disk->hold_next_write = gate;
        asio::co_spawn(t.core, t.volume->put(t.share(1, {4096})), [this](auto, result<void> done) { put = done; });
        append_request request;
        request.authority = request.entry.epoch = test_writer;
        request.entry.sequence = 1;
        request.entry.chunks = {t.id(1)};
        request.entry.share = slice(buffer::copy_of(test_bytes(100, 1)));
        asio::co_spawn(t.core, t.volume->append(std::move(request)),
                       [this](auto, result<void> done) { append = done; });
        share_range range;
        range.size = 4096;
        asio::co_spawn(t.core, t.volume->get(t.id(1), std::vector{range}),
                       [this](auto, result<std::vector<slice>> done) { got = std::move(done); });
        t.core.restart();
        while (t.core.poll() != 0) {
        }
    }
};

TEST(block_store, the_log_is_written_while_the_bytes_of_a_small_share_are_and_flush_and_readers_wait_for_them) {
    held_put h;
    EXPECT_EQ(h.t.count(), 2U) << "logged";
    EXPECT_EQ(h.t.disk->unanswered_writes, 1U) << "the log's write is answered";
    EXPECT_EQ(h.t.disk->flush_count(), h.flushes);
    EXPECT_FALSE(h.put || h.append || h.got);
    h.gate->set();
    h.t.settle();
    EXPECT_TRUE(h.put && *h.put);
    EXPECT_TRUE(h.append && *h.append);
    ASSERT_TRUE(h.got && *h.got);
    EXPECT_TRUE(std::ranges::equal((**h.got)[0].view(), test_bytes(4096, 1000)));
    EXPECT_EQ(h.t.disk->flush_count(), h.flushes + 1);
    ASSERT_TRUE(h.t.reopen());
    EXPECT_EQ(h.t.run(h.t.volume->state())->journal.last, 1U);
    EXPECT_EQ(*h.t.read(1, 0, 0, 4096), test_bytes(4096, 1000));
}

TEST(block_store, a_small_share_whose_bytes_cannot_be_written_ends_all_changes_and_is_never_there) {
    held_put h;
    h.t.disk->fail_writes = true;
    h.gate->set();
    h.t.settle();
    EXPECT_TRUE(h.put && !*h.put);
    EXPECT_TRUE(h.append && !*h.append);
    EXPECT_TRUE(h.got && !*h.got);
    EXPECT_TRUE(h.t.store->status().failed);
    EXPECT_EQ(h.t.store->status().media_errors, 3U) << "the write, the commit that it failed, the read";
    h.t.disk->fail_writes = false;
    ASSERT_TRUE(h.t.reopen());
    EXPECT_EQ(h.t.count(), 1U) << "the other one";
    EXPECT_EQ(h.t.run(h.t.volume->state())->journal.last, 0U);
}

TEST(block_store, every_flipped_bit_of_a_share_is_noticed_and_a_put_heals) {
    memory_disk_store t;
    ASSERT_TRUE(t.put(1, {10'000, 300}));
    ASSERT_TRUE(t.append({t.id(1)}));
    const auto good = test_bytes(10'000, 1000);
    const auto sectors = t.find_sectors(bytes_view(good));
    ASSERT_EQ(sectors.size(), 1U);
    std::mt19937 random(3);
    for (int i = 0; i < 200; ++i) {
        const std::uint64_t sector = sectors[0] + random() % 3;
        const std::size_t bit = random() % (sector_size * 8);
        t.flip(sector, bit);
        const auto got = t.read(1, 0, 0, 10'000);
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().code, errc::bad_checksum);
        EXPECT_TRUE(t.read(1, 1, 0, 300));  // another piece is not concerned
        t.flip(sector, bit);
    }
    EXPECT_EQ(t.store->status().media_errors, 200U);
    t.flip(sectors[0] + 1, 77);
    EXPECT_TRUE(t.read(1, 0, 0, 4096));  // another sector is not concerned
    ASSERT_TRUE(t.put(1, {10'000, 300}));
    EXPECT_EQ(*t.read(1, 0, 0, 10'000), good);
    ASSERT_TRUE(t.run(t.volume->sync()));
    ASSERT_TRUE(t.reopen());
    EXPECT_EQ(*t.read(1, 0, 0, 10'000), good);
}

TEST(block_store, a_flipped_bit_of_a_head_is_noticed_and_a_put_heals) {
    memory_disk_store t;
    ASSERT_TRUE(t.put(1, {5000}));
    ASSERT_TRUE(t.append({t.id(1)}));
    ASSERT_TRUE(t.append());  // so that the put is not in the last commit, which is judged at open
    const auto data = t.find_sectors(test_bytes(5000, 1000));
    for (const std::size_t bit : std::vector<std::size_t>{3, 8 * 50, 8 * 130 + 1, 8 * 4095}) {
        t.flip(data[0] - 1, bit);
        ASSERT_TRUE(t.reopen());
        EXPECT_EQ(t.read(1, 0, 0, 5000).error().code, errc::bad_checksum) << bit;
        EXPECT_EQ(t.run(t.volume->describe(t.id(1))).error().code, errc::bad_checksum);
        t.flip(data[0] - 1, bit);
    }
    t.flip(data[0] - 1, 100);
    ASSERT_TRUE(t.reopen());
    ASSERT_TRUE(t.put(1, {5000}));
    EXPECT_EQ(*t.read(1, 0, 0, 5000), test_bytes(5000, 1000));
}

TEST(block_store, superblock_survives_two_damaged_copies_and_is_repaired) {
    memory_disk_store t;
    ASSERT_TRUE(t.put(1, {100}));
    ASSERT_TRUE(t.append({t.id(1)}));
    t.drop();
    t.flip(superblock_sector(0), 200);
    t.flip(superblock_sector(2), 300);
    ASSERT_TRUE(t.open());
    EXPECT_EQ(t.count(), 1U);
    for (unsigned copy = 0; copy < superblock_copy_count; ++copy) {
        const bytes_view sector(t.image->live.data() + superblock_sector(copy) * sector_size, sector_size);
        EXPECT_TRUE(decode_superblock(sector, copy));
    }
    t.drop();
    for (unsigned copy = 1; copy < 4; ++copy) t.flip(superblock_sector(copy), 200);
    const auto refused = t.open();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, errc::bad_checksum);
}

/// Two copies ahead and two behind, as a crash in an update leaves them: the later state, and all four carry it before
/// anything else happens; else the two behind could outvote the next half-done update.
TEST(block_store, lagging_superblock_copies_are_brought_up_at_open) {
    memory_disk_store t;
    t.drop();
    const bytes_view first(t.image->live.data(), sector_size);
    superblock behind = *decode_superblock(first, 0);
    const std::uint64_t sequence = behind.sequence;
    --behind.sequence;
    for (unsigned copy = 2; copy < 4; ++copy) {
        const byte_vector old = encode_superblock(behind, copy);
        std::ranges::copy(old,
                          t.image->live.begin() + static_cast<std::ptrdiff_t>(superblock_sector(copy) * sector_size));
    }
    t.image->durable = t.image->live;
    ASSERT_TRUE(t.open());
    for (unsigned copy = 0; copy < 4; ++copy) {
        const bytes_view sector(t.image->durable.data() + superblock_sector(copy) * sector_size, sector_size);
        EXPECT_GE(decode_superblock(sector, copy)->sequence, sequence);
    }
}

TEST(block_store, a_damaged_log_is_refused_and_rebuilt_by_scanning) {
    memory_disk_store t;
    const incarnation_id before = t.store->incarnation();
    for (std::uint64_t i = 1; i <= 20; ++i) ASSERT_TRUE(t.put(i, {5000, 70, 9000}));
    ASSERT_TRUE(t.append());
    ASSERT_TRUE(t.remove(3));
    ASSERT_TRUE(t.remove(4, {1}));
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(t.append());
    const auto other = *t.store->open_volume(volume_id{{std::byte{9}}});
    ASSERT_TRUE(t.run(other->promise(test_writer)));
    ASSERT_TRUE(t.run(other->put(t.share(500, {100}))));
    ASSERT_TRUE(t.run(other->sync()));
    t.settle();
    t.drop();
    const bytes_view first(t.image->live.data(), sector_size);
    t.flip(decode_superblock(first, 0)->log_sector + 1, 4000);  // its first batch: good ones follow
    const auto refused = t.open();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, errc::bad_checksum);
    t.options.rebuild = true;
    ASSERT_TRUE(t.open());
    EXPECT_NE(t.store->incarnation(), before);
    EXPECT_TRUE(t.run(t.volume->state())->promised.is_zero());
    EXPECT_EQ(t.count(), 19U);
    EXPECT_EQ(*t.read(7, 2, 0, 9000), test_bytes(9000, 7002));
    EXPECT_EQ(t.run(t.volume->describe(t.id(4)))->piece_sizes, (std::vector<std::uint32_t>{5000, 0, 9000}));
    EXPECT_EQ(t.run(t.volume->describe(t.id(3))).error().code, errc::not_found);
    EXPECT_EQ(t.store->volumes().size(), 2U);
    t.options.rebuild = false;
    ASSERT_TRUE(t.reopen());
    EXPECT_EQ(t.count(), 19U);
    ASSERT_TRUE(t.run(t.volume->promise(test_writer)));
    t.next_record = 1;
    ASSERT_TRUE(t.put(100, {100}));
    ASSERT_TRUE(t.append({t.id(100)}));
}

TEST(block_store, rebuild_takes_no_share_from_inside_a_share) {
    memory_disk_store t;
    ASSERT_TRUE(t.put(1, {5000}));
    ASSERT_TRUE(t.append({t.id(1)}));
    const auto data = t.find_sectors(test_bytes(5000, 1000));
    // A hostile writer stores the head of a share that it has seen, as data; and the head of a share that is gone.
    const bytes_view head(t.image->live.data() + (data[0] - 1) * sector_size, sector_size);
    share_put forged = t.share(2, {});
    forged.pieces.emplace_back(buffer::copy_of(head));
    ASSERT_TRUE(t.run(t.volume->put(std::move(forged))));
    ASSERT_TRUE(t.append({t.id(2)}));
    ASSERT_TRUE(t.remove(1));
    ASSERT_TRUE(t.run(t.volume->sync()));
    t.settle();
    t.options.rebuild = true;
    ASSERT_TRUE(t.reopen());
    EXPECT_EQ(*t.run(t.volume->list(chunk_id(), 10)), std::vector{t.id(2)});
}

TEST(block_store, many_checkpoints_and_turns_of_the_log) {
    memory_disk_store t;
    for (std::uint64_t i = 1; i <= 1500; ++i) {
        ASSERT_TRUE(t.put(i, {static_cast<std::size_t>(100 + i % 5000)}));
        ASSERT_TRUE(t.append({t.id(i)}, 2000));
        if (i > 20) ASSERT_TRUE(t.remove(i - 20));
        if (i % 10 == 0) ASSERT_TRUE(t.run(t.volume->cut_journal(test_writer, t.next_record - 5)));
    }
    EXPECT_GE(t.store->status().checkpoint_count, 10U);
    const auto span = t.run(t.volume->state())->journal;
    ASSERT_TRUE(t.run(t.volume->sync()));
    ASSERT_TRUE(t.reopen());
    EXPECT_EQ(t.count(), 20U);
    EXPECT_EQ(t.run(t.volume->state())->journal.last, span.last);
    EXPECT_EQ(t.run(t.volume->state())->journal.first, span.first);
    for (std::uint64_t i = 1481; i <= 1500; ++i)
        EXPECT_EQ(*t.read(i, 0, 0, static_cast<std::uint32_t>(100 + i % 5000)),
                  test_bytes(static_cast<std::size_t>(100 + i % 5000), i * 1000));
}

/// Fill, free every other share, fill again with larger ones: the space is in pieces, and every promise still holds.
TEST(block_store, fragmented_and_full_again_and_again) {
    memory_disk_store t(8U << 20U);
    std::uint64_t next = 1;
    for (int round = 0; round < 6; ++round) {
        std::vector<std::uint64_t> there;
        for (;;) {
            const auto done = t.put(next, {round % 2 == 0 ? 3000U : 100'000U});
            if (!done) {
                ASSERT_EQ(done.error().code, errc::no_space) << done.error().message();
                break;
            }
            there.push_back(next++);
        }
        ASSERT_GE(there.size(), 5U);
        ASSERT_TRUE(t.append({t.id(there.front())}));
        const std::uint64_t free_full = t.store->status().free;
        for (std::size_t i = 0; i < there.size(); i += 2) ASSERT_TRUE(t.remove(there[i]));
        ASSERT_TRUE(t.run(t.volume->sync()));
        t.settle();
        EXPECT_GT(t.store->status().free, free_full);
        const std::uint64_t big = t.store->status().free * 3 / 4;
        if (big > sector_size && big < share_size_max) {
            const auto done = t.put(next, {big - sector_size});
            if (done) {
                EXPECT_EQ(*t.read(next, 0, 0, 5000), [&] {
                    auto whole = test_bytes(big - sector_size, next * 1000);
                    whole.resize(5000);
                    return whole;
                }());
                ASSERT_TRUE(t.remove(next));
            } else {
                EXPECT_EQ(done.error().code, errc::no_space);  // in too many runs
            }
            ++next;
        }
        ASSERT_TRUE(t.run(t.volume->sync()));
        ASSERT_TRUE(t.reopen());
        for (std::size_t i = 1; i < there.size(); i += 2) {
            ASSERT_TRUE(t.read(there[i], 0, 0, 3000));
            ASSERT_TRUE(t.remove(there[i]));
        }
        ASSERT_TRUE(t.run(t.volume->sync()));
    }
    EXPECT_EQ(t.count(), 0U);
}

/// A full store may refuse records; it never comes to where a checkpoint has no room, so it opens again at any time.
TEST(block_store, a_full_store_whose_journal_grows_opens_again) {
    memory_disk_store t;
    std::uint64_t next = 1;
    while (t.put(next, {60'000})) ++next;
    std::size_t records = 0;
    for (bool refused = false; !refused; ++records) {
        const auto done = t.append({}, 1000 + records % 3 * 3000);
        if (!done) ASSERT_EQ(done.error().code, errc::no_space) << done.error().message();
        refused = !done;
        if (records % 100 == 0 || refused) ASSERT_TRUE(t.reopen()) << records;
    }
    EXPECT_GT(records, 5U);
    EXPECT_FALSE(t.store->status().failed);
    ASSERT_TRUE(t.remove(1));
    ASSERT_TRUE(t.remove(2));
    ASSERT_TRUE(t.run(t.volume->cut_journal(test_writer, t.next_record - 1)));
    ASSERT_TRUE(t.run(t.volume->sync()));
    t.settle();
    EXPECT_TRUE(t.append({}, 1000));
    EXPECT_TRUE(t.put(next, {60'000}));
    EXPECT_TRUE(t.reopen());
}

/// All free space is in pieces that are too small for the log: records stay out of it, and what would let the index
/// grow beyond the log's segments is refused. It is never the log that finds no room.
TEST(block_store, a_store_whose_free_space_is_in_pieces_keeps_working) {
    memory_disk_store t(32U << 20U);  // segments of 16 sectors
    std::uint64_t next = 1;
    while (t.put(next, {100})) ++next;
    for (std::uint64_t i = 1; i < next; ++i)
        if (i % 8 != 0) ASSERT_TRUE(t.remove(i));  // leaves runs of 14 sectors
    ASSERT_TRUE(t.run(t.volume->sync()));
    t.settle();
    for (int big = 0; big < 20 && t.put(next, {60'000}); ++big) ++next;  // 16 sectors each: the whole runs
    const auto until_refused = [](auto change) {
        std::size_t count = 0;
        for (;; ++count)
            if (const auto done = change(); !done) {
                EXPECT_EQ(done.error().code, errc::no_space) << done.error().message();
                return count;
            }
    };
    std::size_t promised = 0;
    for (; t.store->status().free > 0; ++promised) ASSERT_TRUE(t.put(next++, {100}));
    EXPECT_GT(promised, 100U);
    for (int i = 0; i < 200; ++i) {
        const auto done = t.append({}, 4000);
        ASSERT_TRUE(done) << i << ": " << done.error().message();
    }
    EXPECT_GT(until_refused([&] { return t.put(next++, {100}); }), 100U);  // nothing is promised that is refused
    until_refused([&] { return t.append({}, 4000); });
    EXPECT_FALSE(t.store->status().failed);
    ASSERT_TRUE(t.reopen());
    EXPECT_EQ(t.run(t.volume->state())->journal.last, t.next_record - 1);
    for (std::uint64_t i = 8; i < next - 1; i += 8) static_cast<void>(t.remove(i));
    ASSERT_TRUE(t.run(t.volume->cut_journal(test_writer, t.next_record - 1)));
    ASSERT_TRUE(t.run(t.volume->sync()));
    t.settle();
    EXPECT_TRUE(t.append({}, 4000));
    EXPECT_TRUE(t.put(next, {60'000}));
    EXPECT_TRUE(t.reopen());
}

/// A journal that is cut leaves a long log and a small index: the log is still replaced by a checkpoint before others
/// get its room.
TEST(block_store, a_long_log_keeps_its_room_until_it_is_replaced) {
    for (const std::uint64_t zero_ahead : {1U << 20U, 32U << 20U}) {
        memory_disk_store t(32U << 20U);
        t.options.zero_ahead = zero_ahead;
        ASSERT_TRUE(t.reopen());
        for (int i = 0; i < 1500; ++i) ASSERT_TRUE(t.append({}, 7000));
        ASSERT_TRUE(t.run(t.volume->cut_journal(test_writer, t.next_record - 1)));
        std::uint64_t next = 1;
        while (t.put(next, {60'000})) ++next;
        EXPECT_GT(next, 300U);
        ASSERT_TRUE(t.run(t.volume->sync()));
        EXPECT_TRUE(t.append({}, 7000));
        EXPECT_FALSE(t.store->status().failed);
        EXPECT_TRUE(t.reopen());
    }
}

TEST(block_store, volumes_do_not_mix) {
    memory_disk_store t;
    const auto other = *t.store->open_volume(volume_id{{std::byte{9}}});
    ASSERT_TRUE(t.put(1, {100}));
    EXPECT_EQ(t.run(other->put(t.share(1, {200}))).error().code, errc::stale_epoch);  // its own promise
    ASSERT_TRUE(t.run(other->promise(test_writer)));
    ASSERT_TRUE(t.run(other->put(t.share(1, {200}))));
    ASSERT_TRUE(t.append({t.id(1)}));
    share_removal gone;
    gone.chunk = t.id(1);
    ASSERT_TRUE(t.run(other->remove(test_writer, std::vector{gone})));
    ASSERT_TRUE(t.run(other->sync()));
    ASSERT_TRUE(t.reopen());
    EXPECT_EQ(t.count(), 1U);
    EXPECT_EQ(*t.read(1, 0, 0, 100), test_bytes(100, 1000));
    EXPECT_EQ(t.store->volumes().size(), 2U);
}

TEST(block_store, freed_bytes_are_overwritten) {
    memory_disk_store t;
    ASSERT_TRUE(t.put(1, {9000, 5000}));
    ASSERT_TRUE(t.put(2, {9000}));
    ASSERT_TRUE(t.append({t.id(1), t.id(2)}));
    ASSERT_TRUE(t.remove(1, {0}));
    ASSERT_TRUE(t.remove(2));
    EXPECT_EQ(t.find_sectors(test_bytes(9000, 1000)).size(), 1U);  // not before the removal is durable
    ASSERT_TRUE(t.run(t.volume->sync()));
    t.settle();
    EXPECT_TRUE(t.find_sectors(test_bytes(9000, 1000)).empty());
    EXPECT_TRUE(t.find_sectors(test_bytes(9000, 2000)).empty());
    EXPECT_EQ(t.find_sectors(test_bytes(5000, 1001)).size(), 1U);
    EXPECT_EQ(t.store->status().to_erase, 0U);
}

TEST(block_store, a_failed_flush_stops_changes_until_it_is_opened_again) {
    memory_disk_store t;
    ASSERT_TRUE(t.put(1, {100}));
    ASSERT_TRUE(t.append({t.id(1)}));
    t.disk->fail_writes = true;
    EXPECT_EQ(t.put(2, {100}).error().code, errc::io_error);
    EXPECT_EQ(t.append().error().code, errc::io_error);
    EXPECT_TRUE(t.store->status().failed);
    t.disk->fail_writes = false;
    EXPECT_EQ(t.append().error().code, errc::io_error);  // what the failed flush lost is not known: no success after it
    EXPECT_TRUE(t.read(1, 0, 0, 100));
    ASSERT_TRUE(t.reopen());
    EXPECT_TRUE(t.append());
}

TEST(block_store, long_lists_page) {
    memory_disk_store t(64U << 20U);
    constexpr std::uint64_t count = 5'000;
    for (std::uint64_t i = 1; i <= count; ++i) ASSERT_TRUE(t.put(i, {16}));
    ASSERT_TRUE(t.run(t.volume->sync()));
    ASSERT_TRUE(t.reopen());
    std::uint64_t seen = 0;
    chunk_id after;
    for (;;) {
        const auto page = t.run(t.volume->list(after, 1000));
        ASSERT_TRUE(page);
        if (page->empty()) break;
        for (const chunk_id& id : *page) EXPECT_EQ(id.sequence, ++seen);
        after = page->back();
    }
    EXPECT_EQ(seen, count);
    EXPECT_EQ(t.store->status().chunk_count, count);
}

TEST(block_store, a_clean_close_leaves_a_checkpoint_and_clean_space) {
    memory_disk_store t;
    ASSERT_TRUE(t.put(1, {100'000}));
    ASSERT_TRUE(t.put(2, {100'000}));
    ASSERT_TRUE(t.append({t.id(1)}));
    ASSERT_TRUE(t.remove(2));
    ASSERT_TRUE(t.run(t.store->close()));
    EXPECT_EQ(t.append().error().code, errc::cancelled);
    t.drop();
    const bytes_view sector(t.image->durable.data(), sector_size);
    EXPECT_TRUE(decode_superblock(sector, 0)->free_is_clean);
    ASSERT_TRUE(t.open());
    EXPECT_EQ(t.count(), 1U);
    EXPECT_EQ(t.store->status().to_erase, 0U);
    EXPECT_FALSE(decode_superblock(sector, 0)->free_is_clean);  // from now on a crash is possible
    EXPECT_TRUE(t.append());
}

TEST(block_store, the_context_may_go_while_requests_are_under_way) {
    const temporary_folder folder;
    block_store_options options;
    options.path = (folder.path / "store").string();
    options.size = 64U << 20U;
    ASSERT_TRUE(block_store::format(options));
    for (int turns = 0; turns < 12; ++turns) {
        auto core = std::make_unique<asio::io_context>();
        auto store = std::move(*run_task(*core, block_store::open(*core, options)));
        auto volume = *store->open_volume(test_volume);
        ASSERT_TRUE(run_task(*core, volume->promise(test_writer)));
        for (std::uint64_t i = 1; i <= 4; ++i)
            asio::co_spawn(*core, volume->put(memory_disk_store::share(i, {1U << 20U})), asio::detached);
        asio::co_spawn(*core, volume->sync(), asio::detached);
        core->restart();
        for (int i = 0; i < turns; ++i) core->poll_one();
        volume.reset();
        store.reset();
        core.reset();
    }
    asio::io_context core;
    EXPECT_TRUE(run_task(core, block_store::open(core, options)));
    core.restart();
    core.run();
}

TEST(block_store, refusals_are_one_clear_line) {
    const temporary_folder folder;
    const std::string path = (folder.path / "store").string();
    asio::io_context core;
    block_store_options options;
    options.path = path;
    const auto open_error = [&] {
        auto opened = run_task(core, block_store::open(core, options));
        core.restart();
        core.run();
        return opened ? std::string("opened") : opened.error().message();
    };
    EXPECT_EQ(open_error(), "not_found: " + path + ": No such file or directory");
    options.size = 1000;
    EXPECT_EQ(block_store::format(options).error().code, errc::bad_argument);
    EXPECT_FALSE(std::filesystem::exists(path));
    std::ofstream(path) << std::string(8U << 20U, 'x');
    EXPECT_EQ(open_error(), "bad_format: " + path + ": not a share store");
    options.size = 8U << 20U;
    EXPECT_EQ(block_store::format(options).error().code, errc::exists);
    std::filesystem::remove(path);
    ASSERT_TRUE(block_store::format(options));
    EXPECT_EQ(block_store::format(options).error().code, errc::exists);
    {
        auto held = run_task(core, block_store::open(core, options));
        ASSERT_TRUE(held);
        auto second = run_task(core, block_store::open(core, options));
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().message(), "busy: " + path + ": this store is open in another process");
    }
    core.restart();
    core.run();
    {  // as after kill -9, when the kernel has not ended everything
        const int held = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        ASSERT_EQ(::flock(held, LOCK_EX | LOCK_NB), 0);
        const std::jthread soon([held] {
            std::this_thread::sleep_for(std::chrono::milliseconds(200));
            ::close(held);
        });
        EXPECT_EQ(open_error(), "opened");
    }
    std::filesystem::resize_file(path, 4U << 20U);
    EXPECT_EQ(open_error(), "bad_format: " + path + ": the device is smaller than the store on it");
    options.force = true;
    ASSERT_TRUE(block_store::format(options));
    EXPECT_EQ(open_error(), "opened");
    {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        for (unsigned copy = 0; copy < superblock_copy_count; ++copy) {
            file.seekp(static_cast<std::streamoff>(superblock_sector(copy) * sector_size + 9));
            file.put(2);
        }
    }
    EXPECT_EQ(open_error(), "bad_version: " + path + ": store format 2; this program knows 1");
    options.path = folder.path.string();
    EXPECT_NE(open_error(), "opened");
}

/// A loop device over a file: the raw block device path.
class loop_device {
  public:
    explicit loop_device(const std::string& file) {
        const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        if (control < 0) return;
        const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
        ::close(control);
        if (number < 0) return;
        path = "/dev/loop" + std::to_string(number);
        fd_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        const int backing = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
        is_there = fd_ >= 0 && backing >= 0 && ::ioctl(fd_, LOOP_SET_FD, backing) == 0;
        if (backing >= 0) ::close(backing);
    }
    loop_device(const loop_device&) = delete;
    loop_device& operator=(const loop_device&) = delete;
    ~loop_device() {
        if (is_there) ::ioctl(fd_, LOOP_CLR_FD);
        if (fd_ >= 0) ::close(fd_);
    }
    std::string path;
    bool is_there = false;

  private:
    int fd_ = -1;
};

TEST(block_store, works_on_a_raw_block_device) {
    const temporary_folder folder;
    const std::string file = (folder.path / "disk").string();
    std::ofstream(file).close();
    std::filesystem::resize_file(file, 32U << 20U);
    loop_device loop(file);
    if (!loop.is_there) GTEST_SKIP() << "no loop device can be made here";
    block_store_options options;
    options.path = loop.path;
    const auto made = block_store::format(options);
    ASSERT_TRUE(made) << made.error().message();
    asio::io_context core;
    for (int turn = 0; turn < 2; ++turn) {
        auto opened = run_task(core, block_store::open(core, options));
        ASSERT_TRUE(opened) << opened.error().message();
        auto volume = *(*opened)->open_volume(test_volume);
        ASSERT_TRUE(run_task(core, volume->promise(test_writer)));
        ASSERT_TRUE(run_task(core, volume->put(memory_disk_store::share(1, {3U << 20U, 100}))));
        ASSERT_TRUE(run_task(core, volume->sync()));
        share_range range;
        range.offset = 1'000'000;
        range.size = 5000;
        const auto got = run_task(core, volume->get(memory_disk_store::id(1), std::vector{range}));
        ASSERT_TRUE(got);
        const auto whole = test_bytes(3U << 20U, 1000);
        EXPECT_TRUE(std::ranges::equal((*got)[0].view(), bytes_view(whole).subspan(1'000'000, 5000)));
        volume.reset();
        opened->reset();
        core.restart();
        core.run();
    }
}

}  // namespace
}  // namespace warifu
