#pragma once
// A man in the middle on loopback TCP, for tests: forwards both directions, shows every byte to a hook that may change
// it, and can cut the connection. One core thread.

#include "fs/async/wait.h"
#include "fs/base/bytes.h"

namespace warifu {

enum class toward : std::uint8_t { responder = 0, initiator = 1 };

class test_proxy {
  public:
    /// Sees bytes of one direction of one connection from absolute `position` on and may change them. False: cut both
    /// ways after the first `keep` of them.
    struct verdict {
        bool go_on = true;
        std::size_t keep = 0;
    };
    using hook =
        std::function<verdict(unsigned connection, toward direction, std::uint64_t position, bytes_span bytes)>;

    test_proxy(asio::io_context& core, std::uint16_t target_port)
        : target_(asio::ip::address_v4::loopback(), target_port),
          acceptor_(core, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
        asio::co_spawn(core, accept_loop(), asio::detached);
    }
    std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
    hook on_bytes;
    void cut_all() {
        for (auto& weak : pairs_)
            if (const auto p = weak.lock()) p->close();
    }
    void stop() {
        boost::system::error_code ignored;
        acceptor_.close(ignored);
        cut_all();
    }
    unsigned connection_count() const { return count_; }

  private:
    using socket = asio::ip::tcp::socket;
    struct pair {
        socket client;
        socket server;
        unsigned number;
        void close() {
            boost::system::error_code ignored;
            client.close(ignored);
            server.close(ignored);
        }
    };

    awaitable<void> accept_loop() {
        const auto executor = co_await asio::this_coro::executor;
        for (;;) {
            socket client(executor);
            const auto [ec] = co_await acceptor_.async_accept(client, use_values);
            if (ec) co_return;
            socket server(executor);
            const auto [failed] = co_await server.async_connect(target_, use_values);
            if (failed) continue;
            auto both = std::make_shared<pair>(std::move(client), std::move(server), count_++);
            pairs_.push_back(both);
            asio::co_spawn(executor, forward(both, toward::responder), asio::detached);
            asio::co_spawn(executor, forward(both, toward::initiator), asio::detached);
        }
    }

    awaitable<void> forward(std::shared_ptr<pair> both, toward direction) {
        socket& from = direction == toward::responder ? both->client : both->server;
        socket& to = direction == toward::responder ? both->server : both->client;
        std::vector<std::byte> bytes(256U << 10U);
        std::uint64_t position = 0;
        for (;;) {
            const auto [ec, size] = co_await from.async_read_some(asio::buffer(bytes), use_values);
            if (ec) break;
            verdict v;
            if (on_bytes) v = on_bytes(both->number, direction, position, bytes_span(bytes.data(), size));
            const std::size_t keep = v.go_on ? size : v.keep;
            position += size;
            const auto [write_ec, written] =
                co_await asio::async_write(to, asio::buffer(bytes.data(), keep), use_values);
            if (write_ec || !v.go_on) break;
        }
        both->close();
    }

    asio::ip::tcp::endpoint target_;
    asio::ip::tcp::acceptor acceptor_;
    std::vector<std::weak_ptr<pair>> pairs_;
    unsigned count_ = 0;
};

}  // namespace warifu
