#pragma once
// Two ends of connections in one process, for tests: an echo responder on loopback TCP and on a Unix socket, pads in
// memory.

#include <filesystem>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

#include "fs/channel/connection.h"
#include "keyd/memory_broker.h"

namespace warifu {

inline const stream_name ab{"a", "b"};
inline const stream_name ba{"b", "a"};

/// For what is expected to happen: a busy machine may take its time over it.
constexpr std::uint32_t patience_ms = 30'000;

/// Runs one task on this thread until it is done.
template <typename T>
T run_on_this(asio::io_context& core, awaitable<T> work) {
    std::optional<T> out;
    asio::co_spawn(core, std::move(work), [&out](std::exception_ptr failure, T value) {
        if (failure) std::rethrow_exception(failure);
        out.emplace(std::move(value));
    });
    while (!out) {
        if (core.stopped()) core.restart();
        core.run_one();
    }
    return std::move(*out);
}

inline void run_for(asio::io_context& core, std::chrono::milliseconds duration) {
    if (core.stopped()) core.restart();
    core.run_for(duration);
}

/// Runs until `done()` or a minute; returns done().
template <typename Done>
bool run_until(asio::io_context& core, Done done) {
    const auto until = steady_clock::now() + std::chrono::seconds(60);
    while (!done() && steady_clock::now() < until) run_for(core, std::chrono::milliseconds(2));
    return done();
}

inline slice patterned(std::size_t size, std::uint64_t seed) {
    buffer b(size);
    std::uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;
    for (std::size_t i = 0; i < size; ++i) {
        if (i % 8 == 0) x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        b.data()[i] = static_cast<std::byte>(x >> (8 * (i % 8)));
    }
    return slice(std::move(b));
}

/// Site "b" listens and echoes what it is asked (fields and payload); site "a" connects.
struct echo_site {
    asio::io_context& core;
    std::shared_ptr<pad_broker> broker;
    asio::ip::tcp::acceptor tcp{core, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
    std::string path = std::filesystem::temp_directory_path() /
                       ("warifu-channel-" + std::to_string(::getpid()) + "-" + std::to_string(kernel_random_u64()));
    asio::local::stream_protocol::acceptor local{core, asio::local::stream_protocol::endpoint(path)};
    responder_options greeting;
    connection_options options;
    std::vector<std::shared_ptr<connection>> connections;
    std::vector<error> greeting_errors;
    std::vector<error> ends;
    bool answers = true;
    std::uint32_t greeting_timeout_ms = patience_ms;
    std::size_t requests = 0;
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);

    echo_site(asio::io_context& c, std::shared_ptr<pad_broker> b) : core(c), broker(std::move(b)) {
        greeting.own_site = "b";
        greeting.process = random_uuid<process_id>();
        greeting.admit = [](const std::string&, const volume_id&) { return result<void>{}; };
        options.on_request = [this](std::shared_ptr<connection> from, incoming request) {
            ++requests;
            if (!answers) return;
            message_body body;
            body.fields.assign(request.fields.view().begin(), request.fields.view().end());
            if (!request.payload.empty()) body.payload.push_back(request.payload);
            from->respond(request.header, std::move(body));
        };
        options.on_closed = [this](const error& why) { ends.push_back(why); };
        options.key_wait_ms = patience_ms;
        asio::co_spawn(core, accept_tcp(), asio::detached);
        asio::co_spawn(core, accept_local(), asio::detached);
    }
    ~echo_site() {
        *alive = false;
        for (const auto& c : connections) c->abort(error(errc::cancelled));
        std::filesystem::remove(path);
    }

    awaitable<void> accept_tcp() {
        for (;;) {
            asio::ip::tcp::socket socket(core);
            const auto [ec] = co_await tcp.async_accept(socket, use_values);
            if (ec) co_return;
            asio::co_spawn(core,
                           serve(std::make_shared<stream>(stream::socket_type(std::move(socket))), transport::otp),
                           asio::detached);
        }
    }
    awaitable<void> accept_local() {
        for (;;) {
            asio::local::stream_protocol::socket socket(core);
            const auto [ec] = co_await local.async_accept(socket, use_values);
            if (ec) co_return;
            asio::co_spawn(core,
                           serve(std::make_shared<stream>(stream::socket_type(std::move(socket))), transport::plain),
                           asio::detached);
        }
    }
    awaitable<void> serve(std::shared_ptr<stream> socket, transport mode) {
        responder_options how = greeting;
        how.mode = mode;
        how.broker = mode == transport::otp ? broker : nullptr;
        const auto still = alive;
        auto peer = co_await answer_greeting(socket, std::move(how), deadline_in_ms(greeting_timeout_ms));
        if (!*still) co_return;
        if (!peer) {
            greeting_errors.push_back(peer.error());
            co_return;
        }
        connections.push_back(connection::start(socket, std::move(*peer), options));
    }
};

struct channel_fixture : testing::Test {
    explicit channel_fixture(memory_pads_options options = {}) : pads(options) { pads.link("a", "b"); }

    asio::io_context core;
    memory_pads pads;
    std::shared_ptr<pad_broker> a_keys = pads.end("a");
    std::shared_ptr<pad_broker> b_keys = pads.end("b");
    std::unique_ptr<echo_site> b = std::make_unique<echo_site>(core, b_keys);
    std::vector<error> ends;  // of the initiator's connections
    std::uint32_t key_wait_ms = patience_ms;

    initiator_options greeting(transport mode = transport::otp) {
        initiator_options out;
        out.mode = mode;
        out.own_site = "a";
        out.peer_site = "b";
        out.process = random_uuid<process_id>();
        out.broker = mode == transport::otp ? a_keys : nullptr;
        return out;
    }
    task<std::shared_ptr<connection>> open(std::uint16_t port, initiator_options how, std::uint32_t timeout_ms) {
        const deadline until = deadline_in_ms(timeout_ms);
        std::shared_ptr<stream> socket;
        if (how.mode == transport::otp) {
            CO_TRY(socket, co_await connect_tcp("127.0.0.1", port, until));
        } else {
            CO_TRY(socket, co_await connect_unix(b->path, until));
        }
        CO_TRY(auto peer, co_await greet(socket, std::move(how), until));
        connection_options options;
        options.key_wait_ms = key_wait_ms;
        options.on_closed = [this](const error& why) { ends.push_back(why); };
        co_return connection::start(socket, std::move(peer), std::move(options));
    }
    result<std::shared_ptr<connection>> connect(transport mode = transport::otp, std::uint16_t port = 0,
                                                std::uint32_t timeout_ms = patience_ms) {
        if (port == 0) port = b->tcp.local_endpoint().port();
        return run_on_this(core, open(port, greeting(mode), timeout_ms));
    }
    /// Echoes `size` bytes of payload; true when they came back unchanged.
    task<> echo(std::shared_ptr<connection> c, std::size_t size, std::uint64_t seed, verb what = verb::get,
                std::uint32_t timeout_ms = patience_ms) {
        const slice sent = patterned(size, seed);
        message_body body;
        body.fields.assign(seed % 50, std::byte{7});
        if (size > 0) body.payload.push_back(sent);
        const auto answer_max = static_cast<std::uint32_t>(size + 50);
        CO_TRY(const incoming answer, co_await c->call(what, std::move(body), answer_max, deadline_in_ms(timeout_ms)));
        if (answer.fields.size() != seed % 50 || !std::ranges::equal(answer.payload.view(), sent.view()))
            co_return fail(errc::bad_checksum, "the echo differs");
        co_return result<void>{};
    }
    result<void> echo_now(std::shared_ptr<connection> c, std::size_t size, std::uint64_t seed = 1,
                          verb what = verb::get) {
        return run_on_this(core, echo(std::move(c), size, seed, what));
    }
    awaitable<bool> closing(std::shared_ptr<connection> c) {
        co_await c->close(deadline_in_ms(patience_ms));
        co_return true;
    }
    ~channel_fixture() override {
        b.reset();
        run_for(core, std::chrono::milliseconds(1));
    }
};

}  // namespace warifu
