#include "keyd/link/listener.h"

#include <spdlog/spdlog.h>

namespace warifu {

using asio::ip::tcp;

result<std::shared_ptr<link_listener>> link_listener::start(asio::any_io_executor core, const std::string& host,
                                                            std::uint16_t port) {
    const std::string name = host + ":" + std::to_string(port);
    std::shared_ptr<link_listener> out(new link_listener(core));
    boost::system::error_code ec;
    tcp::endpoint where;
    if (const auto address = asio::ip::make_address(host, ec); !ec) {
        where = tcp::endpoint(address, port);
    } else {
        tcp::resolver resolver(core);
        const auto found = resolver.resolve(host, std::to_string(port), ec);
        if (ec || found.empty()) return fail(errc::bad_argument, name + ": no such address");
        where = found.begin()->endpoint();
    }
    auto& acceptor = out->acceptor_;
    if (acceptor.open(where.protocol(), ec); ec) return fail(errc::io_error, name + ": " + ec.message());
    acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
    if (acceptor.bind(where, ec); ec)
        return fail(ec == asio::error::address_in_use ? errc::busy : errc::bad_argument, name + ": " + ec.message());
    if (acceptor.listen(tcp::acceptor::max_listen_connections, ec); ec)
        return fail(errc::io_error, name + ": " + ec.message());
    asio::co_spawn(core, out->accept_loop(), asio::detached);
    return out;
}

void link_listener::stop() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    services_.clear();
}

awaitable<void> link_listener::accept_loop() {
    const auto self = shared_from_this();
    while (acceptor_.is_open()) {
        tcp::socket socket(core_);
        const auto [ec] = co_await acceptor_.async_accept(socket, use_values);
        if (ec == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
        if (ec) {
            co_await sleep_for(std::chrono::milliseconds(100));  // out of descriptors
            continue;
        }
        ++count_.accepted;
        if (strangers_.size() >= link_strangers_max) {  // idle connections shall not keep the peer out
            ++count_.refused;
            strangers_.front()->close();
            strangers_.pop_front();
        }
        auto wire = std::make_shared<stream>(stream::socket_type(std::move(socket)));
        auto pipe = std::make_shared<tcp_link_pipe>(std::move(wire));
        asio::co_spawn(core_, greet(std::move(pipe)), asio::detached);
    }
}

awaitable<void> link_listener::greet(std::shared_ptr<link_pipe> pipe) {
    const auto self = shared_from_this();
    strangers_.push_back(pipe);
    auto from = co_await link_session::read_call(pipe);
    std::shared_ptr<link_service> target;
    if (from)
        for (const auto& one : services_)
            if (one->options().peer == from->call.from && one->options().own == from->call.to &&
                end_of(one->options().own, one->options().peer) == link_end::listener)
                target = one;
    if (target) {
        co_await target->adopt(pipe, std::move(*from));
    } else {
        ++count_.refused;
        pipe->close();
    }
    strangers_.remove(pipe);
}

}  // namespace warifu
