#include "keyd/kme_sim/kme_server.h"

#include <fmt/format.h>
#include <list>
#include <openssl/x509.h>
#include <spdlog/spdlog.h>

#include "keyd/etsi014/http.h"
#include "keyd/etsi014/limits.h"
#include "keyd/kme_sim/limits.h"

namespace warifu::kme_sim {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using etsi014::tls_stream;
using etsi014::wiped_body;
using tcp = asio::ip::tcp;

std::string common_name(X509* certificate) {
    X509_NAME* subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return "";
    unsigned char* text = nullptr;
    const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size < 0) return "";
    std::string name(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
    OPENSSL_free(text);
    return name;
}

std::string serial_number(X509* certificate) {
    BIGNUM* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr);
    char* text = number == nullptr ? nullptr : BN_bn2hex(number);
    std::string out = text == nullptr ? "" : text;
    OPENSSL_free(text);
    BN_free(number);
    return out;
}

/// The caller's SAE ID; empty when the certificate has none.
std::string sae_of(SSL* connection, identity_source source) {
    X509* certificate = SSL_get0_peer_certificate(connection);
    if (certificate == nullptr) return "";
    switch (source) {
        case identity_source::common_name:
            return common_name(certificate);
        case identity_source::serial:
            return serial_number(certificate);
        case identity_source::common_name_and_serial:
            return fmt::format("{}-{}", common_name(certificate), serial_number(certificate));
    }
    return "";
}

class server_impl final : public kme_server {
  public:
    server_impl(asio::io_context& core, std::shared_ptr<kme_network> network, const kme_config& config,
                std::shared_ptr<ssl::context> tls)
        : state_(std::make_shared<state>(core, std::move(network), config, std::move(tls))) {}
    ~server_impl() override {
        boost::system::error_code ignored;
        state_->acceptor.close(ignored);
        for (auto* stream : state_->open) beast::get_lowest_layer(*stream).socket().close(ignored);
    }

    result<void> listen() {
        const auto& wanted = state_->config.listen;
        const auto failed = [&](errc code, std::string_view what) {
            return fail(code, fmt::format("KME {}: {}: {}", state_->config.name, to_text(wanted), what));
        };
        boost::system::error_code ec;
        const auto address =
            wanted.host == "localhost" ? asio::ip::make_address("127.0.0.1") : asio::ip::make_address(wanted.host, ec);
        if (ec) return failed(errc::bad_argument, "expected a numeric address to listen at");
        const tcp::endpoint place(address, wanted.port);
        auto& acceptor = state_->acceptor;
        acceptor.open(place.protocol(), ec);
        if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
        if (!ec) acceptor.bind(place, ec);
        if (!ec) acceptor.listen(128, ec);
        if (ec) return failed(ec == asio::error::address_in_use ? errc::busy : errc::io_error, ec.message());
        asio::co_spawn(state_->core, accept_all(state_), asio::detached);
        return {};
    }

    std::string url() const override {
        const auto local = state_->acceptor.local_endpoint();
        const auto host = state_->config.listen.host;
        return fmt::format("https://{}", to_text(place{host, local.port(), {}}));
    }

  private:
    /// Shared with the coroutines of the connections.
    struct state {
        state(asio::io_context& c, std::shared_ptr<kme_network> n, const kme_config& k, std::shared_ptr<ssl::context> t)
            : core(c), network(std::move(n)), config(k), tls(std::move(t)), acceptor(c) {}
        asio::io_context& core;
        std::shared_ptr<kme_network> network;
        kme_config config;
        std::shared_ptr<ssl::context> tls;
        tcp::acceptor acceptor;
        std::list<tls_stream*> open;
    };

    static awaitable<void> accept_all(std::shared_ptr<state> s) {
        while (s->acceptor.is_open()) {
            auto [ec, socket] = co_await s->acceptor.async_accept(use_values);
            if (ec == asio::error::operation_aborted || ec == asio::error::bad_descriptor) co_return;
            if (ec) {
                co_await sleep_for(std::chrono::milliseconds(100));
                continue;
            }
            if (s->open.size() >= connection_limit) continue;
            asio::co_spawn(s->core, serve(s, std::move(socket)), asio::detached);
        }
    }

    static awaitable<void> serve(std::shared_ptr<state> s, tcp::socket socket) {
        tls_stream stream(beast::tcp_stream(std::move(socket)), *s->tls);
        s->open.push_front(&stream);
        const auto mine = s->open.begin();
        boost::system::error_code ec;
        auto& lowest = beast::get_lowest_layer(stream);
        lowest.socket().set_option(tcp::no_delay(true), ec);
        lowest.expires_after(std::chrono::milliseconds(handshake_timeout_ms));
        std::tie(ec) = co_await stream.async_handshake(ssl::stream_base::server, use_values);
        if (ec) {
            spdlog::debug("KME {}: a TLS handshake failed: {}", s->config.name, ec.message());
        } else {
            const std::string sae = sae_of(stream.native_handle(), s->network->config().identity);
            co_await converse(s, stream, sae);
        }
        s->open.erase(mine);
    }

    /// Requests and answers until either side has enough.
    static awaitable<void> converse(std::shared_ptr<state> s, tls_stream& stream, std::string sae) {
        beast::flat_buffer input(etsi014::header_size_limit + (64U << 10U));
        input.reserve(etsi014::input_reserve);
        auto& lowest = beast::get_lowest_layer(stream);
        while (s->acceptor.is_open()) {
            http::request_parser<http::string_body> parser;
            parser.header_limit(etsi014::header_size_limit);
            parser.body_limit(etsi014::request_body_limit);
            lowest.expires_after(std::chrono::milliseconds(idle_timeout_ms));
            auto [header_ec, header_size] = co_await http::async_read_header(stream, input, parser, use_values);
            lowest.expires_after(std::chrono::milliseconds(request_read_timeout_ms));
            auto ec = header_ec;
            if (!ec) std::tie(ec, header_size) = co_await http::async_read(stream, input, parser, use_values);
            if (ec == http::error::body_limit || ec == http::error::header_limit) {
                co_await refuse(stream, ec == http::error::body_limit ? 413 : 431);
                co_return;
            }
            if (ec) {
                if (ec == http::error::end_of_stream) co_await stream.async_shutdown(use_values);
                co_return;
            }
            auto message = parser.release();
            if (!co_await answer(s, stream, std::move(message), sae)) co_return;
        }
    }

    static awaitable<void> refuse(tls_stream& stream, unsigned status) {
        http::response<http::string_body> message(static_cast<http::status>(status), 11);
        message.set(http::field::content_type, "application/json");
        message.body() = R"({"message":"the request is too large"})";
        message.keep_alive(false);
        message.prepare_payload();
        co_await http::async_write(stream, message, use_values);
    }

    /// True: another request may follow.
    static awaitable<bool> answer(std::shared_ptr<state> s, tls_stream& stream,
                                  http::request<http::string_body> message, std::string sae) {
        const bool keep = message.keep_alive();
        const auto verb = message.method();
        kme_request request;
        request.post = verb == http::verb::post;
        request.target = std::string(message.target());
        request.body = std::move(message.body());
        request.sae = std::move(sae);
        kme_answer said;
        if (verb == http::verb::get || verb == http::verb::post) {
            said = co_await s->network->handle(s->config.name, std::move(request));
        } else {
            said.status = 405;
            said.allow = "GET, POST";
            said.body = buffer::copy_of(as_bytes_view(R"({"message":"expected GET or POST"})"));
        }
        if (said.delay_ms > 0) co_await sleep_for(std::chrono::milliseconds(said.delay_ms));
        if (said.close_unanswered || !s->acceptor.is_open()) co_return false;
        http::response<wiped_body> out(static_cast<http::status>(said.status), message.version());
        out.set(http::field::content_type, said.type);
        if (!said.allow.empty()) out.set(http::field::allow, said.allow);
        out.set(http::field::cache_control, "no-store");
        out.body().filled = said.body.size();
        out.body().bytes = std::move(said.body);
        out.keep_alive(keep);
        out.prepare_payload();
        beast::get_lowest_layer(stream).expires_after(std::chrono::milliseconds(answer_write_timeout_ms));
        const auto [ec, size] = co_await http::async_write(stream, out, use_values);
        co_return !ec && keep;
    }

    std::shared_ptr<state> state_;
};

}  // namespace

result<std::unique_ptr<kme_server>> kme_server::start(asio::io_context& core, std::shared_ptr<kme_network> network,
                                                      const kme_config& config) {
    const etsi014::tls_files files{config.ca, config.certificate, config.key};
    TRY(auto tls, etsi014::make_tls_context(files, etsi014::tls_side::server));
    auto server = std::make_unique<server_impl>(core, std::move(network), config, std::move(tls));
    TRY_VOID(server->listen());
    return server;
}

}  // namespace warifu::kme_sim
