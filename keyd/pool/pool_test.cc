#include "keyd/pool/pool.h"

#include <algorithm>

#include "fs/base/limits.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t block_size = 256U << 10U;
constexpr std::uint64_t data_size = block_size - 4096;

byte_vector bytes_of(const pool& store, const stream_name& stream, pad_range range) {
    byte_vector out(range.size);
    const auto place = store.place_of(stream, range);
    EXPECT_TRUE(place);
    EXPECT_TRUE(read_pad(*place, out));
    return out;
}
result<pad_range> send(pool& store, std::uint64_t min, std::uint64_t want, key_use use = key_use::bulk) {
    TRY(const auto window, store.claim_send(ab, session_id{}, min, want, use));
    TRY_VOID(store.flush());
    return window;
}

TEST(pool, both_ends_hand_out_the_same_bytes_once) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    const auto window = send(*ends.a, 1000, 70'000);
    ASSERT_TRUE(window) << window.error().message();
    EXPECT_EQ(*window, (pad_range{4096, 70'000}));
    ASSERT_TRUE(ends.b->claim_receive(ab, session_id{}, *window));
    EXPECT_EQ(bytes_of(*ends.a, ab, *window), bytes_of(*ends.b, ab, *window));
    EXPECT_EQ(ends.b->claim_receive(ab, session_id{}, *window).error().code, errc::conflict);
    EXPECT_EQ(send(*ends.a, 1, 1)->offset, window->end());
    EXPECT_EQ(ends.b->next_free(ab, 0).value(), window->end());

    EXPECT_EQ(ends.b->claim_send(ab, {}, 1, 1, key_use::bulk).error().code, errc::bad_argument) << "swapped direction";
    EXPECT_EQ(ends.a->claim_receive(ab, {}, pad_range{100'000, 10}).error().code, errc::bad_argument);
    EXPECT_EQ(ends.a->claim_send(stream_name{"b", "c"}, {}, 1, 1, key_use::bulk).error().code, errc::not_found);
    EXPECT_EQ(ends.b->claim_receive(ab, {}, pad_range{0, 10}).error().code, errc::conflict)
        << "a hello region is no data";
    EXPECT_EQ(ends.b->claim_receive(ab, {}, pad_range{block_size - 10, 20}).error().code, errc::conflict);
    EXPECT_EQ(ends.b->claim_receive(ab, {}, pad_range{~std::uint64_t{0}, 20}).error().code, errc::bad_argument);
    EXPECT_EQ(send(*ends.a, 2, 1).error().code, errc::bad_argument);
    EXPECT_EQ(send(*ends.a, 1, pad_window_size_max + 1).error().code, errc::too_large);
}

TEST(pool, marks_survive_reopening_and_open_windows_are_burnt) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    const auto first = *send(*ends.a, 1000, 1000);
    const auto second = *send(*ends.a, 1000, 1000);
    ASSERT_TRUE(ends.a->release(ab, second, second.offset + 100));
    ends.reopen_a();
    EXPECT_EQ(ends.a->release(ab, first, first.offset).error().code, errc::not_found);
    EXPECT_EQ(send(*ends.a, 1, 1)->offset, second.offset + 100);
    EXPECT_EQ(ends.a->available(ab), data_size - 1000 - 100 - 1);
    EXPECT_EQ(ends.a->status()[0].totals.burnt, 1000U);
    EXPECT_EQ(ends.a->status()[0].totals.used, 100U);
}

TEST(pool, import_is_once_and_for_the_right_site) {
    two_ends ends;
    const auto block = make_block(ab, 0, block_size);
    const auto& incoming = ends.a->incoming_directory();
    const auto path = write_block(block, {incoming}).front();
    const auto copy = ends.directory / "copy.pad";
    std::filesystem::copy_file(path, copy);
    ASSERT_TRUE(import_file(*ends.a, block, path));
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(import_file(*ends.a, block, copy).error().code, errc::exists);
    auto swapped = block;
    std::swap(swapped.stream.sender, swapped.stream.receiver);
    EXPECT_EQ(ends.a->admits(swapped).error().code, errc::conflict) << "swapped direction";
    auto moved = block;
    moved.range.offset += block_size;
    EXPECT_EQ(ends.a->admits(moved).error().code, errc::conflict);
    EXPECT_EQ(ends.a->admits(make_block(ab, block_size / 2, block_size)).error().code, errc::exists) << "range again";
    EXPECT_EQ(ends.a->admits(make_block(stream_name{"b", "c"}, 0, block_size)).error().code, errc::denied);
    ASSERT_TRUE(ends.a->skip_to(ab, block_size));
    ASSERT_TRUE(ends.a->erase_now());
    ends.reopen_a();
    EXPECT_FALSE(ends.a->admits(block)) << "remembered for ever";
    EXPECT_FALSE(ends.a->admits(swapped)) << "remembered for ever";
    EXPECT_TRUE(ends.a->admits(make_block(ba, 0, block_size)));
}

TEST(pool, unknown_peers_are_refused) {
    const temporary_directory directory;
    pool_options options;
    options.directory = directory.path();
    options.site = "a";
    options.peers = {"b"};
    const auto store = pool::open(options);
    ASSERT_TRUE(store);
    EXPECT_TRUE((*store)->admits(make_block(ab, 0, block_size)));
    EXPECT_EQ((*store)->admits(make_block(stream_name{"a", "c"}, 0, block_size)).error().code, errc::denied);
    EXPECT_EQ((*store)->claim_send(stream_name{"a", "c"}, {}, 1, 1, key_use::bulk).error().code, errc::not_found);
    EXPECT_EQ((*store)->claim_send(ab, {}, 1, 1, key_use::bulk).error().code, errc::no_key);
    EXPECT_EQ(pool::open(options).error().code, errc::busy) << "two keyds on one directory";
}

TEST(pool, damaged_files_are_not_staged) {
    two_ends ends;
    const auto block = make_block(ab, 0, block_size);
    const auto path = write_block(block, {ends.a->incoming_directory()}).front();
    auto bytes = read_all(path);
    bytes[pad_header_size + 5] ^= std::byte{1};
    write_all(path, bytes);
    const auto staged = stage_block(delivery_of(block, path), ends.a->blocks_directory());
    ASSERT_FALSE(staged);
    EXPECT_EQ(staged.error().code, errc::bad_checksum);
    EXPECT_NE(staged.error().text.find(path), std::string::npos);
}

TEST(pool, release_offers_the_tail_again_but_never_below_a_skip) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    const auto first = *send(*ends.a, 50'000, 50'000);
    ASSERT_TRUE(ends.a->release(ab, first, first.offset + 10'000));
    EXPECT_EQ(ends.a->release(ab, first, first.offset).error().code, errc::not_found) << "released once";
    const auto again = *send(*ends.a, 50'000, 50'000);
    EXPECT_EQ(again.offset, first.offset + 10'000);
    EXPECT_EQ(ends.a->release(ab, pad_range{again.offset, 5}, again.offset).error().code, errc::not_found);
    EXPECT_EQ(ends.a->release(ab, again, again.end() + 1).error().code, errc::bad_argument);
    ASSERT_TRUE(ends.a->skip_to(ab, again.offset + 20'000));
    ASSERT_TRUE(ends.a->release(ab, again, again.offset));
    EXPECT_EQ(send(*ends.a, 1, 1)->offset, again.offset + 20'000);
    ASSERT_TRUE(ends.a->skip_to(ab, 100)) << "a lower floor changes nothing";
    ends.reopen_a();
    EXPECT_EQ(send(*ends.a, 1, 1)->offset, again.offset + 20'001);
}

TEST(pool, a_floor_kills_blocks_that_arrive_later) {
    two_ends ends;
    ASSERT_TRUE(ends.a->skip_to(ab, block_size + 100'000));
    ends.deliver(ab, 0, block_size);
    ends.deliver(ab, block_size, block_size);
    EXPECT_EQ(send(*ends.a, 1, 1)->offset, block_size + 100'000);
    EXPECT_EQ(ends.a->available(ab), block_size - 100'001);
}

TEST(pool, used_up_streams_answer_no_key_and_leave_the_reserve_to_control) {
    constexpr std::uint64_t reserve = 80'000;
    two_ends ends(reserve);
    ends.deliver(ab, 0, block_size);
    std::uint64_t total = 0;
    for (auto window = send(*ends.a, 1, 60'000); window; window = send(*ends.a, 1, 60'000)) total += window->size;
    EXPECT_EQ(total, data_size - reserve);
    EXPECT_EQ(send(*ends.a, 1, 1, key_use::interactive).error().code, errc::no_key);
    const auto control = send(*ends.a, 1, reserve, key_use::control);
    ASSERT_TRUE(control);
    EXPECT_EQ(control->size, reserve);
    EXPECT_EQ(send(*ends.a, 1, 1, key_use::control).error().code, errc::no_key);
}

TEST(pool, windows_avoid_useless_rests_and_span_no_blocks) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    ends.deliver(ab, block_size, block_size);
    std::vector<pad_range> windows;
    for (auto w = send(*ends.a, 100'000, 200'000); w; w = send(*ends.a, 100'000, 200'000)) windows.push_back(*w);
    ASSERT_EQ(windows.size(), 4U);
    for (const auto& window : windows) EXPECT_EQ(window.offset / block_size, (window.end() - 1) / block_size);
    EXPECT_EQ(ends.a->available(ab), 0U);
}

TEST(pool, behind_a_window_that_begins_within_a_page_the_next_begins_with_one) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    const auto first = *send(*ends.a, 1, 20'000);
    EXPECT_EQ(first, (pad_range{4096, 20'000})) << "nobody gets less for a window that begins with a page";
    EXPECT_EQ(*send(*ends.a, 1, 1), (pad_range{first.end(), 1})) << "nor for one that ends within its page";
    const auto second = *send(*ends.a, 5000, 20'000);
    EXPECT_EQ(second.offset, first.end() + 1);
    EXPECT_EQ(second.end() % 4096, 0U);
    EXPECT_GT(second.size, 20'000U - 4096);
    EXPECT_EQ(*send(*ends.a, 20'000, 20'000), (pad_range{second.end(), 20'000})) << "never less than asked for";
    const auto third = *send(*ends.a, 20'000, 20'000);
    EXPECT_EQ(third.size, 20'000U);
}

TEST(pool, hello_slots_serve_one_greeting_each) {
    two_ends ends;
    ends.deliver(ab, 0, pad_block_size_min);
    std::set<std::uint64_t> offsets;
    for (std::size_t i = 0; i < 4096 / hello_slot_size; ++i) {
        const auto slot = ends.a->take_hello_slot(ab);
        ASSERT_TRUE(slot);
        EXPECT_TRUE(offsets.insert(slot->offset).second);
        const auto seen = ends.b->peek_hello_slot(ab, slot->offset);
        ASSERT_TRUE(seen);
        EXPECT_EQ(seen->key, slot->key);
        if (i == 20) {
            ends.reopen_a();
            ASSERT_TRUE(ends.a->erase_now());
        }
    }
    EXPECT_EQ(ends.a->take_hello_slot(ab).error().code, errc::no_key);
    const auto offset = *offsets.begin();
    ASSERT_TRUE(ends.b->spend_hello_slot(ab, offset));
    EXPECT_EQ(ends.b->spend_hello_slot(ab, offset).error().code, errc::conflict);
    EXPECT_EQ(ends.b->peek_hello_slot(ab, offset).error().code, errc::conflict);
    EXPECT_EQ(ends.b->peek_hello_slot(ab, 1).error().code, errc::bad_argument);
    EXPECT_EQ(ends.b->peek_hello_slot(ab, 1U << 30U).error().code, errc::not_found);
    EXPECT_EQ(ends.b->peek_hello_slot(ba, 0).error().code, errc::bad_argument);
    const auto other = *offsets.rbegin();
    for (unsigned i = 1; i < hello_looks_max; ++i) EXPECT_TRUE(ends.b->peek_hello_slot(ab, other));
    EXPECT_EQ(ends.b->peek_hello_slot(ab, other).error().code, errc::conflict) << "too many looks";
}

TEST(look_counter, a_slot_under_attack_keeps_its_count_while_others_are_forgotten) {
    look_counter looks(64);
    const look_counter::slot attacked{0, 96};
    for (unsigned i = 0; i < hello_looks_max; ++i) ASSERT_TRUE(looks.take(attacked));
    EXPECT_FALSE(looks.take(attacked));
    for (std::uint64_t i = 1; i < 1000; ++i) {
        ASSERT_TRUE(looks.take({1, i * 96})) << "others are not locked out";
        ASSERT_LE(looks.size(), 64U);
    }
    EXPECT_FALSE(looks.take(attacked));
    looks.forget(attacked);
    EXPECT_TRUE(looks.take(attacked));
}

TEST(pool, erasure_zeroes_what_was_used_and_nothing_else) {
    two_ends ends;
    const auto block = ends.deliver(ab, 0, block_size);
    const auto path = ends.a->blocks_directory() + "/" + to_text(block.id) + ".pad";
    const auto before = read_all(path);
    EXPECT_FALSE(read_pad_header(path)->data_crc) << "the checksum of pad bytes must not outlive them";
    const auto held = *send(*ends.a, 10'000, 10'000);
    const auto window = *send(*ends.a, 50'000, 50'000);
    const auto slot = ends.a->take_hello_slot(ab);
    ASSERT_TRUE(slot);
    ASSERT_TRUE(ends.a->release(ab, window, window.offset + 33'333));
    ASSERT_TRUE(ends.a->erase_now());
    const auto after = read_all(path);
    ASSERT_EQ(after.size(), before.size());
    for (std::uint64_t i = 0; i < block_size; ++i) {
        const bool erased = (i >= window.offset && i < window.offset + 33'333) ||
                            (i >= slot->offset && i < slot->offset + hello_slot_size);
        ASSERT_EQ(after[pad_header_size + i], erased ? std::byte{0} : before[pad_header_size + i]) << i;
    }
    ASSERT_TRUE(ends.a->burn(ab, held));
    ASSERT_TRUE(ends.a->erase_now());
    const auto last = read_all(path);
    EXPECT_TRUE(std::all_of(last.begin() + static_cast<std::ptrdiff_t>(pad_header_size + held.offset),
                            last.begin() + static_cast<std::ptrdiff_t>(pad_header_size + held.end()),
                            [](std::byte b) { return b == std::byte{0}; }));
    byte_vector zeros(64);
    EXPECT_EQ(read_pad(*ends.a->place_of(ab, held), zeros).error().code, errc::bad_checksum) << "zeros are no key";
}

TEST(pool, what_a_crash_left_unerased_is_erased_at_the_start) {
    two_ends ends;
    const auto block = ends.deliver(ab, 0, block_size);
    const auto window = *send(*ends.a, 50'000, 50'000);
    ends.reopen_a();
    ASSERT_TRUE(ends.a->erase_now());
    const auto bytes = read_all(ends.a->blocks_directory() + "/" + to_text(block.id) + ".pad");
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(pad_header_size + window.offset);
    EXPECT_TRUE(std::all_of(begin, begin + 50'000, [](std::byte b) { return b == std::byte{0}; }));
}

TEST(pool, used_up_blocks_lose_their_files_once_enough_hello_slots_are_elsewhere) {
    two_ends ends;
    const std::uint64_t size = 64U << 20U;  // 64 KiB of hello slots: 682
    std::uint64_t offset = 0;
    std::vector<block_header> blocks;
    for (int i = 0; i < 3; ++i, offset += size) blocks.push_back(ends.deliver(ab, offset, size));
    const auto path = ends.a->blocks_directory() + "/" + to_text(blocks[0].id) + ".pad";
    ASSERT_TRUE(ends.a->skip_to(ab, size));
    ASSERT_TRUE(ends.a->erase_now());
    EXPECT_FALSE(std::filesystem::exists(path)) << "1364 slots are in the other blocks";
    ASSERT_TRUE(ends.a->skip_to(ab, 2 * size));
    ASSERT_TRUE(ends.a->erase_now());
    const auto second = ends.a->blocks_directory() + "/" + to_text(blocks[1].id) + ".pad";
    ASSERT_TRUE(std::filesystem::exists(second)) << "its hello slots are still needed";
    struct stat status{};
    ASSERT_EQ(::stat(second.c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, 1 << 20) << "the space of the data is given back";
    EXPECT_FALSE(ends.a->admits(blocks[0]));
    ends.reopen_a();
    EXPECT_FALSE(ends.a->admits(blocks[0]));
    EXPECT_EQ(ends.a->available(ab), size - hello_region_size(size));
    ends.deliver(ab, offset, size);
    ASSERT_TRUE(ends.a->erase_now());
    EXPECT_FALSE(std::filesystem::exists(second)) << "the new block brought hello slots";
}

TEST(pool, random_bytes_are_taken_once) {
    const temporary_directory directory;
    auto store = open_pool(directory.path(), "a");
    EXPECT_EQ(store->claim_random(1, {}).error().code, errc::no_key);
    for (std::uint64_t offset : {std::uint64_t{0}, block_size}) {
        const auto block = make_block(stream_name{"a", "a"}, offset, block_size, block_kind::random);
        ASSERT_TRUE(import_file(*store, block, write_block(block, {store->incoming_directory()}).front()));
    }
    const auto ranges = store->claim_random(block_size + 1000, {});
    ASSERT_TRUE(ranges);
    EXPECT_EQ(*ranges, (std::vector<pad_range>{{0, block_size}, {block_size, 1000}}));
    for (const auto& range : *ranges) ASSERT_TRUE(store->release(stream_name{"a", "a"}, range, range.end()));
    ASSERT_TRUE(store->erase_now());
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(store->blocks_directory()), {}), 1);
    EXPECT_EQ(store->claim_random(1, {})->front().offset, block_size + 1000);
    EXPECT_EQ(store->claim_random(block_size, {}).error().code, errc::no_key);
}

TEST(pool, lost_files_and_lost_ledgers) {
    two_ends ends;
    const auto block = ends.deliver(ab, 0, block_size);
    const auto other = ends.deliver(ab, block_size, block_size);
    std::filesystem::remove(ends.a->blocks_directory() + "/" + to_text(block.id) + ".pad");
    ends.reopen_a();
    EXPECT_EQ(ends.a->lost_bytes(), data_size);
    EXPECT_EQ(send(*ends.a, 1, 1)->offset, block_size + 4096);
    EXPECT_FALSE(ends.a->admits(block)) << "a lost block does not come back: it may have been used";
    ends.a.reset();
    std::filesystem::remove(ends.directory / "a/ledger");
    pool_options options;
    options.directory = ends.directory / "a";
    options.site = "a";
    const auto opened = pool::open(options);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, errc::conflict) << "blocks without a ledger may have been used";
}

TEST(pool, an_import_cut_short_is_delivered_again) {
    two_ends ends;
    const auto block = make_block(ab, 0, block_size);
    const auto path = write_block(block, {ends.a->incoming_directory()}).front();
    std::filesystem::rename(path, ends.a->blocks_directory() + "/" + to_text(block.id) + ".pad");
    ends.reopen_a();
    const auto back = ends.a->incoming_directory() + "/" + to_text(block.id) + ".pad";
    ASSERT_TRUE(std::filesystem::exists(back));
    EXPECT_TRUE(import_file(*ends.a, block, back));
}

TEST(pool, one_end_restored_from_a_copy_is_caught_by_the_other) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    const auto first = *send(*ends.a, 10'000, 10'000);
    ASSERT_TRUE(ends.b->claim_receive(ab, {}, first));
    ends.a.reset();
    std::filesystem::copy(ends.directory / "a", ends.directory / "copy", std::filesystem::copy_options::recursive);
    ends.a = open_pool(ends.directory / "a", "a");
    std::set<std::uint64_t> used;
    for (int i = 0; i < 5; ++i) {
        const auto window = *send(*ends.a, 10'000, 10'000);
        ASSERT_TRUE(ends.b->claim_receive(ab, {}, window));
        used.insert(window.offset);
    }
    ends.a.reset();
    std::filesystem::remove_all(ends.directory / "a");
    std::filesystem::rename(ends.directory / "copy", ends.directory / "a");
    ends.a = open_pool(ends.directory / "a", "a");
    const auto again = *send(*ends.a, 7'000, 7'000);
    EXPECT_EQ(again.offset, *used.begin()) << "alone the restored end cannot know";
    ASSERT_EQ(ends.b->claim_receive(ab, {}, again).error().code, errc::conflict);
    ASSERT_TRUE(ends.a->skip_to(ab, *ends.b->next_free(ab, again.offset)));
    const auto fresh = *send(*ends.a, 10'000, 10'000);
    EXPECT_GE(fresh.offset, *used.rbegin() + 10'000);
    EXPECT_TRUE(ends.b->claim_receive(ab, {}, fresh));
}

TEST(pool, an_older_copy_gives_up_what_it_would_choose_from) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    ends.deliver(ba, 0, block_size);
    const auto random = make_block(stream_name{"a", "a"}, 0, block_size, block_kind::random);
    ASSERT_TRUE(import_file(*ends.a, random, write_block(random, {ends.a->incoming_directory()}).front()));
    const auto inbound = ends.a->available(ba);
    const auto lost = ends.a->renounce(5000);
    ASSERT_TRUE(lost) << lost.error().message();
    EXPECT_GT(*lost, block_size);
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(send(*ends.a, 1, 1).error().code, errc::no_key);
        EXPECT_EQ(ends.a->take_hello_slot(ab).error().code, errc::no_key);
        EXPECT_EQ(ends.a->claim_random(1, {}).error().code, errc::no_key);
        EXPECT_EQ(ends.a->available(ba), inbound) << "the sender chooses there";
        EXPECT_GT(ends.a->log().durable(), 5000U);
        ends.a.reset();
        ends.a = open_pool(ends.directory / "a", "a");
    }
    EXPECT_GT(ends.a->opened_sequence(), 5000U) << "no witness finds it behind again";
    ends.deliver(ab, block_size, block_size);
    EXPECT_TRUE(send(*ends.a, 1000, 1000)) << "key that comes later is good";
}

TEST(pool, what_one_end_will_never_use_is_given_up_by_the_other) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    ends.deliver(ab, block_size, block_size);
    const auto all = ends.b->available(ab);
    const auto burnt = *send(*ends.a, 5000, 5000);
    ASSERT_TRUE(ends.a->burn(ab, burnt));
    const auto out = *send(*ends.a, 7000, 7000);
    const auto gone = ends.a->gone(ab, 0, 100);
    EXPECT_EQ(gone, std::vector<pad_range>{burnt}) << "what is out may still be used";
    EXPECT_EQ(ends.b->give_up(ab, gone).value(), burnt.size);
    EXPECT_EQ(ends.b->give_up(ab, gone).value(), 0U);
    EXPECT_EQ(ends.b->available(ab), all - burnt.size);
    EXPECT_TRUE(ends.b->claim_receive(ab, {}, out));
    ASSERT_TRUE(ends.a->release(ab, out, out.offset + 1000));
    EXPECT_EQ(ends.a->gone(ab, 0, 100), (std::vector<pad_range>{{burnt.offset, burnt.size + 1000}}));
    EXPECT_EQ(ends.b->gone(ab, 0, 100), std::vector<pad_range>{burnt}) << "its window is out there";
    EXPECT_EQ(ends.a->give_up(ab, ends.b->gone(ab, 0, 100)).value(), 0U);
}

TEST(pool, an_end_that_was_restored_has_lost_what_it_lacks) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    ends.deliver(ab, block_size, block_size);
    const temporary_directory elsewhere;
    const auto copy = open_pool(elsewhere / "b", "b");  // older than the first block
    const auto gone = copy->gone(ab, 2 * block_size, 100);
    EXPECT_EQ(gone, (std::vector<pad_range>{{0, 2 * block_size}}));
    const auto had = ends.a->available(ab);
    EXPECT_EQ(ends.a->give_up(ab, gone).value(), had);
    EXPECT_EQ(ends.a->available(ab), 0U);
    EXPECT_EQ(ends.a->take_hello_slot(ab).error().code, errc::no_key) << "no greeting may draw a slot that b lacks";
    ends.deliver(ab, 2 * block_size, block_size);
    EXPECT_TRUE(ends.a->take_hello_slot(ab));
    ends.reopen_a();
    EXPECT_LT(ends.a->available(ab), block_size);
}

TEST(pool, the_ledger_stays_small) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    ends.reopen_a(16U << 10U);
    std::uint64_t used = 4096;
    std::uintmax_t largest = 0;
    for (int i = 0; i < 400; ++i) {
        const auto window = *send(*ends.a, 1000, 1000);
        ASSERT_EQ(window.offset, used);
        if (i % 10 == 0) used += 10;
        ASSERT_TRUE(ends.a->release(ab, window, used));
        largest = std::max(largest, std::filesystem::file_size(ends.directory / "a/ledger"));
    }
    EXPECT_LE(largest, 48U << 10U) << "the history of 400 windows takes 32 KiB of it";
    EXPECT_GE(read_ledger(ends.directory / "a/ledger")->header.generation, 1U);
    ends.reopen_a();
    EXPECT_EQ(send(*ends.a, 1, 1)->offset, used);
    EXPECT_EQ(ends.a->state().streams()[0].history.size(), 400U);
}

TEST(pool, a_compaction_that_finds_no_room_is_tried_again_later) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    std::filesystem::create_directory(ends.directory / "a/ledger.new");  // where the new file would be written
    ends.reopen_a(8U << 10U);
    const auto claim_and_release = [&](int times) {
        for (int i = 0; i < times; ++i) {
            const auto window = send(*ends.a, 10, 10);
            ASSERT_TRUE(window) << window.error().message();
            ASSERT_TRUE(ends.a->release(ab, *window, window->end()));
        }
    };
    claim_and_release(200);
    EXPECT_FALSE(ends.a->log().has_failed());
    EXPECT_EQ(ends.a->log().header().generation, 0U);
    std::filesystem::remove(ends.directory / "a/ledger.new");
    claim_and_release(200);
    EXPECT_GE(ends.a->log().header().generation, 1U);
    const auto used = ends.a->status()[0].totals.used;
    ends.reopen_a();
    EXPECT_EQ(ends.a->status()[0].totals.used, used);
}

TEST(pool, a_compaction_that_fails_at_its_rename_ends_the_ledger) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    ends.reopen_a(8U << 10U);
    std::filesystem::remove(ends.directory / "a/ledger");
    std::filesystem::create_directory(ends.directory / "a/ledger");  // no file can take its name
    int good = 0;
    while (good < 1000 && !ends.a->log().has_failed()) good += send(*ends.a, 10, 10) ? 1 : 0;
    EXPECT_TRUE(ends.a->log().has_failed());
    EXPECT_EQ(ends.a->state().streams()[0].open.size(), static_cast<std::size_t>(good))
        << "the claim that met the compaction had its mark already";
    EXPECT_EQ(send(*ends.a, 10, 10).error().code, errc::io_error);
}

TEST(pool, a_ledger_gets_behind_what_a_second_peer_remembers_and_gives_up_nothing_more) {
    two_ends ends;
    ends.deliver(ab, 0, block_size);
    ASSERT_TRUE(ends.a->renounce(100));
    ends.deliver(ab, block_size, block_size);
    const auto fresh = ends.a->available(ab);
    ASSERT_TRUE(ends.a->go_beyond(5000));
    ends.reopen_a();
    EXPECT_GT(ends.a->opened_sequence(), 5000U);
    EXPECT_EQ(ends.a->available(ab), fresh);
}

TEST(pool, rests_of_old_blocks_are_burnt_after_a_while) {
    two_ends ends;
    const std::uint64_t size = pad_block_size_min;
    for (std::uint64_t i = 0; i < pad_stale_block_count_max + 4; ++i) {
        ends.deliver(ab, i * size, size);
        const pad_range window{i * size + 4096, size - 4096 - 100};
        ASSERT_TRUE(ends.b->claim_receive(ab, {}, window));
        ASSERT_TRUE(ends.b->release(ab, window, window.end()));
    }
    EXPECT_EQ(ends.b->available(ab), pad_stale_block_count_max * 100);
    EXPECT_EQ(ends.b->next_free(ab, 0).value(), 5 * size - 100);
}

}  // namespace
}  // namespace warifu
