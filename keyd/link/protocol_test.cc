// Messages of a link: round trips, limits, and every input that ends early. The samples are those of
// FORMAT.md.

#include <gtest/gtest.h>

#include "fs/base/codec.h"
#include "keyd/link/demand.h"
#include "keyd/link/paths.h"
#include "keyd/link/protocol.h"

namespace warifu {
namespace {

using namespace link_protocol;

key_id key_of(unsigned v) {
    key_id id;
    id.bytes.fill(static_cast<std::byte>(v));
    return id;
}

std::vector<message> samples() {
    block made;
    made.round = 7;
    made.id.bytes.fill(std::byte{0x11});
    made.offset = 0x100000;
    made.size = 0x10000;
    made.hello_slots = 0;
    made.work_slots = 2;
    made.hello_first = 0x80;
    made.work_first = first_slot(slot_shelf::work_caller) + 0x40;
    made.path = {"relay"};
    made.digest.fill(std::byte{0x55});
    stored yes{7, made.digest};
    state now;
    now.weight = 0x200000;
    now.available = 0x8000;
    now.inbound_end = 0x100000;
    now.mark = {ledger_id{}, 0x66, 0x500};
    now.mark.id.bytes.fill(std::byte{0x88});
    now.witnessed.bytes.fill(std::byte{0x99});
    now.witnessed_run = 0x77;
    now.witnessed_before = 0x400;
    return {offer{7, 0, 32, {key_of(0x21), key_of(0x22), key_of(0x23)}},
            have{7, 0, {true, false, true}, {"relay"}},
            made,
            yes,
            refused{7, refusal::different, 0x100000},
            abandon{7},
            next_slot{made.work_first},
            slot_taken{made.work_first},
            now,
            gone{{{0, 0x8000}, {0x10000, 0x1000}}, {{0x20000, 0x4000}}}};
}

call sample_call() {
    call m;
    m.control.bytes.fill(std::byte{0x33});
    m.nonce.fill(std::byte{0x44});
    m.from = "a";
    m.to = "b";
    m.hello_slots = {{0, 0x80}};
    return m;
}
facts sample_facts() {
    facts m;
    m.slots = {{1, 0x80}, {first_slot(slot_shelf::work_caller), first_slot(slot_shelf::work_caller) + 0x40}};
    for (std::size_t i = 0; i < slot_shelf_count; ++i) m.next[i] = first_slot(static_cast<slot_shelf>(i));
    m.next[0] += 0x80;
    m.next[2] += 0x40;
    m.outbound_end = 0x100000;
    return m;
}

TEST(link_messages, survive_a_round_trip_and_no_shorter_or_longer_one_is_taken) {
    for (const auto& m : samples()) {
        const auto bytes = encode(m);
        const auto back = decode(bytes);
        ASSERT_TRUE(back) << to_hex(bytes);
        EXPECT_EQ(*back, m);
        for (std::size_t size = 0; size < bytes.size(); ++size)
            EXPECT_FALSE(decode(bytes_view(bytes).first(size))) << m.index() << " " << size;
        auto longer = bytes;
        longer.push_back(std::byte{0});
        EXPECT_FALSE(decode(longer));
    }
}

TEST(link_messages, are_the_bytes_of_the_format_page) {
    const char* expected[] = {
        "11000000070000000000000020000000032121212121212121212121212121212122222222222222222222222222222222"
        "23232323232323232323232323232323",
        "12000000070000000000000003a0000000010000000572656c6179",
        "130000000711111111111111111111111111111111000000000010000000000000000100000200000002000000000000008080000000"
        "00000040000000010000000572656c617955555555555555555555555555555555",
        "140000000755555555555555555555555555555555",
        "1500000007010000000000100000",
        "1600000007",
        "178000000000000040",
        "188000000000000040",
        "19000000000020000000000000000080000000000000100000"
        "88888888888888888888888888888888"
        "0000000000000066"
        "0000000000000500"
        "99999999999999999999999999999999"
        "0000000000000077"
        "0000000000000400",
        "1a00000002"
        "00000000000000000000000000008000"
        "00000000000100000000000000001000"
        "00000001"
        "00000000000200000000000000004000"};
    for (std::size_t i = 0; i < samples().size(); ++i) EXPECT_EQ(to_hex(encode(samples()[i])), expected[i]);
    EXPECT_EQ(to_hex(encode(sample_call())),
              "574152494c494e4b0002013333333333333333333333333333333344444444444444444444444444444444000000016100000001"
              "620000000100000000000000000000000000000080");
    EXPECT_EQ(to_hex(encode(sample_facts())),
              "574152494c494e4b0002040000000200000000000000010000000000000080800000000000000080000000000000400000000000"
              "0000804000000000000000800000000000"
              "0040c00000000000000000000000001000000000000000000000");
    byte_vector half(32, std::byte{0x5a});
    const auto body = encode(samples()[6]);
    const auto frame = writer().put_be(std::uint32_t{9}).put_be(std::uint64_t{0}).put_be(std::uint16_t{2})
                           .put_bytes(body).take();
    EXPECT_EQ(to_hex(one_time_tag(half, frame)), "686353191d834bca12d01dd64479eea7");
}

TEST(link_messages, greetings_survive_a_round_trip) {
    const auto first = encode(sample_call());
    EXPECT_EQ(decode_call(first), sample_call());
    const auto told = encode(sample_facts());
    EXPECT_EQ(decode_facts(told), sample_facts());
    offer_slot offered;
    offered.slot = 5;
    EXPECT_EQ(decode_offer_slot(encode(offered)), offered);
    EXPECT_EQ(decode_confirm_slot(encode(confirm_slot{})), confirm_slot{});
    for (std::size_t size = 0; size < first.size(); ++size) EXPECT_FALSE(decode_call(bytes_view(first).first(size)));
    for (std::size_t size = 0; size < told.size(); ++size) EXPECT_FALSE(decode_facts(bytes_view(told).first(size)));
    auto version = first;
    version[9] = std::byte{link_version + 1};
    EXPECT_EQ(decode_call(version).error().code, errc::bad_version);
}

TEST(link_messages, values_out_of_range_are_refused) {
    auto big = std::get<block>(samples()[2]);
    for (const std::uint64_t size : {std::uint64_t{0}, link_block_size_min - 4096, link_block_size_min + 1,
                                     link_block_size_max + 4096}) {
        big.size = size;
        EXPECT_FALSE(decode(encode(message(big)))) << size;
    }
    EXPECT_FALSE(decode(encode(message(offer{1, 0, 32, {}}))));
    EXPECT_FALSE(decode(encode(message(offer{1, 0, 0, {key_of(1)}}))));
    EXPECT_FALSE(decode(encode(message(offer{1, 0, link_key_size_max + 1, {key_of(1)}}))));
    EXPECT_FALSE(decode(encode(message(offer{1, 0, 1, std::vector<key_id>(link_batch_keys_max + 1)}))));
    EXPECT_TRUE(decode(encode(message(offer{1, 0, 1, std::vector<key_id>(link_batch_keys_max)}))));
    EXPECT_FALSE(decode(encode(message(have{1, 0, {true}, {"b", "a"}}))));
    auto runs = sample_call();
    runs.hello_slots = {{5, 5}};
    EXPECT_FALSE(decode_call(encode(runs)));
    runs.hello_slots = {{5, 6}, {4, 5}};
    EXPECT_FALSE(decode_call(encode(runs)));
    runs.hello_slots = {{5, first_slot(slot_shelf::work_caller)}};
    EXPECT_FALSE(decode_call(encode(runs)));
}

TEST(link_demand, fills_between_the_watermarks_and_weighs_what_is_missing_and_used) {
    link_demand d(1'000'000);
    deadline now{std::chrono::hours(1)};
    d.observe(now, {0, 0, 0});
    EXPECT_TRUE(d.wants());
    EXPECT_EQ(d.weight(), 1'000'000U);
    d.observe(now, {0, 1'000'000, 0});
    EXPECT_FALSE(d.wants());
    d.observe(now, {0, 800'000, 0});
    EXPECT_FALSE(d.wants());
    d.observe(now, {0, 740'000, 0});
    EXPECT_TRUE(d.wants());
    for (std::uint64_t i = 1; i <= 60; ++i)
        d.observe(now + std::chrono::seconds(i), {0, 700'000, i * 50'000});
    EXPECT_NEAR(d.use_rate(), 50'000, 1'000);
    EXPECT_NEAR(static_cast<double>(d.weight()), 300'000 + 500'000, 20'000);
}

TEST(link_demand, the_share_of_scarce_key_follows_the_weights) {
    link_demand left(4'000'000), right(4'000'000);
    deadline now{std::chrono::hours(1)};
    left.observe(now, {0, 1'000'000, 0});
    right.observe(now, {0, 3'000'000 - 1, 0});
    right.observe(now, {0, 2'990'000, 0});
    const std::uint64_t block = 65'536;
    std::uint64_t left_took = 0, right_took = 0;
    for (int i = 0; i < 2000; ++i) {
        now += std::chrono::milliseconds(10);
        left.ran_short(now);
        right.ran_short(now);
        // The right end is the quicker one: it asks first every time.
        if (right.my_turn(now, left.weight(), block)) {
            right_took += block;
            right.own_took(now, block);
            left.peer_took(now, block);
        } else if (left.my_turn(now, right.weight(), block)) {
            left_took += block;
            left.own_took(now, block);
            right.peer_took(now, block);
        }
    }
    const double wanted = static_cast<double>(left.weight()) / static_cast<double>(right.weight());
    EXPECT_NEAR(static_cast<double>(left_took) / static_cast<double>(right_took), wanted, wanted / 4);
    // Nobody waits for an end that takes nothing, or when there is plenty.
    now += std::chrono::seconds(3);
    right.ran_short(now);
    right.own_took(now, 100 * block);
    EXPECT_FALSE(right.my_turn(now, left.weight(), block));
    now += std::chrono::seconds(3);
    EXPECT_TRUE(right.my_turn(now, left.weight(), block));
    EXPECT_TRUE(right.my_turn(now, left.weight(), block));
    left.own_took(now, block);
    right.peer_took(now, block);
    EXPECT_FALSE(right.my_turn(now, left.weight(), block));
    EXPECT_TRUE(right.my_turn(now, 0, block));
    EXPECT_TRUE(right.my_turn(now + std::chrono::seconds(6), left.weight(), block));
}

TEST(link_demand, blocks_grow_when_key_is_fast_and_shrink_when_it_is_slow) {
    block_sizer sizer(16U << 20U);
    EXPECT_EQ(sizer.size(), block_size_least);
    for (int i = 0; i < 20; ++i) sizer.filled_in(std::chrono::milliseconds(100));
    EXPECT_EQ(sizer.size(), 16U << 20U);
    sizer.filled_in(std::chrono::milliseconds(900));
    EXPECT_EQ(sizer.size(), 16U << 20U);
    for (int i = 0; i < 20; ++i) sizer.closed_short(1'250'000);  // 10 Mbit/s
    EXPECT_GE(sizer.size(), block_size_least);
    EXPECT_LE(sizer.size(), 1'300'000U);
}

TEST(link_demand, key_sizes_keep_the_services_limits) {
    const auto status = [](std::uint64_t normal, std::uint64_t least, std::uint64_t most) {
        delivery_status s;
        s.key_size = normal;
        s.key_size_min = least;
        s.key_size_max = most;
        return s;
    };
    EXPECT_EQ(choose_key_size(status(32, 8, 128), 0, 1U << 20U), 128U);
    EXPECT_EQ(choose_key_size(status(32, 32, 32), 0, 1U << 20U), 32U);
    EXPECT_EQ(choose_key_size(status(32, 8, 1U << 20U), 0, 64U << 10U), 4096U);
    EXPECT_EQ(choose_key_size(status(32, 8, 8U << 20U), 0, 64U << 20U), 1U << 20U);
    EXPECT_EQ(choose_key_size(status(32, 8, 8U << 20U), 32, 64U << 20U), 32U);
    EXPECT_FALSE(choose_key_size(status(32, 64, 32), 0, 64U << 20U));
}

TEST(link_demand, a_rounds_bytes_are_control_slots_and_a_block) {
    EXPECT_EQ(split_round(block_size_least - 1, 10, 10).pad, 0U);
    const auto least = split_round(block_size_least, 10, 10);
    EXPECT_EQ(least.pad, 65'536U + 4096) << "what a window needs, and the hello region";
    EXPECT_EQ(least.control_size(), 0U);
    const auto more = split_round(100'000, 10, 10);
    EXPECT_EQ(more.work, 10);
    EXPECT_EQ(more.hello, 10);
    EXPECT_EQ(more.pad, (100'000U - 20 * control_slot_size) / 4096 * 4096);
    EXPECT_LE(split_round(1U << 20U, 500, 500).control_size(), control_slots_per_block_max * control_slot_size);
}

TEST(placements, who_sees_k_shares_is_named) {
    const std::vector<share_route> direct{{"s1", {}}, {"s2", {}}, {"s3", {}}};
    EXPECT_TRUE(placement_breaches("s1", direct, 2).empty());
    const std::vector<share_route> one{{"s1", {}}, {"s2", {"r"}}, {"s3", {}}};
    EXPECT_TRUE(placement_breaches("s1", one, 2).empty());
    const std::vector<share_route> both{{"s1", {}}, {"s2", {"r"}}, {"s3", {"q", "r"}}};
    const auto found = placement_breaches("s1", both, 2);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found.at("r"), (std::vector<std::string>{"s2", "s3"}));
    EXPECT_TRUE(placement_breaches("s1", both, 3).empty());
    // A share's own site that relays another share's key sees two.
    const std::vector<share_route> site{{"s1", {}}, {"s2", {}}, {"s3", {"s2"}}};
    EXPECT_EQ(placement_breaches("s1", site, 2).count("s2"), 1U);
    EXPECT_TRUE(placement_breaches("s2", {{"s2", {}}, {"s1", {"s2"}}, {"s3", {"s2"}}}, 2).empty());  // the writer
}

}  // namespace
}  // namespace warifu
