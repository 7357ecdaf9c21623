#include "tools/control.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fs/async/wait.h"

namespace warifu {
namespace {

using local = asio::local::stream_protocol;

constexpr std::size_t line_size_max = 1U << 20U;
constexpr std::size_t request_size_max = 4096;
constexpr unsigned connection_count_limit = 16;
constexpr auto exchange_timeout = std::chrono::seconds(5);

bool peer_is_allowed(int fd) {
    ucred peer{};
    socklen_t size = sizeof peer;
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == ::geteuid());
}

ordered_json error_document(const error& e) {
    return {{"error", std::string(to_string(e.code))}, {"text", e.text}};
}

/// The command of a request line, or empty.
std::string command_of(const std::string& line) {
    const auto request = ordered_json::parse(line, nullptr, false);
    if (!request.is_object() || !request.contains("command") || !request["command"].is_string()) return {};
    return request["command"].get<std::string>();
}

class control_server_impl final : public control_server {
  public:
    control_server_impl(asio::io_context& core, std::filesystem::path socket, control_handler handler)
        : state_(std::make_shared<state>(core, std::move(socket), std::move(handler))) {}
    ~control_server_impl() override {
        boost::system::error_code ignored;
        state_->acceptor.close(ignored);
        ::unlink(state_->path.c_str());
    }
    result<void> start() {
        boost::system::error_code ec;
        const local::endpoint place(state_->path.string());
        state_->acceptor.open(place.protocol(), ec);
        if (!ec) state_->acceptor.bind(place, ec);
        if (!ec) state_->acceptor.listen(8, ec);
        if (ec) return fail(errc::io_error, fmt::format("{}: {}", state_->path.string(), ec.message()));
        asio::co_spawn(state_->core, accept_all(state_), asio::detached);
        return {};
    }

  private:
    /// Shared with the coroutines: they may outlive the server by one step.
    struct state {
        state(asio::io_context& c, std::filesystem::path p, control_handler h)
            : core(c), path(std::move(p)), handler(std::move(h)), acceptor(c) {}
        asio::io_context& core;
        std::filesystem::path path;
        control_handler handler;
        local::acceptor acceptor;
        unsigned connections = 0;
    };

    static awaitable<void> accept_all(std::shared_ptr<state> s) {
        while (s->acceptor.is_open()) {
            auto [ec, socket] = co_await s->acceptor.async_accept(use_values);
            if (ec == asio::error::operation_aborted || ec == asio::error::bad_descriptor) co_return;
            if (ec) {
                co_await sleep_for(std::chrono::milliseconds(100));
                continue;
            }
            if (s->connections >= connection_count_limit || !peer_is_allowed(socket.native_handle())) continue;
            asio::co_spawn(s->core, serve(s, std::move(socket)), asio::detached);
        }
    }

    using shared_socket = std::shared_ptr<local::socket>;

    /// Cancels the socket's waits after `timeout`, unless the timer is cancelled or destroyed first.
    static asio::steady_timer limit(const shared_socket& socket, steady_clock::duration timeout) {
        asio::steady_timer timer(socket->get_executor());
        timer.expires_after(timeout);
        timer.async_wait([socket](boost::system::error_code ec) {
            if (!ec) socket->cancel();
        });
        return timer;
    }

    static awaitable<void> serve(std::shared_ptr<state> s, local::socket accepted) {
        ++s->connections;
        const auto socket = std::make_shared<local::socket>(std::move(accepted));
        const std::string command = command_of(co_await read_line(socket));
        result<ordered_json> answer = fail(errc::bad_argument, "expected {\"command\": ...}");
        if (!command.empty()) answer = co_await s->handler(command);
        const ordered_json document = answer ? *answer : error_document(answer.error());
        const std::string text = document.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
        const auto timer = limit(socket, exchange_timeout);
        co_await asio::async_write(*socket, asio::buffer(text), use_values);
        --s->connections;
    }

    static awaitable<std::string> read_line(shared_socket socket) {
        const auto timer = limit(socket, exchange_timeout);
        std::string line;
        while (line.size() < request_size_max && line.find('\n') == std::string::npos) {
            char part[512];
            const auto [ec, size] = co_await socket->async_read_some(asio::buffer(part), use_values);
            if (ec) break;
            line.append(part, size);
        }
        co_return line;
    }

    std::shared_ptr<state> state_;
};

/// A connected Unix socket; -1 and errno otherwise.
int connect_to(const std::filesystem::path& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string text = path.string();
    if (text.size() >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        const int number = errno;
        ::close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

result<std::string> exchange_line(int fd, const std::string& request, deadline until) {
    if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
        return fail(errc::unreachable, "the process does not take requests");
    std::string line;
    while (line.size() < line_size_max && !line.ends_with('\n')) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - steady_clock::now()).count();
        pollfd watched{fd, POLLIN, 0};
        const int got = left > 0 ? ::poll(&watched, 1, static_cast<int>(left)) : 0;
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return fail(errc::timed_out, "the process does not answer");
        char part[4096];
        const ssize_t size = ::read(fd, part, sizeof part);
        if (size <= 0) break;
        line.append(part, static_cast<std::size_t>(size));
    }
    return line;
}

errc code_from(const std::string& text) {
    for (std::uint16_t value = 1; value < 64; ++value)
        if (to_string(static_cast<errc>(value)) == text) return static_cast<errc>(value);
    return errc::io_error;
}

}  // namespace

result<std::unique_ptr<control_server>> control_server::listen(asio::io_context& core,
                                                               const std::filesystem::path& socket,
                                                               control_handler handler) {
    if (socket.string().size() >= sizeof sockaddr_un::sun_path)
        return fail(errc::too_large, fmt::format("{}: a Unix socket's path has at most 107 bytes", socket.string()));
    const int other = connect_to(socket);
    if (other >= 0) {
        ::close(other);
        return fail(errc::busy, fmt::format("{}: another process answers here", socket.string()));
    }
    if (errno == ECONNREFUSED) ::unlink(socket.c_str());
    auto server = std::make_unique<control_server_impl>(core, socket, std::move(handler));
    TRY_VOID(server->start());
    return server;
}

result<ordered_json> ask_control(const std::filesystem::path& socket, const std::string& command,
                                 std::chrono::milliseconds timeout) {
    const int fd = connect_to(socket);
    if (fd < 0) return fail(errc::unreachable, fmt::format("{}: {}", socket.string(), std::strerror(errno)));
    const ordered_json request = {{"command", command}};
    const auto line = exchange_line(fd, request.dump() + "\n", steady_clock::now() + timeout);
    ::close(fd);
    if (!line) return fail(line.error().code, fmt::format("{}: {}", socket.string(), line.error().text));
    auto document = ordered_json::parse(*line, nullptr, false);
    if (!document.is_object()) return fail(errc::bad_format, fmt::format("{}: not an answer", socket.string()));
    if (document.contains("error") && document["error"].is_string()) {
        const std::string text =
            document.contains("text") && document["text"].is_string() ? document["text"].get<std::string>() : "";
        return fail(code_from(document["error"].get<std::string>()), text);
    }
    return document;
}

}  // namespace warifu
