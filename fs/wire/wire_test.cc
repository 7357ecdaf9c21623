#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include "fs/wire/wire_samples.h"

namespace warifu {
namespace {

body_view view_of(const message_body& body) {
    return {body.fields, joined(body.payload)};
}

TEST(wire, every_message_round_trips) {
    for (const auto& sample : wire_samples()) {
        const auto again = sample.again(view_of(sample.sample));
        ASSERT_TRUE(again) << sample.name << ": " << again.error().message();
        EXPECT_EQ(again->fields, sample.sample.fields) << sample.name;
        EXPECT_TRUE(std::ranges::equal(joined(again->payload).view(), joined(sample.sample.payload).view()))
            << sample.name;
    }
}

TEST(wire, cut_and_trailing_bytes_are_refused) {
    for (const auto& sample : wire_samples()) {
        const body_view whole = view_of(sample.sample);
        for (std::size_t size = 0; size < whole.fields.size(); ++size)
            EXPECT_FALSE(sample.again({whole.fields.first(size), whole.payload})) << sample.name << " cut to " << size;
        byte_vector longer = sample.sample.fields;
        longer.push_back(std::byte{0});
        EXPECT_FALSE(sample.again({longer, whole.payload})) << sample.name;
        auto payload = sample.sample.payload;
        payload.push_back(sample_bytes(1));
        EXPECT_FALSE(sample.again({whole.fields, joined(payload)})) << sample.name;
        if (whole.payload.size() > 0)
            EXPECT_FALSE(sample.again({whole.fields, whole.payload.part(0, whole.payload.size() - 1)})) << sample.name;
    }
}

TEST(wire, values_survive) {
    const share_put put{
        sample_chunk(1), sample_ballot(), {2}, {}, sample_bytes(40), {sample_bytes(100), sample_bytes(30, 2)}};
    const auto decoded = decode_put_request(view_of(encode_put_request(put)));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->chunk, put.chunk);
    EXPECT_EQ(decoded->index, put.index);
    ASSERT_EQ(decoded->pieces.size(), 2U);
    EXPECT_TRUE(std::ranges::equal(decoded->pieces[1].view(), put.pieces[1].view()));
    EXPECT_TRUE(std::ranges::equal(decoded->side.view(), put.side.view()));

    store_state state;
    state.journal = {3, 9, sample_ballot()};
    state.heartbeat = heartbeat_state{sample_ballot(), {"m", "b", 12, 34}, 56};
    const auto again = decode_state_response(view_of(encode_state_response(state)));
    ASSERT_TRUE(again && again->heartbeat);
    EXPECT_EQ(again->journal.last, 9U);
    EXPECT_EQ(again->heartbeat->writer, state.heartbeat->writer);
}

TEST(wire, payload_is_not_copied_by_encoders) {
    const share_put put{sample_chunk(1), sample_ballot(), {2}, {}, sample_bytes(40), {sample_bytes(100)}};
    const auto body = encode_put_request(put);
    ASSERT_EQ(body.payload.size(), 2U);
    EXPECT_EQ(body.payload[0].view().data(), put.pieces[0].view().data());
    const auto whole = view_of(body);
    const auto decoded = decode_put_request(whole);
    EXPECT_EQ(decoded->pieces[0].view().data(), whole.payload.view().data());
}

TEST(wire, counts_over_their_limits_are_too_large) {
    get_request get;
    get.ranges.resize(get_range_count_max + 1);
    EXPECT_EQ(decode_get_request(view_of(encode_get_request(get))).error().code, errc::too_large);
    share_put put;
    put.pieces.assign(chunk_piece_count_max + 1, sample_bytes(1));
    EXPECT_EQ(decode_put_request(view_of(encode_put_request(put))).error().code, errc::too_large);
    writer lying;
    lying.put_be(std::uint32_t{4096});
    EXPECT_EQ(decode_list_response(body_view{lying.view(), {}}).error().code, errc::bad_format);
}

TEST(wire, journal_answer_keeps_to_its_size_but_holds_one_entry) {
    std::vector<journal_entry> entries;
    for (std::uint64_t i = 1; i <= 5; ++i) entries.push_back({i, sample_ballot(), {}, sample_bytes(1000)});
    EXPECT_EQ(decode_read_journal_response(view_of(encode_read_journal_response(entries, 3200)))->size(), 3U);
    EXPECT_EQ(decode_read_journal_response(view_of(encode_read_journal_response(entries, 10)))->size(), 1U);
    EXPECT_EQ(decode_read_journal_response(view_of(encode_read_journal_response({}, 10)))->size(), 0U);
}

TEST(wire, headers) {
    const message_header header{verb::put, message_kind::request, 100, 4000, 16, 77};
    const auto bytes = encode_message_header(header);
    EXPECT_EQ(to_hex(bytes), "00030100" "00000064" "00000fa0" "00000010" "000000000000004d");
    ASSERT_TRUE(decode_message_header(bytes));
    const auto refuses = [&](std::size_t at, unsigned value) {
        auto changed = bytes;
        changed[at] = static_cast<std::byte>(value);
        return !decode_message_header(changed);
    };
    EXPECT_TRUE(refuses(1, 0));     // no such verb
    EXPECT_TRUE(refuses(1, 15));
    EXPECT_TRUE(refuses(1, 131));   // a control verb as a request
    EXPECT_TRUE(refuses(2, 0));     // no such kind
    EXPECT_TRUE(refuses(2, 4));     // a store verb as a control message
    EXPECT_TRUE(refuses(3, 1));     // not zero
    EXPECT_TRUE(refuses(4, 1));     // 16 MiB of fields
    EXPECT_TRUE(refuses(8, 1));     // 16 MiB of payload
    EXPECT_TRUE(refuses(12, 1));    // asks for 16 MiB
    EXPECT_TRUE(refuses(2, 3));     // a failure with payload
    EXPECT_FALSE(decode_message_header(bytes_view(bytes).first(23)));
}

TEST(wire, errors_travel_as_code_and_text) {
    const auto body = encode_error(error(errc::no_space, "the store is full"));
    const error decoded = decode_error(view_of(body));
    EXPECT_EQ(decoded.code, errc::no_space);
    EXPECT_EQ(decoded.text, "the store is full");
    EXPECT_EQ(decode_error(view_of(encode_error(error(errc::busy, std::string(5000, 'x'))))).text.size(),
              error_text_size_max);
    EXPECT_EQ(decode_error(view_of(encode_error(error(static_cast<errc>(999))))).code, errc::io_error);
    EXPECT_EQ(decode_error(body_view{}).code, errc::bad_format);
}

TEST(wire, greeting_prefixes) {
    const auto hello = encode_hello({});
    const bytes_view prefix = bytes_view(hello).first(greeting_prefix_size);
    ASSERT_TRUE(decode_greeting_prefix(prefix));
    EXPECT_EQ(decode_greeting_prefix(prefix)->size, hello.size() - greeting_prefix_size);
    const auto code_with = [&](std::size_t at, unsigned value) {
        byte_vector changed(prefix.begin(), prefix.end());
        changed[at] = static_cast<std::byte>(value);
        const auto decoded = decode_greeting_prefix(changed);
        return decoded ? errc{} : decoded.error().code;
    };
    EXPECT_EQ(code_with(0, 'G'), errc::bad_format);
    EXPECT_EQ(code_with(5, 2), errc::bad_version);
    EXPECT_EQ(code_with(6, 0), errc::bad_format);
    EXPECT_EQ(code_with(6, 7), errc::bad_format);
    EXPECT_EQ(code_with(8, 0xff), errc::too_large);
}

/// WARIFU_WRITE_CORPUS=DIR writes the fuzzer's seed inputs.
TEST(wire, corpus_can_be_written) {
    const char* directory = std::getenv("WARIFU_WRITE_CORPUS");
    if (directory == nullptr) GTEST_SKIP() << "only on demand";
    std::uint8_t index = 0;
    for (const auto& sample : wire_samples()) {
        writer out;
        out.put_be(index++)
            .put_be(static_cast<std::uint16_t>(sample.sample.fields.size()))
            .put_bytes(sample.sample.fields);
        out.put_bytes(joined(sample.sample.payload).view());
        std::ofstream file(std::string(directory) + "/" + std::string(sample.name), std::ios::binary);
        file << as_text(out.view());
    }
    writer out;
    out.put_be(std::uint8_t{255}).put_be(std::uint16_t{0});
    out.put_bytes(encode_message_header({verb::put, message_kind::request, 100, 4000, 16, 77}));
    std::ofstream(std::string(directory) + "/header", std::ios::binary) << as_text(out.view());
}

}  // namespace
}  // namespace warifu
