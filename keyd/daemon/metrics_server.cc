#include "keyd/daemon/metrics_server.h"

#include <charconv>
#include <fmt/format.h>

#include "fs/async/wait.h"
#include "fs/base/clock.h"

namespace warifu {
namespace {

using asio::ip::tcp;

constexpr std::size_t request_size_max = 8192;
constexpr std::size_t scrape_count_max = 16;
constexpr std::uint32_t exchange_time_ms = 5'000;

result<tcp::endpoint> endpoint_of(const std::string& address) {
    const auto wanted =
        fail(errc::bad_argument, "'" + address.substr(0, 80) + "': expected ADDRESS:PORT, such as 127.0.0.1:9109");
    const auto colon = address.rfind(':');
    if (colon == std::string::npos) return wanted;
    std::string host = address.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    unsigned port = 0;
    const char* last = address.data() + address.size();
    const auto [end, ec] = std::from_chars(address.data() + colon + 1, last, port);
    boost::system::error_code bad;
    const auto ip = asio::ip::make_address(host, bad);
    if (bad || ec != std::errc() || end != last || port > 65535) return wanted;
    return tcp::endpoint(ip, static_cast<std::uint16_t>(port));
}

std::string response_to(const std::string& request, const metrics_server::writer_of_text& text) {
    const auto line = request.substr(0, request.find("\r\n"));
    const bool is_get = line.starts_with("GET ") || line.starts_with("HEAD ");
    const auto from = line.find(' ') + 1;
    const auto target = line.substr(from, line.find_first_of(" ?", from) - from);
    std::string status = "200 OK";
    std::string type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    std::string body;
    if (is_get && target == "/metrics") {
        body = text();
    } else {
        status = is_get ? "404 Not Found" : "405 Method Not Allowed\r\nAllow: GET, HEAD";
        type = "text/plain; charset=utf-8";
        body = is_get ? "metrics are at /metrics\n" : "only GET and HEAD\n";
    }
    const auto size = body.size();
    if (line.starts_with("HEAD ")) body.clear();
    return fmt::format("HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", status,
                       type, size, body);
}

}  // namespace

result<std::shared_ptr<metrics_server>> metrics_server::start(asio::any_io_executor core, const std::string& address,
                                                              writer_of_text text) {
    TRY(const auto endpoint, endpoint_of(address));
    tcp::acceptor acceptor(core);
    boost::system::error_code ec;
    acceptor.open(endpoint.protocol(), ec);
    if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
    if (!ec) acceptor.bind(endpoint, ec);
    if (!ec) acceptor.listen(static_cast<int>(scrape_count_max), ec);
    if (ec) {
        const errc code = ec == asio::error::address_in_use  ? errc::busy
                          : ec == asio::error::access_denied ? errc::denied
                                                             : errc::no_such_address;
        return fail(code, fmt::format("cannot listen on {} for metrics: {}", address, ec.message()));
    }
    std::shared_ptr<metrics_server> out(new metrics_server(core, std::move(acceptor), std::move(text)));
    asio::co_spawn(core, accept_all(out), asio::detached);
    return out;
}

std::uint16_t metrics_server::port() const {
    boost::system::error_code ignored;
    return acceptor_.local_endpoint(ignored).port();
}

void metrics_server::stop() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
}

awaitable<void> metrics_server::accept_all(std::shared_ptr<metrics_server> self) {
    while (self->acceptor_.is_open()) {
        const auto socket = std::make_shared<tcp::socket>(self->core_);
        const auto [ec] = co_await self->acceptor_.async_accept(*socket, use_values);
        if (ec == asio::error::operation_aborted || !self->acceptor_.is_open()) co_return;
        if (ec) co_await sleep_for(std::chrono::milliseconds(100));  // out of descriptors
        if (ec || self->open_ >= scrape_count_max) continue;
        ++self->open_;
        asio::co_spawn(self->core_, answer(self, socket), [self](std::exception_ptr) { --self->open_; });
    }
}

awaitable<void> metrics_server::answer(std::shared_ptr<metrics_server> self, std::shared_ptr<tcp::socket> socket) {
    asio::steady_timer limit(self->core_, deadline_in_ms(exchange_time_ms));
    limit.async_wait([socket](boost::system::error_code ec) {
        boost::system::error_code ignored;
        if (!ec) socket->close(ignored);
    });
    std::string request;
    while (request.find("\r\n\r\n") == std::string::npos && request.size() < request_size_max) {
        std::array<char, 1024> piece{};
        const auto [ec, size] = co_await socket->async_read_some(asio::buffer(piece), use_values);
        if (ec) co_return;
        request.append(piece.data(), size);
    }
    const std::string response = response_to(request, self->text_);
    (void)co_await asio::async_write(*socket, asio::buffer(response), use_values);
    boost::system::error_code ignored;
    socket->shutdown(tcp::socket::shutdown_both, ignored);
}

}  // namespace warifu
