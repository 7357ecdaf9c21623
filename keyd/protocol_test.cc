#include "keyd/protocol.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/limits.h"
#include "keyd/local_socket.h"

namespace warifu::keyd_protocol {
namespace {

const stream_name ab{"a", "b"};

template <typename Message>
void round_trip(const Message& message, result<Message> (*decode)(bytes_view)) {
    const auto bytes = encode(message);
    const auto back = decode(bytes);
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_TRUE(*back == message);
    for (std::size_t size = 0; size < bytes.size(); ++size)
        EXPECT_FALSE(decode(bytes_view(bytes).first(size))) << message.body.index() << " cut at " << size;
    auto longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode(longer));
    auto other = bytes;
    other[0] = std::byte{9};
    EXPECT_EQ(decode(other).error().code, errc::bad_version);
}

TEST(keyd_protocol, requests_round_trip) {
    const auto session = random_uuid<session_id>();
    const std::vector<request_body> bodies{greet{},
                                           claim_send{ab, session, 1, 2, key_use::control, 3},
                                           claim_receive{ab, session, {4, 5}},
                                           skip_to{ab, 6},
                                           next_free{ab, 7},
                                           take_hello{ab, 8},
                                           peek_hello{ab, 9},
                                           spend_hello{ab, 10},
                                           release{ab, {11, 12}, 13},
                                           available{"b"},
                                           take_random{14, 15},
                                           status{},
                                           hold{ab, session, {16, 17}},
                                           abandon{ab, {18, 19}},
                                           weigh{20},
                                           reserve{ab, 21}};
    ASSERT_EQ(bodies.size(), std::variant_size_v<request_body>);
    for (const auto& body : bodies) round_trip<request>(request{77, body}, decode_request);
}

TEST(keyd_protocol, replies_round_trip) {
    hello key{96, {}};
    key.key.fill(std::byte{7});
    const std::vector<reply_body> bodies{done{},
                                         failed{errc::no_key, "none"},
                                         greeted{"a", claim::simulated},
                                         window{{1, 2}},
                                         offset{3},
                                         key,
                                         stock{4, 5, claim::computational},
                                         text{"{}"},
                                         reserved{6}};
    ASSERT_EQ(bodies.size(), std::variant_size_v<reply_body>);
    for (const auto& body : bodies) round_trip<reply>(reply{78, body}, decode_reply);
    EXPECT_FALSE(decode_request(encode(reply{1, done{}}))) << "a reply is no request";
    EXPECT_FALSE(decode_reply(encode(request{1, greet{}})));
}

TEST(local_socket, passes_packets_and_descriptors_at_any_length_of_path) {
    std::string directory = testing::TempDir() + "warifu-socket-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    const std::string deep = directory + "/" + std::string(150, 'd');
    ASSERT_TRUE(make_directory(deep));
    for (const auto& path : {directory + "/s", deep + "/s"}) {
        auto listener = listen_local(path, std::nullopt);
        ASSERT_TRUE(listener) << listener.error().message();
        auto near = connect_local(path);
        ASSERT_TRUE(near);
        unique_fd far(::accept(listener->get(), nullptr, nullptr));
        ASSERT_TRUE(far.is_open());
        EXPECT_TRUE(peer_is_trusted(far.get(), std::nullopt));
        EXPECT_EQ(listen_local(path, std::nullopt).error().code, errc::busy);
        asio::io_context core;
        packet_socket a(core.get_executor(), std::move(*near)), b(core.get_executor(), std::move(far));
        const auto talk = [&]() -> awaitable<void> {
            byte_vector bytes(1000, std::byte{5});
            const auto sent = co_await a.send(bytes, 0, std::chrono::seconds(1));
            EXPECT_TRUE(sent);
            const auto got = co_await b.receive();
            EXPECT_TRUE(got && got->bytes == bytes);
            EXPECT_TRUE(got && got->fd.is_open());
            a.close();
            const auto end = co_await b.receive();
            EXPECT_EQ(end.error().code, errc::unreachable);
        };
        asio::co_spawn(core, talk(), asio::detached);
        core.run();
        EXPECT_EQ(connect_local(directory + "/none").error().code, errc::unreachable);
        listener->reset();
        EXPECT_TRUE(listen_local(path, std::nullopt)) << "a socket that nobody answers on is replaced";
        ::unlink(path.c_str());
    }
    ::rmdir(deep.c_str());
    ::rmdir(directory.c_str());
}

}  // namespace
}  // namespace warifu::keyd_protocol
