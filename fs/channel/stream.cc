#include "fs/channel/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "fs/async/wait.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

constexpr std::size_t buffers_per_write = 64;  // what Asio passes to one sendmsg

void set_option(int fd, int level, int name, int value) {
    (void)::setsockopt(fd, level, name, &value, sizeof value);  // an option that is refused costs speed, not safety
}

std::unexpected<error> lost(const boost::system::error_code& ec) {
    return fail(errc::unreachable, ec == asio::error::eof ? "the peer closed the connection" : ec.message());
}

}  // namespace

stream::stream(socket_type socket)
    : socket_(std::move(socket)), write_progress_(steady_clock::now()), last_read_(steady_clock::now()) {
    const int fd = socket_.native_handle();
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    local_ = ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 && address.ss_family == AF_UNIX;
    boost::system::error_code ignored;
    socket_.non_blocking(true, ignored);
    if (local_) {
        set_option(fd, SOL_SOCKET, SO_SNDBUF, 4 << 20);
        return;
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 4);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(request_timeout_ms));
}

stream::~stream() {
    close();
}

result<std::uint32_t> stream::peer_uid() {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (!local_ || ::getsockopt(socket_.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return fail(errc::denied, "the peer has no credentials");
    return credentials.uid;
}

task<std::size_t> stream::read_some(bytes_span out) {
    const auto [ec, size] = co_await socket_.async_read_some(asio::buffer(out.data(), out.size()), use_values);
    if (ec) co_return lost(ec);
    last_read_ = steady_clock::now();
    co_return size;
}

task<> stream::read_exactly(bytes_span out) {
    while (!out.empty()) {
        CO_TRY(const std::size_t size, co_await read_some(out));
        out = out.subspan(size);
    }
    co_return result<void>{};
}

task<> stream::write_all(std::vector<asio::const_buffer> buffers) {
    writing_ = true;
    write_progress_ = steady_clock::now();
    std::size_t first = 0;
    while (first < buffers.size()) {
        const std::span<const asio::const_buffer> next(buffers.data() + first,
                                                       std::min(buffers_per_write, buffers.size() - first));
        auto [ec, size] = co_await socket_.async_write_some(next, use_values);
        if (ec) {
            writing_ = false;
            co_return lost(ec);
        }
        write_progress_ = steady_clock::now();
        while (first < buffers.size() && size >= buffers[first].size()) size -= buffers[first++].size();
        if (size > 0) buffers[first] += size;
    }
    writing_ = false;
    co_return result<void>{};
}

task<> stream::write_all(bytes_view bytes) {
    std::vector<asio::const_buffer> buffers;
    buffers.emplace_back(bytes.data(), bytes.size());
    co_return co_await write_all(std::move(buffers));
}

void stream::close() {
    boost::system::error_code ignored;
    socket_.close(ignored);
}

stream_deadline::stream_deadline(std::shared_ptr<stream> target, deadline until)
    : timer_(target->executor()) {
    timer_.expires_at(until);
    timer_.async_wait([target = std::move(target), expired = expired_](const boost::system::error_code& ec) {
        if (ec) return;
        *expired = true;
        target->close();
    });
}

namespace {

/// Connects one socket; the timer closes it at the deadline.
template <typename Protocol>
task<std::shared_ptr<stream>> connect_endpoint(typename Protocol::endpoint endpoint, std::string name, deadline until) {
    const auto executor = co_await asio::this_coro::executor;
    auto socket = std::make_shared<typename Protocol::socket>(executor);
    asio::steady_timer timer(executor);
    timer.expires_at(until);
    timer.async_wait([socket](const boost::system::error_code& ec) {
        boost::system::error_code ignored;
        if (!ec) socket->close(ignored);
    });
    const auto [ec] = co_await socket->async_connect(endpoint, use_values);
    timer.cancel();
    if (ec == asio::error::operation_aborted) co_return fail(errc::timed_out, name + " does not answer");
    if (ec) co_return fail(errc::unreachable, name + ": " + ec.message());
    co_return std::make_shared<stream>(stream::socket_type(std::move(*socket)));
}

}  // namespace

task<std::shared_ptr<stream>> connect_tcp(std::string host, std::uint16_t port, deadline until) {
    using asio::ip::tcp;
    const std::string name = host + ":" + std::to_string(port);
    boost::system::error_code ec;
    const auto address = asio::ip::make_address(host, ec);
    if (!ec) co_return co_await connect_endpoint<tcp>(tcp::endpoint(address, port), name, until);

    auto resolver = std::make_shared<tcp::resolver>(co_await asio::this_coro::executor);
    asio::steady_timer timer(resolver->get_executor());
    timer.expires_at(until);
    timer.async_wait([resolver](const boost::system::error_code& failed) {
        if (!failed) resolver->cancel();
    });
    const auto [resolve_ec, found] = co_await resolver->async_resolve(host, std::to_string(port), use_values);
    timer.cancel();
    if (resolve_ec) co_return fail(errc::unreachable, name + ": " + resolve_ec.message());
    error last(errc::unreachable, name + " has no address");
    for (const auto& entry : found) {
        auto connected = co_await connect_endpoint<tcp>(entry.endpoint(), name, until);
        if (connected) co_return connected;
        last = connected.error();
    }
    co_return fail(std::move(last));
}

task<std::shared_ptr<stream>> connect_unix(std::string path, deadline until) {
    using asio::local::stream_protocol;
    constexpr std::size_t path_size_max = 107;  // sockaddr_un
    if (path.empty() || path.size() > path_size_max)
        co_return fail(errc::bad_argument, "a Unix socket path of no or over 107 bytes");
    co_return co_await connect_endpoint<stream_protocol>(stream_protocol::endpoint(path), path, until);
}

}  // namespace warifu
