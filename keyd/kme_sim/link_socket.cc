#include "keyd/kme_sim/link_socket.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "keyd/kme_sim/limits.h"
#include "keyd/kme_sim/link_message.h"

namespace warifu::kme_sim {
namespace {

using stream = asio::generic::stream_protocol;
using acceptor = asio::basic_socket_acceptor<stream>;

result<stream::endpoint> endpoint_of(const place& p) {
    if (!p.path.empty()) return stream::endpoint(asio::local::stream_protocol::endpoint(p.path.string()));
    boost::system::error_code ec;
    const auto address =
        p.host == "localhost" ? asio::ip::make_address("127.0.0.1") : asio::ip::make_address(p.host, ec);
    if (ec) return fail(errc::bad_argument, fmt::format("{}: expected a numeric address", to_text(p)));
    return stream::endpoint(asio::ip::tcp::endpoint(address, p.port));
}

/// The state of one link; the coroutines share it.
class link_end final : public remote_link, public std::enable_shared_from_this<link_end> {
  public:
    link_end(asio::io_context& core, std::shared_ptr<kme_network> network, const link_config& config)
        : core_(core),
          network_(std::move(network)),
          writing_(core.get_executor()),
          listener_(core),
          socket_(std::make_shared<stream::socket>(core)) {
        const auto& kmes = network_.lock()->config().kmes;
        const auto a = std::ranges::find(kmes, config.a, &kme_config::name);
        own_ = a->remote ? config.b : config.a;
        other_ = a->remote ? config.a : config.b;
        where_ = config.listen ? *config.listen : *config.connect;
        listens_ = config.listen.has_value();
    }

    const std::string& other() const { return other_; }
    bool connected() const override { return greeted_; }

    task<> deliver(std::shared_ptr<const key_delivery_batch> batch, deadline until) override {
        if (!greeted_) co_return fail(errc::unreachable, "its other end is not connected");
        const auto self = shared_from_this();
        const std::uint64_t sequence = next_sequence_++;
        const auto arrival = std::make_shared<promised<result<void>>>(core_.get_executor());
        pending_[sequence] = arrival;
        byte_vector message = encode_link_keys(sequence, *batch);
        co_await send(message);
        wipe(message);
        auto taken = co_await arrival->take(until);
        pending_.erase(sequence);
        if (!taken) co_return fail(errc::timed_out, "its other end does not answer");
        co_return std::move(*taken);
    }

    result<void> listen() {
        TRY(const auto place, endpoint_of(where_));
        if (!listens_) return {};
        if (!where_.path.empty()) ::unlink(where_.path.c_str());
        boost::system::error_code ec;
        listener_.open(place.protocol(), ec);
        if (!ec && where_.path.empty()) listener_.set_option(asio::socket_base::reuse_address(true), ec);
        if (!ec) listener_.bind(place, ec);
        if (!ec) listener_.listen(4, ec);
        if (!ec) return {};
        return fail(ec == asio::error::address_in_use ? errc::busy : errc::io_error,
                    fmt::format("link to {}: {}: {}", other_, to_text(where_), ec.message()));
    }

    void close() {
        closed_ = true;
        boost::system::error_code ignored;
        listener_.close(ignored);
        socket_->close(ignored);
    }

    static awaitable<void> run(std::shared_ptr<link_end> self) {
        while (!self->closed_) {
            auto socket = co_await self->connection();
            if (socket) {
                self->socket_ = socket;
                const auto ended = co_await self->converse(socket);
                if (self->greeted_ && !self->closed_)
                    spdlog::warn("the quantum link to {} is down: {}", self->other_, ended.error().text);
                self->drop();
            }
            if (!self->closed_) co_await sleep_for(std::chrono::milliseconds(link_reconnect_ms));
        }
    }

  private:
    awaitable<std::shared_ptr<stream::socket>> connection() {
        auto socket = std::make_shared<stream::socket>(core_);
        boost::system::error_code ec;
        if (listens_) {
            std::tie(ec) = co_await listener_.async_accept(*socket, use_values);
        } else {
            const auto place = endpoint_of(where_);
            std::tie(ec) = co_await socket->async_connect(*place, use_values);
        }
        if (ec) socket.reset();
        co_return socket;
    }

    task<> converse(std::shared_ptr<stream::socket> socket) {
        const byte_vector hello = encode_link_hello(link_hello{own_, other_});
        co_await send(hello);
        while (true) {
            CO_TRY(auto body, co_await receive(socket));
            auto message = decode_link_message(body);
            wipe(body);
            if (!message) co_return fail(message.error());
            if (const auto* greeting = std::get_if<link_hello>(&*message)) {
                if (greeting->from != other_ || greeting->to != own_)
                    co_return fail(errc::denied, fmt::format("{} is there", greeting->from));
                greeted_ = true;
                spdlog::info("the quantum link to {} is up", other_);
            } else if (!greeted_) {
                co_return fail(errc::bad_format, "it does not greet");
            } else if (const auto* keys = std::get_if<link_keys>(&*message)) {
                const auto network = network_.lock();
                const auto taken = network ? network->receive(own_, keys->batch) : fail(errc::cancelled);
                link_taken answer;
                answer.sequence = keys->sequence;
                if (!taken) {
                    answer.code = static_cast<std::uint16_t>(taken.error().code);
                    answer.text = taken.error().text;
                }
                const byte_vector bytes = encode_link_taken(answer);
                co_await send(bytes);
            } else {
                settle(std::get<link_taken>(*message));
            }
        }
    }

    void settle(const link_taken& answer) {
        const auto found = pending_.find(answer.sequence);
        if (found == pending_.end()) return;
        if (answer.code == 0)
            found->second->set(result<void>{});
        else
            found->second->set(fail(errc::no_space, answer.text));
    }

    task<byte_vector> receive(std::shared_ptr<stream::socket> socket) {
        std::array<std::byte, link_head_size> head{};
        const auto [head_ec, head_size] =
            co_await asio::async_read(*socket, asio::buffer(head.data(), head.size()), use_values);
        if (head_ec) co_return fail(errc::unreachable, head_ec.message());
        reader in(head);
        const auto size = *in.take_be<std::uint32_t>();
        if (size > link_message_limit) co_return fail(errc::too_large, "a message is over its limit");
        byte_vector body(size);
        const auto [ec, got] = co_await asio::async_read(*socket, asio::buffer(body.data(), size), use_values);
        if (ec) co_return fail(errc::unreachable, ec.message());
        co_return body;
    }

    /// A failure shows in the reading end.
    awaitable<void> send(const byte_vector& message) {
        const auto socket = socket_;
        const auto turn = co_await writing_.lock();
        co_await asio::async_write(*socket, asio::buffer(message.data(), message.size()), use_values);
    }

    void drop() {
        greeted_ = false;
        boost::system::error_code ignored;
        socket_->close(ignored);
        for (auto& [sequence, arrival] : pending_) arrival->set(fail(errc::unreachable, "its other end went away"));
    }

    asio::io_context& core_;
    std::weak_ptr<kme_network> network_;  // which holds this
    std::string own_;
    std::string other_;
    place where_;
    bool listens_ = false;
    bool greeted_ = false;
    bool closed_ = false;
    std::uint64_t next_sequence_ = 1;
    std::map<std::uint64_t, std::shared_ptr<promised<result<void>>>> pending_;
    async_mutex writing_;
    acceptor listener_;
    std::shared_ptr<stream::socket> socket_;
};

class link_socket_impl final : public link_socket {
  public:
    explicit link_socket_impl(std::shared_ptr<link_end> end) : end_(std::move(end)) {}
    ~link_socket_impl() override { end_->close(); }

  private:
    std::shared_ptr<link_end> end_;
};

}  // namespace

result<std::unique_ptr<link_socket>> link_socket::start(asio::io_context& core, std::shared_ptr<kme_network> network,
                                                        const link_config& config) {
    auto end = std::make_shared<link_end>(core, network, config);
    TRY_VOID(end->listen());
    network->set_remote(end->other(), end);
    asio::co_spawn(core, link_end::run(end), asio::detached);
    return std::make_unique<link_socket_impl>(std::move(end));
}

}  // namespace warifu::kme_sim
