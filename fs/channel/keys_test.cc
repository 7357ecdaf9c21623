// Key running out, lost at one end, used twice at none.

#include <map>

#include "fs/channel/test_proxy.h"
#include "fs/channel/test_support.h"

namespace warifu {
namespace {

memory_pads_options scarce() {
    memory_pads_options options;
    options.block_size = 1U << 20U;
    options.stock = 2U << 20U;
    options.control_reserve = 512U << 10U;
    return options;
}

struct scarce_keys_test : channel_fixture {
    scarce_keys_test() : channel_fixture(scarce()) {
        key_wait_ms = 300;
        b->options.key_wait_ms = 100;
    }
};

TEST_F(scarce_keys_test, data_waits_then_fails_with_no_key_while_control_goes_on_and_resumes) {
    const auto c = connect();
    ASSERT_TRUE(c) << c.error().message();
    std::uint64_t echoed = 0;
    result<void> outcome;
    for (; echoed < 100; ++echoed) {
        outcome = run_on_this(core, echo(*c, 100000, echoed, verb::get, 1000));
        if (!outcome) break;
    }
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, errc::no_key) << outcome.error().message();
    EXPECT_GE(echoed, 5U);
    EXPECT_LE(echoed, 15U);
    for (std::uint64_t i = 0; i < 20; ++i) {
        const auto beat = run_on_this(core, echo(*c, 100, i, verb::heartbeat));
        ASSERT_TRUE(beat) << beat.error().message();
    }
    EXPECT_EQ(run_on_this(core, echo(*c, 100000, 1, verb::get, 1000)).error().code, errc::no_key);
    pads.add_stock(ab, 4U << 20U);
    pads.add_stock(ba, 4U << 20U);
    ASSERT_TRUE(run_until(core, [&] { return run_on_this(core, echo(*c, 100000, 1)).has_value(); }));
    EXPECT_TRUE((*c)->is_open());
    EXPECT_TRUE(ends.empty());
}

TEST_F(scarce_keys_test, an_answer_that_finds_no_key_becomes_an_error) {
    pads.add_stock(ab, 64U << 20U);  // only the way to the responder has plenty
    const auto c = connect();
    ASSERT_TRUE(c);
    result<void> outcome;
    for (std::uint64_t i = 0; i < 100 && outcome; ++i) outcome = run_on_this(core, echo(*c, 100000, i));
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, errc::no_key);
    EXPECT_TRUE((*c)->is_open());
    EXPECT_TRUE(run_on_this(core, echo(*c, 100, 1, verb::heartbeat)));
}

TEST_F(scarce_keys_test, without_any_key_there_is_no_connection_but_a_clear_error) {
    pads.lose("a", ab, pad_range{0, 2U << 20U});
    EXPECT_EQ(connect().error().code, errc::no_key);
    pads.add_stock(ab, 2U << 20U);
    EXPECT_TRUE(connect());
    pads.lose("b", ba, pad_range{0, 2U << 20U});
    EXPECT_EQ(connect().error().code, errc::no_key);  // told under MAC
    pads.add_stock(ba, 2U << 20U);
    EXPECT_TRUE(connect());
}

struct keys_test : channel_fixture {};

TEST_F(keys_test, what_one_end_lacks_is_skipped_by_both) {
    pads.lose("b", ab, pad_range{0, 40U << 20U});
    pads.lose("a", ba, pad_range{0, 20U << 20U});
    result<std::shared_ptr<connection>> c = fail(errc::conflict);
    unsigned attempts = 0;
    for (; !c && c.error().code == errc::conflict && attempts < 10; ++attempts) c = connect();
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_LE(attempts, 5U);
    EXPECT_TRUE(echo_now(*c, 1000000));
}

TEST_F(keys_test, a_gap_in_the_middle_is_skipped_without_a_new_connection) {
    for (std::uint64_t i = 1; i < 8; ++i) {
        pads.lose("b", ab, pad_range{(16U << 20U) * i + 5'000'000, 2'000'000});
        pads.lose("a", ba, pad_range{(16U << 20U) * i + 9'000'000, 1'000'000});
    }
    const auto c = connect();
    ASSERT_TRUE(c);
    for (std::uint64_t i = 0; i < 12; ++i) {
        const auto echoed = echo_now(*c, 8000000, i);
        ASSERT_TRUE(echoed) << i << ": " << echoed.error().message();
    }
    EXPECT_EQ(b->connections.size(), 1U);
    EXPECT_TRUE(ends.empty());
}

TEST_F(keys_test, an_end_restored_from_a_copy_does_not_use_key_twice) {
    const auto old = pads.save("a");
    {
        const auto c = connect();
        ASSERT_TRUE(c && echo_now(*c, 3000000));
        (*c)->abort(error(errc::cancelled));
    }
    run_for(core, std::chrono::milliseconds(20));
    pads.restore("a", old);
    result<std::shared_ptr<connection>> c = fail(errc::conflict);
    for (unsigned i = 0; !c && i < 20; ++i) c = connect();
    ASSERT_TRUE(c) << c.error().message();
    EXPECT_TRUE(echo_now(*c, 3000000));
}

/// Splits one direction's bytes into greeting messages and frames and remembers what every pad offset carried.
class wiretap {
  public:
    void take(bytes_view bytes) {
        pending_.insert(pending_.end(), bytes.begin(), bytes.end());
        while (take_one()) {
        }
    }
    /// Of one connection; ciphertexts stay.
    void restart() { pending_.clear(); }
    bool reused = false;
    std::map<std::uint64_t, byte_vector> frames;  // first pad offset -> ciphertext and tag

  private:
    bool take_one() {
        const bytes_view have = pending_;
        if (have.size() < frame_header_size) return false;
        std::size_t size = 0;
        if (const auto prefix = decode_greeting_prefix(have.first(greeting_prefix_size)); prefix) {
            size = greeting_prefix_size + prefix->size;
            if (have.size() < size) return false;
        } else {
            const auto header = decode_frame_header(have.first(frame_header_size));
            if (!header) return false;  // a changed byte: the receiver gives up here too
            size = frame_overhead + header->length;
            if (have.size() < size) return false;
            remember(header->offset, have.subspan(frame_header_size, header->length + mac_tag_size));
        }
        pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(size));
        return true;
    }
    void remember(std::uint64_t offset, bytes_view bytes) {
        const auto after = frames.lower_bound(offset);
        if (after != frames.end() && after->first < offset + bytes.size()) reused = true;
        if (after != frames.begin()) {
            const auto before = std::prev(after);
            if (before->first + before->second.size() > offset) reused = true;
        }
        frames[offset] = byte_vector(bytes.begin(), bytes.end());
    }
    byte_vector pending_;
};

struct wire_test : channel_fixture {
    ~wire_test() override {
        proxy.stop();
        run_for(core, std::chrono::milliseconds(1));
    }
    test_proxy proxy{core, b->tcp.local_endpoint().port()};
    std::array<wiretap, 2> taps;
    std::mt19937_64 random{5};
};

TEST_F(wire_test, no_pad_offset_carries_two_ciphertexts_over_many_connections) {
    std::uint64_t cut_at = 0;
    std::uint64_t seen = 0;
    unsigned current = 0;
    proxy.on_bytes = [&](unsigned number, toward d, std::uint64_t position, bytes_span bytes) {
        if (number != current) {
            for (auto& tap : taps) tap.restart();
            current = number;
        }
        taps[static_cast<std::size_t>(d)].take(bytes);
        if (position > 0) seen += bytes.size();
        return test_proxy::verdict{cut_at == 0 || seen < cut_at, bytes.size() / 2};
    };
    unsigned good = 0;
    for (unsigned round = 0; round < 30; ++round) {
        cut_at = round % 2 == 0 ? 0 : 5000 + random() % 1500000;  // every other connection is cut somewhere
        seen = 0;
        auto c = connect(transport::otp, proxy.port());
        for (unsigned i = 0; !c && c.error().code == errc::conflict && i < 5; ++i)
            c = connect(transport::otp, proxy.port());
        if (!c) continue;
        unsigned done = 0;
        for (std::uint64_t i = 0; i < 12; ++i)
            asio::co_spawn(core, echo(*c, random() % 200000, i), [&](std::exception_ptr, result<void> r) {
                ++done;
                good += r ? 1 : 0;
                if (!r) EXPECT_NE(r.error().code, errc::bad_checksum);
            });
        ASSERT_TRUE(run_until(core, [&] { return done == 12; }));
        if ((*c)->is_open()) run_on_this(core, closing(*c));
    }
    EXPECT_GT(good, 180U);
    for (const auto& tap : taps) {
        EXPECT_FALSE(tap.reused);
        EXPECT_GT(tap.frames.size(), 150U);
    }
}

TEST_F(wire_test, flipped_bits_never_become_data) {
    std::uint64_t flip_at = 0;
    toward where = toward::responder;
    proxy.on_bytes = [&](unsigned, toward d, std::uint64_t position, bytes_span bytes) {
        if (d == where && flip_at >= position && flip_at < position + bytes.size())
            bytes[flip_at - position] ^= static_cast<std::byte>(1U << (random() % 8));
        return test_proxy::verdict{};
    };
    unsigned failed = 0;
    for (unsigned round = 0; round < 30; ++round) {
        where = round % 2 == 0 ? toward::responder : toward::initiator;
        flip_at = 400 + random() % 300000;
        auto c = connect(transport::otp, proxy.port());
        for (unsigned i = 0; !c && c.error().code == errc::conflict && i < 5; ++i)
            c = connect(transport::otp, proxy.port());
        ASSERT_TRUE(c) << c.error().message();
        for (std::uint64_t i = 0; i < 4 && (*c)->is_open(); ++i) {
            const auto outcome = run_on_this(core, echo(*c, 100000, i, i == 0 ? verb::append : verb::get, 300));
            if (!outcome) EXPECT_NE(outcome.error().code, errc::bad_checksum);
        }
        run_for(core, std::chrono::milliseconds(2));
        if (!(*c)->is_open() || !b->connections.back()->is_open()) ++failed;
        (*c)->abort(error(errc::cancelled));
    }
    EXPECT_EQ(failed, 30U);
    std::uint64_t refused = 0;
    for (const auto& c : b->connections) refused += c->counters().frames.forged + c->counters().frames.out_of_place;
    EXPECT_GT(refused, 8U);
}

}  // namespace
}  // namespace warifu
