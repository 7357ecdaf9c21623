// Connections of consumers.
#include <cerrno>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include "fs/base/limits.h"
#include "keyd/daemon/keyd.h"

namespace warifu {
namespace {

constexpr auto send_timeout = std::chrono::milliseconds(10'000);
constexpr auto pause = std::chrono::milliseconds(1);

}  // namespace

awaitable<void> keyd::accept_loop() {
    while (!stopping_) {
        const auto [ec] = co_await listener_.async_wait(asio::posix::stream_descriptor::wait_read, use_values);
        if (ec || stopping_) co_return;
        accept_one();
        if (clients_.size() >= keyd_client_count_max) co_await sleep_for(pause);
    }
}

void keyd::accept_one() {
    unique_fd fd(::accept4(listener_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.is_open()) return;
    if (!peer_is_trusted(fd.get(), options_.group) || clients_.size() >= keyd_client_count_max) {
        ++count_.peers_refused;
        spdlog::warn("keyd {}: a connection was refused", options_.site);
        return;
    }
    auto from = std::make_shared<client>(core_, std::move(fd));
    from->number = next_consumer_++;
    clients_.insert(from);
    asio::co_spawn(core_, serve(from), [self = shared_from_this(), from](std::exception_ptr thrown) {
        self->drop(from);
        if (thrown) std::rethrow_exception(thrown);
    });
}

awaitable<void> keyd::serve(client_ptr from) {
    while (!from->closed) {
        auto arrived = co_await from->socket.receive();
        if (!arrived || from->closed) co_return;
        auto message = keyd_protocol::decode_request(arrived->bytes);
        if (!message) {
            ++count_.bad_messages;
            spdlog::warn("keyd {}: a consumer sent nonsense: {}", options_.site, message.error().message());
            co_return;
        }
        while (from->in_flight >= keyd_requests_in_flight_max && !from->closed) co_await sleep_for(pause);
        if (from->closed) co_return;
        ++from->in_flight;
        asio::co_spawn(core_, answer_one(from, std::move(*message), std::move(arrived->fd)),
                       [self = shared_from_this()](std::exception_ptr thrown) {
                           if (thrown) std::rethrow_exception(thrown);
                       });
    }
}

awaitable<void> keyd::answer_one(client_ptr from, keyd_protocol::request message, unique_fd lent) {
    const std::uint64_t id = message.id;
    const auto begin = [&](auto& body) {
        if constexpr (requires { on(from, std::move(body), std::move(lent)); })
            return on(from, std::move(body), std::move(lent));
        else
            return on(from, std::move(body));
    };
    auto work = std::visit(begin, message.body);
    auto ready = co_await std::move(work);
    --from->in_flight;
    if (from->closed) co_return;
    const keyd_protocol::reply out{id, std::move(ready)};
    auto packet = keyd_protocol::encode(out);
    const auto sent = co_await from->socket.send(std::move(packet), -1, send_timeout);
    if (!sent) drop(from);
}

/// The consumer is gone: what it held is burnt. When it is keyd that goes, consumers keep what they have.
void keyd::drop(const client_ptr& from) {
    if (from->closed) return;
    const auto keep = from;  // the caller's reference may lie in clients_
    keep->closed = true;
    keep->socket.close();
    if (!stopping_)
        for (const auto& [place, window] : keep->windows) burn(place.first, window);
    keep->windows.clear();
    forget_memory(*keep);
    for (auto& [stream, waiting] : waiting_) waiting.queue.forget(keep->number);
    clients_.erase(keep);
    wake_waiters();
}

}  // namespace warifu
