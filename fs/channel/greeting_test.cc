// The greeting against an adversary on the wire: cut, changed, replayed, malformed.

#include "fs/channel/test_proxy.h"
#include "fs/channel/test_support.h"

namespace warifu {
namespace {

memory_pads_options plenty() {
    memory_pads_options options;
    options.stock = 512U << 20U;
    return options;
}

struct greeting_test : channel_fixture {
    greeting_test() : channel_fixture(plenty()) { b->greeting_timeout_ms = 5000; }
    ~greeting_test() override {
        proxy.stop();
        run_for(core, std::chrono::milliseconds(1));
    }

    test_proxy proxy{core, b->tcp.local_endpoint().port()};
    std::array<std::uint64_t, 2> sizes{};  // of the two directions of a greeting

    /// A greeting through the proxy; the hook sees its bytes. The time is for those that are kept waiting.
    result<std::shared_ptr<connection>> attempt(test_proxy::hook hook, std::uint32_t timeout_ms = 1000) {
        proxy.on_bytes = std::move(hook);
        return connect(transport::otp, proxy.port(), timeout_ms);
    }
    void measure() {
        sizes = {};
        const std::size_t before = server_connections();
        const auto c = attempt(
            [this](unsigned, toward direction, std::uint64_t position, bytes_span bytes) {
                sizes[static_cast<std::size_t>(direction)] = position + bytes.size();
                return test_proxy::verdict{};
            },
            patience_ms);
        ASSERT_TRUE(c) << c.error().message();
        ASSERT_GT(sizes[0], 100U);
        ASSERT_GT(sizes[1], 80U);
        // The responder may still have to take the confirmation: it would count as what comes next.
        for (std::uint32_t ms = 0; ms < patience_ms && server_connections() == before; ++ms) {
        }
        ASSERT_EQ(server_connections(), before + 1);
        (*c)->abort(error(errc::cancelled));
    }
    std::size_t server_connections() {
        run_for(core, std::chrono::milliseconds(1));
        return b->connections.size();
    }
};

TEST_F(greeting_test, cut_at_every_byte_and_the_next_attempt_succeeds) {
    measure();
    for (const toward direction : {toward::responder, toward::initiator}) {
        const std::uint64_t size = sizes[static_cast<std::size_t>(direction)];
        for (std::uint64_t cut = 0; cut < size; ++cut) {
            const std::size_t before = server_connections();
            const auto c = attempt([=](unsigned, toward d, std::uint64_t position, bytes_span bytes) {
                if (d != direction || position + bytes.size() <= cut) return test_proxy::verdict{};
                return test_proxy::verdict{false, static_cast<std::size_t>(cut - std::min(cut, position))};
            });
            // The initiator has done its part once its confirmation is on the way; the responder must not go on without
            // it.
            if (direction == toward::initiator) EXPECT_FALSE(c) << cut;
            EXPECT_EQ(server_connections(), before) << cut;
            if (c) (*c)->abort(error(errc::cancelled));
        }
    }
    const auto good = attempt({}, patience_ms);
    ASSERT_TRUE(good) << good.error().message();
    EXPECT_TRUE(echo_now(*good, 100000));
}

TEST_F(greeting_test, a_change_of_any_byte_stops_it) {
    measure();
    std::mt19937_64 random(7);
    for (const toward direction : {toward::responder, toward::initiator}) {
        const std::uint64_t size = sizes[static_cast<std::size_t>(direction)];
        for (std::uint64_t at = 0; at < size; ++at) {
            const std::size_t before = server_connections();
            const auto bit = static_cast<std::byte>(1U << (random() % 8));
            const auto c = attempt([=](unsigned, toward d, std::uint64_t position, bytes_span bytes) {
                if (d == direction && at >= position && at < position + bytes.size()) bytes[at - position] ^= bit;
                return test_proxy::verdict{};
            });
            if (c) {  // changed in the confirmation: the initiator cannot know, but nothing comes through
                EXPECT_EQ(direction, toward::responder);
                EXPECT_FALSE(echo_now(*c, 10));
                (*c)->abort(error(errc::cancelled));
            }
            EXPECT_EQ(server_connections(), before) << at;
        }
    }
    EXPECT_TRUE(attempt({}, patience_ms));
}

TEST_F(greeting_test, a_recorded_greeting_moves_nothing) {
    byte_vector recorded;
    const auto c = attempt(
        [&](unsigned, toward d, std::uint64_t, bytes_span bytes) {
            if (d == toward::responder) recorded.insert(recorded.end(), bytes.begin(), bytes.end());
            return test_proxy::verdict{};
        },
        patience_ms);
    ASSERT_TRUE(c);
    ASSERT_TRUE(echo_now(*c, 1000));
    (*c)->abort(error(errc::cancelled));
    const auto before = run_on_this(core, b_keys->available("a"));
    const auto replay = [&](byte_vector bytes) -> awaitable<bool> {
        const auto socket =
            co_await connect_tcp("127.0.0.1", b->tcp.local_endpoint().port(), deadline_in_ms(patience_ms));
        (void)co_await (*socket)->write_all(bytes_view(bytes));
        co_await sleep_for(std::chrono::milliseconds(50));
        co_return true;
    };
    const std::size_t connections = server_connections();
    run_on_this(core, replay(recorded));
    EXPECT_EQ(server_connections(), connections);
    EXPECT_FALSE(b->greeting_errors.empty());
    const auto after = run_on_this(core, b_keys->available("a"));
    EXPECT_EQ(before->inbound, after->inbound);
    EXPECT_EQ(before->outbound, after->outbound);
}

TEST_F(greeting_test, hostile_bytes_are_refused_and_counted) {
    std::mt19937_64 random(11);
    std::vector<byte_vector> inputs;
    inputs.push_back(byte_vector(as_bytes_view("GET / HTTP/1.1\r\nHost: x\r\n\r\n").begin(),
                                 as_bytes_view("GET / HTTP/1.1\r\nHost: x\r\n\r\n").end()));
    hello_message hello;
    hello.initiator = "a";
    hello.responder = "b";
    const byte_vector good = encode_hello(hello);
    auto huge = good;
    huge[8] = huge[9] = std::byte{0xff};
    inputs.push_back(huge);
    auto version = good;
    version[5] = std::byte{9};
    inputs.push_back(version);
    auto plain = hello;
    plain.mode = transport::plain;
    inputs.push_back(encode_hello(plain));
    auto twice = good;
    twice.insert(twice.end(), good.begin(), good.end());
    inputs.push_back(twice);
    greeting_message unkeyed;
    unkeyed.window = {1U << 20U, 1U << 18U};
    auto forged = good;
    const auto tail = encode_greeting(unkeyed);
    forged.insert(forged.end(), tail.begin(), tail.end());
    inputs.push_back(forged);
    for (int i = 0; i < 200; ++i) {
        byte_vector bytes(random() % 2000);
        for (auto& byte : bytes) byte = static_cast<std::byte>(random());
        if (i % 2 == 0)
            std::copy_n(good.begin(), std::min<std::size_t>(random() % good.size(), bytes.size()), bytes.begin());
        inputs.push_back(bytes);
    }
    const auto attack = [&](byte_vector bytes) -> awaitable<bool> {
        const auto socket =
            co_await connect_tcp("127.0.0.1", b->tcp.local_endpoint().port(), deadline_in_ms(patience_ms));
        (void)co_await (*socket)->write_all(bytes_view(bytes));
        co_await sleep_for(std::chrono::milliseconds(1));
        co_return true;
    };
    for (const auto& input : inputs) run_on_this(core, attack(input));
    ASSERT_TRUE(run_until(core, [&] { return b->greeting_errors.size() == inputs.size(); }));
    EXPECT_EQ(b->connections.size(), 0U);
    EXPECT_TRUE(connect());
}

TEST_F(greeting_test, a_silent_initiator_is_dropped_at_the_deadline) {
    b->greeting_timeout_ms = 300;
    const auto silent = [&]() -> awaitable<bool> {
        const auto socket =
            co_await connect_tcp("127.0.0.1", b->tcp.local_endpoint().port(), deadline_in_ms(patience_ms));
        std::array<std::byte, 1> byte;
        co_return !co_await (*socket)->read_some(byte);
    };
    EXPECT_TRUE(run_on_this(core, silent()));
    ASSERT_EQ(b->greeting_errors.size(), 1U);
    EXPECT_EQ(b->greeting_errors[0].code, errc::timed_out);
}

}  // namespace
}  // namespace warifu
