#include "keyd/etsi014/https_connection.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <sys/socket.h>

#include "keyd/etsi014/http.h"
#include "keyd/etsi014/limits.h"

namespace warifu::etsi014 {
namespace {

using tcp = asio::ip::tcp;
using endpoints = std::vector<tcp::endpoint>;

/// getaddrinfo runs on a thread of Asio's; its answer is dropped when nobody waits any more.
awaitable<void> look_up(std::string host, std::string port, std::shared_ptr<promised<result<endpoints>>> arrival) {
    tcp::resolver resolver(co_await asio::this_coro::executor);
    auto [ec, found] = co_await resolver.async_resolve(host, port, use_values);
    endpoints out;
    for (const auto& entry : found) out.push_back(entry.endpoint());
    if (ec || out.empty())
        arrival->set(fail(errc::unreachable, fmt::format("{}: {}", host, ec.message())));
    else
        arrival->set(std::move(out));
}

task<endpoints> addresses_of(https_url url, deadline until) {
    boost::system::error_code ec;
    const auto address = asio::ip::make_address(url.host, ec);
    if (!ec) {
        endpoints one{tcp::endpoint(address, url.port)};
        co_return one;
    }
    const auto executor = co_await asio::this_coro::executor;
    const auto arrival = std::make_shared<promised<result<endpoints>>>(executor);
    asio::co_spawn(executor, look_up(url.host, std::to_string(url.port), arrival), asio::detached);
    auto found = co_await arrival->take(until);
    if (!found) co_return fail(errc::timed_out, fmt::format("{}: its address was not found in time", url.host));
    co_return std::move(*found);
}

class beast_connection final : public https_connection {
  public:
    beast_connection(const asio::any_io_executor& executor, std::shared_ptr<ssl::context> tls, https_url url)
        : url_(std::move(url)), tls_(std::move(tls)), stream_(beast::tcp_stream(executor), *tls_) {}
    ~beast_connection() override {
        boost::system::error_code ignored;
        socket().close(ignored);
    }

    task<> connect(deadline until) {
        CO_TRY(const auto targets, co_await addresses_of(url_, until));
        CO_TRY_VOID(expect_host(stream_.native_handle(), url_.host));
        auto& lowest = beast::get_lowest_layer(stream_);
        boost::system::error_code ec;
        for (const auto& target : targets) {
            lowest.expires_at(until);
            std::tie(ec) = co_await lowest.async_connect(target, use_values);
            if (!ec || steady_clock::now() >= until) break;
        }
        if (ec) co_return fail(tls_failure(url_.text(), ec, nullptr));
        lowest.socket().set_option(tcp::no_delay(true), ec);
        std::tie(ec) = co_await stream_.async_handshake(ssl::stream_base::client, use_values);
        if (ec) co_return fail(tls_failure(url_.text(), ec, stream_.native_handle()));
        input_.reserve(input_reserve);
        usable_ = true;
        co_return result<void>{};
    }

    task<https_answer> exchange(https_request wanted, std::size_t body_max, deadline until) override {
        usable_ = false;
        answer_begun_ = false;
        http::request<http::string_body> request(wanted.post ? http::verb::post : http::verb::get,
                                                 url_.prefix + wanted.target, 11);
        request.set(http::field::host, url_.authority());
        request.set(http::field::accept, "application/json");
        if (wanted.post) {
            request.set(http::field::content_type, "application/json");
            request.body() = std::move(wanted.body);
            request.prepare_payload();
        }
        beast::get_lowest_layer(stream_).expires_at(until);
        // A server may answer and close before it has read everything: a failed write does not end it, the answer
        // counts.
        auto [write_ec, written] = co_await http::async_write(stream_, request, use_values);
        if (write_ec == beast::error::timeout) co_return fail(failure(write_ec));
        http::response_parser<wiped_body> parser;
        parser.header_limit(header_size_limit);
        parser.body_limit(body_max);
        auto [ec, got] = co_await http::async_read(stream_, input_, parser, use_values);
        answer_begun_ = parser.got_some();
        if (ec) co_return fail(read_failure(write_ec ? write_ec : ec, ec, body_max));
        auto message = parser.release();
        usable_ = message.keep_alive() && !write_ec && input_.size() == 0;
        https_answer answer;
        answer.status = message.result_int();
        answer.body = std::move(message.body().bytes);
        answer.body.shrink(message.body().filled);
        co_return answer;
    }

    void abort() override {
        usable_ = false;
        beast::get_lowest_layer(stream_).close();
    }

    bool reusable() override {
        if (!usable_) return false;
        // Bytes that nobody asked for (a closing alert, mostly) or an end: not to be used again.
        char byte = 0;
        const ssize_t got = ::recv(socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
    bool answer_begun() const override { return answer_begun_; }

  private:
    tcp::socket& socket() { return beast::get_lowest_layer(stream_).socket(); }
    error failure(boost::system::error_code ec) { return tls_failure(url_.text(), ec, stream_.native_handle()); }

    error read_failure(boost::system::error_code first, boost::system::error_code ec, std::size_t body_max) {
        if (ec == http::error::body_limit)
            return error(errc::too_large, fmt::format("{}: an answer of more than {} bytes", url_.text(), body_max));
        if (ec == http::error::header_limit || ec == http::error::buffer_overflow)
            return error(errc::too_large, fmt::format("{}: the answer's header is too long", url_.text()));
        if (ec == http::error::partial_message)
            return error(errc::bad_format, fmt::format("{}: the answer ends early", url_.text()));
        // The end before any answer is a closed connection, not a wrong answer.
        const boost::system::error_code ended = http::error::end_of_stream;
        if (ec.category() == ended.category() && ec != http::error::end_of_stream)
            return error(errc::bad_format, fmt::format("{}: the answer is no HTTP: {}", url_.text(), ec.message()));
        return failure(first);
    }

    https_url url_;
    std::shared_ptr<ssl::context> tls_;
    tls_stream stream_;
    wiping_flat_buffer input_{header_size_limit + (64U << 10U)};
    bool usable_ = false;
    bool answer_begun_ = false;
};

}  // namespace

std::string https_url::authority() const {
    const bool brackets = host.find(':') != std::string::npos;
    return brackets ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

std::string https_url::text() const {
    return fmt::format("https://{}{}", authority(), prefix);
}

result<https_url> parse_https_url(std::string_view text) {
    const auto wrong = fail(errc::bad_argument, fmt::format("'{}': expected https://HOST[:PORT][/PREFIX]", text));
    constexpr std::string_view scheme = "https://";
    const bool plain = std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
    if (!text.starts_with(scheme) || text.size() > target_limit || !plain) return wrong;
    std::string_view rest = text.substr(scheme.size());
    if (rest.find_first_of("?#@\"\\") != std::string_view::npos) return wrong;
    https_url url;
    const auto slash = rest.find('/');
    if (slash != std::string_view::npos) {
        url.prefix = rest.substr(slash);
        rest = rest.substr(0, slash);
        while (url.prefix.ends_with('/')) url.prefix.pop_back();
    }
    std::string_view port;
    if (rest.starts_with('[')) {
        const auto end = rest.find(']');
        if (end == std::string_view::npos) return wrong;
        url.host = rest.substr(1, end - 1);
        port = rest.substr(end + 1);
    } else {
        const auto colon = rest.find(':');
        url.host = rest.substr(0, colon);
        if (colon != std::string_view::npos) port = rest.substr(colon);
    }
    if (url.host.empty() || url.host.size() > 255) return wrong;
    if (port.empty()) return url;
    const auto [end, ec] = std::from_chars(port.data() + 1, port.data() + port.size(), url.port);
    if (port.front() != ':' || ec != std::errc() || end != port.data() + port.size() || url.port == 0) return wrong;
    return url;
}

task<std::unique_ptr<https_connection>> https_connection::open(asio::any_io_executor executor,
                                                               std::shared_ptr<ssl::context> tls, https_url url,
                                                               deadline until) {
    auto connection = std::make_unique<beast_connection>(executor, std::move(tls), std::move(url));
    CO_TRY_VOID(co_await connection->connect(until));
    co_return std::unique_ptr<https_connection>(std::move(connection));
}

}  // namespace warifu::etsi014
