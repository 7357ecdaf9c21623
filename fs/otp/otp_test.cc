#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "fs/otp/open.h"
#include "fs/otp/seal.h"
#include "fs/otp/xor.h"

namespace warifu {
namespace {

byte_vector random_bytes(std::size_t size, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    byte_vector bytes(size);
    for (auto& b : bytes) b = static_cast<std::byte>(random());
    return bytes;
}

/// Both ends of one pad window and a frame sealed in it.
struct pair {
    std::uint64_t offset = 0x1122334455ULL;
    byte_vector send_pad;
    byte_vector receive_pad;
    sealer seal;
    window_table table;

    explicit pair(std::size_t window_size = 4096) : send_pad(random_bytes(window_size, 1)), receive_pad(send_pad) {
        seal.start_window(offset, send_pad);
        table.add(offset, receive_pad);
    }
    byte_vector sealed(bytes_view text) {
        const auto frame = seal.seal({&text, 1});
        byte_vector wire(frame.header.begin(), frame.header.end());
        wire.insert(wire.end(), frame.body.begin(), frame.body.end());
        return wire;
    }
    result<byte_vector> opened(bytes_view wire) {
        TRY(const auto header, decode_frame_header(wire));
        if (wire.size() != header.length + frame_overhead) return fail(errc::bad_format);
        const bytes_view cipher = wire.subspan(frame_header_size, header.length);
        TRY(const auto pad, table.accept(header, cipher, wire.last(mac_tag_size)));
        byte_vector text(cipher.size());
        xor_to(text, cipher, pad);
        return text;
    }
};

TEST(otp_xor, kernels_agree_at_every_size_and_alignment) {
    const byte_vector a = random_bytes(700, 2);
    const byte_vector b = random_bytes(700, 3);
    for (const auto& kernel : xor_kernels()) {
        for (std::size_t size = 0; size < 300; ++size) {
            for (const std::size_t shift : {0U, 1U, 7U, 31U}) {
                byte_vector out(size + 1, std::byte{0x5a});
                kernel.run(out.data(), a.data() + shift, b.data() + 2 * shift, size);
                for (std::size_t i = 0; i < size; ++i)
                    ASSERT_EQ(out[i], a[shift + i] ^ b[2 * shift + i]) << kernel.name;
                ASSERT_EQ(out[size], std::byte{0x5a}) << kernel.name;
            }
        }
        byte_vector in_place = a;
        kernel.run(in_place.data(), in_place.data(), b.data(), in_place.size());
        for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(in_place[i], a[i] ^ b[i]) << kernel.name;
    }
}

TEST(otp_frame, what_is_sealed_opens) {
    pair ends(1U << 20U);
    for (const std::size_t size : {1U, 2U, 15U, 16U, 17U, 4095U, 16384U, 16385U, 100000U, 262144U}) {
        const byte_vector text = random_bytes(size, size);
        const auto opened = ends.opened(ends.sealed(text));
        ASSERT_TRUE(opened) << opened.error().message();
        EXPECT_EQ(*opened, text);
    }
    EXPECT_EQ(ends.seal.cursor(), ends.table.cursor());
    EXPECT_EQ(ends.table.counters().accepted, 10U);
}

bool is_zero(bytes_view bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

TEST(otp_frame, no_key_is_left_behind_the_cursors) {
    constexpr std::size_t window_size = 4096;
    pair ends(window_size);
    const byte_vector pad = random_bytes(window_size, 1);  // as it was
    for (const std::size_t size : {100U, 1000U, 1U}) ASSERT_TRUE(ends.opened(ends.sealed(random_bytes(size, size))));
    const std::size_t sealed = ends.seal.cursor() - ends.offset;
    // Of 16 random bytes in a row none stays where it was; what is not used yet does.
    const bytes_view now = ends.send_pad, before = pad;
    for (std::size_t at = 0; at + 16 <= sealed; ++at)
        ASSERT_FALSE(std::ranges::equal(now.subspan(at, 16), before.subspan(at, 16))) << at;
    EXPECT_TRUE(std::ranges::equal(now.subspan(sealed), before.subspan(sealed)));

    const byte_vector next = random_bytes(window_size, 9);
    byte_vector next_sent = next, next_received = next;
    ends.seal.start_window(ends.offset + window_size, next_sent);
    ends.table.add(ends.offset + window_size, next_received);
    ASSERT_TRUE(ends.opened(ends.sealed(random_bytes(50, 5))));
    ASSERT_EQ(ends.table.take_finished(), 1U);
    EXPECT_TRUE(is_zero(ends.receive_pad));
    EXPECT_TRUE(is_zero(bytes_view(next_received).first(16)));
    EXPECT_FALSE(is_zero(bytes_view(next_received).subspan(16, 50))) << "the last frame's pad may still be read";
    ASSERT_TRUE(ends.opened(ends.sealed(random_bytes(50, 6))));
    EXPECT_TRUE(is_zero(bytes_view(next_received).subspan(16, 50 + 16)));
}

TEST(otp_frame, parts_are_sealed_as_one_text) {
    const byte_vector text = random_bytes(50000, 4);
    const bytes_view whole = text;
    pair in_one(1U << 17U);
    pair in_parts(1U << 17U);
    const byte_vector expected = in_one.sealed(whole);
    std::vector<bytes_view> parts{whole.first(1), whole.subspan(1, 23), {}, whole.subspan(24, 16360),
                                  whole.subspan(16384, 16384), whole.subspan(32768)};
    const auto frame = in_parts.seal.seal(parts);
    byte_vector wire(frame.header.begin(), frame.header.end());
    wire.insert(wire.end(), frame.body.begin(), frame.body.end());
    EXPECT_EQ(wire, expected);
}

TEST(otp_frame, consumes_length_and_mask_up_to_the_last_byte) {
    pair ends(16 + 10 + 16 + 1 + 16);
    EXPECT_EQ(ends.seal.cursor(), ends.offset + 16);
    EXPECT_EQ(ends.seal.room(), 27U);
    ends.sealed(random_bytes(10, 5));
    EXPECT_EQ(ends.seal.cursor(), ends.offset + 42);
    EXPECT_EQ(ends.seal.room(), 1U);
    ends.sealed(random_bytes(1, 5));
    EXPECT_EQ(ends.seal.room(), 0U);
}

TEST(otp_forgery, every_flipped_bit_is_refused) {
    const byte_vector text = random_bytes(37, 6);
    const byte_vector good = pair().sealed(text);
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
        pair ends;
        byte_vector wire = ends.sealed(text);
        wire[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        EXPECT_FALSE(ends.opened(wire)) << "bit " << bit;
        EXPECT_EQ(ends.table.cursor(), ends.offset + mac_point_size) << "bit " << bit;
        const auto opened = ends.opened(good);  // the true frame still counts after a forgery
        ASSERT_TRUE(opened);
        EXPECT_EQ(*opened, text);
    }
}

TEST(otp_forgery, a_length_that_moves_the_tag_is_refused) {
    pair ends;
    const byte_vector wire = ends.sealed(random_bytes(40, 7));
    for (std::uint32_t length = 1; length < 39; ++length) {
        const frame_header header{ends.offset + mac_point_size, length};
        const bytes_view view = wire;
        const auto result = ends.table.accept(header, view.subspan(frame_header_size, length),
                                              view.subspan(frame_header_size + length, mac_tag_size));
        EXPECT_FALSE(result);
    }
}

TEST(otp_forgery, a_dropped_frame_is_noticed_at_a_window_edge) {
    pair ends;
    byte_vector second_send = random_bytes(4096, 9);
    byte_vector second_receive = second_send;
    ends.sealed(random_bytes(10, 1));  // never arrives
    ends.seal.start_window(ends.offset + 4096, second_send);
    ends.table.add(ends.offset + 4096, second_receive);
    EXPECT_FALSE(ends.opened(ends.sealed(random_bytes(10, 2))));
    EXPECT_EQ(ends.table.counters().forged, 1U);
}

TEST(otp_window, replays_and_overlaps_are_refused_and_counted) {
    pair ends;
    const byte_vector first = ends.sealed(random_bytes(10, 1));
    const byte_vector second = ends.sealed(random_bytes(10, 2));
    EXPECT_FALSE(ends.opened(second));  // not next
    EXPECT_EQ(ends.table.counters().out_of_place, 1U);
    ASSERT_TRUE(ends.opened(first));
    EXPECT_FALSE(ends.opened(first));
    EXPECT_EQ(ends.table.counters().replayed, 1U);
    ASSERT_TRUE(ends.opened(second));
    EXPECT_FALSE(ends.opened(first));
    EXPECT_FALSE(ends.opened(second));
    EXPECT_EQ(ends.table.counters().replayed, 3U);
    const byte_vector bytes(100);
    const bytes_view view = bytes;
    EXPECT_FALSE(ends.table.accept({ends.table.cursor() + 1, 20}, view.first(20), view.first(16)));
    EXPECT_FALSE(ends.table.accept({ends.table.cursor() - 1, 20}, view.first(20), view.first(16)));
    EXPECT_FALSE(ends.table.accept({~0ULL, 20}, view.first(20), view.first(16)));
    EXPECT_EQ(ends.table.counters().accepted, 2U);
    EXPECT_EQ(ends.table.counters().forged, 0U);
}

TEST(otp_window, a_frame_must_fit_into_its_window) {
    pair ends(100);
    const byte_vector bytes(200);
    const bytes_view view = bytes;
    EXPECT_FALSE(ends.table.accept({ends.offset + 16, 69}, view.first(69), view.first(16)));
    EXPECT_EQ(ends.table.counters().out_of_place, 1U);
    EXPECT_FALSE(ends.table.accept({ends.offset + 16, 68}, view.first(68), view.first(16)));
    EXPECT_EQ(ends.table.counters().forged, 1U);
}

TEST(otp_window, failures_retire_a_window) {
    pair ends;
    const byte_vector good = ends.sealed(random_bytes(10, 1));
    byte_vector bad = good;
    bad.back() ^= std::byte{1};
    for (unsigned i = 1; i < verification_failures_max; ++i) {
        const auto refused = ends.opened(bad);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, errc::bad_tag);
    }
    EXPECT_EQ(ends.opened(bad).error().code, errc::no_key);
    EXPECT_EQ(ends.opened(good).error().code, errc::no_key);  // even the true one
    EXPECT_EQ(ends.table.counters().retired, 1U);
    EXPECT_EQ(ends.table.counters().forged, verification_failures_max);
}

TEST(otp_window, moves_to_the_next_window_and_reports_the_finished_one) {
    pair ends;
    byte_vector second_send = random_bytes(4096, 9);
    byte_vector second_receive = second_send;
    ASSERT_TRUE(ends.opened(ends.sealed(random_bytes(10, 1))));
    ends.table.add(ends.offset + 8192, second_receive);
    ends.seal.start_window(ends.offset + 8192, second_send);
    EXPECT_EQ(ends.table.take_finished(), 0U);
    ASSERT_TRUE(ends.opened(ends.sealed(random_bytes(10, 2))));
    EXPECT_EQ(ends.table.take_finished(), 1U);
    EXPECT_EQ(ends.table.take_finished(), 0U);
    EXPECT_EQ(ends.table.window_count(), 1U);
    EXPECT_EQ(ends.table.cursor(), ends.offset + 8192 + 16 + 26);
}

TEST(otp_window_death, no_offset_is_sealed_twice) {
    pair ends;
    byte_vector pad = random_bytes(4096, 1);
    ends.sealed(random_bytes(10, 1));
    EXPECT_DEATH(ends.seal.start_window(ends.offset, pad), "sealed_below_");
    EXPECT_DEATH(ends.seal.start_window(ends.offset + 41, pad), "sealed_below_");
    ends.seal.start_window(ends.offset + 42, pad);  // the released tail may come again
}

TEST(otp_frame, header_lengths_out_of_range_are_refused) {
    for (const std::uint32_t length : {0U, static_cast<std::uint32_t>(frame_payload_size_max) + 1, 0xffffffffU}) {
        const auto bytes = encode_frame_header({1, length});
        EXPECT_FALSE(decode_frame_header(bytes)) << length;
    }
    EXPECT_TRUE(decode_frame_header(encode_frame_header({1, 1})));
    EXPECT_TRUE(decode_frame_header(encode_frame_header({1, frame_payload_size_max})));
    const auto bytes = encode_frame_header({1, 1});
    EXPECT_FALSE(decode_frame_header(bytes_view(bytes).first(11)));
}

}  // namespace
}  // namespace warifu
