#pragma once
// For tests: a directory with certificates, a network in this process, and a KME that answers what the test wants.

#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <optional>
#include <stdlib.h>

#include "keyd/etsi014/etsi014_client.h"
#include "keyd/etsi014/https_connection.h"
#include "keyd/kme_sim/certificates.h"
#include "keyd/kme_sim/simulation.h"

namespace warifu::kme_sim {

inline constexpr std::uint32_t patience_ms = 30'000;

/// Runs the context until the coroutine has returned.
template <typename T>
T run(asio::io_context& core, awaitable<T> work) {
    std::optional<T> out;
    std::exception_ptr thrown;
    asio::co_spawn(core, std::move(work), [&](std::exception_ptr e, T value) {
        thrown = e;
        out.emplace(std::move(value));
    });
    core.restart();
    while (!out) core.run_one();
    if (thrown) std::rethrow_exception(thrown);
    return std::move(*out);
}

/// Certificates for alice, bob and carol and their KMEs, made once; the directory goes with the process. "other/" has
/// those of a CA that nobody believes.
class test_certificates {
  public:
    static const std::filesystem::path& directory() {
        static const test_certificates all;
        return all.directory_;
    }
    test_certificates(const test_certificates&) = delete;
    test_certificates& operator=(const test_certificates&) = delete;

  private:
    test_certificates() {
        std::string name = (std::filesystem::temp_directory_path() / "warifu-kme-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        directory_ = name;
        certificates_wanted wanted;
        wanted.saes = {"alice", "bob", "carol", "mallory"};
        wanted.kmes = {"kme-alice", "kme-bob", "kme-carol"};
        if (!make_certificates(directory_, wanted) || !make_certificates(directory_ / "other", wanted)) std::abort();
    }
    ~test_certificates() { std::filesystem::remove_all(directory_); }
    std::filesystem::path directory_;
};

/// alice, bob and carol; links alice-bob (direct) and alice-carol (relayed over n1 and n2).
inline network_config test_network() {
    auto config = network_of(test_certificates::directory(), {"alice", "bob", "carol"}, 0);
    config.links = {link_config{"kme-alice", "kme-bob", 0, {}, {}, {}},
                    link_config{"kme-alice", "kme-carol", 0, {"n1", "n2"}, {}, {}}};
    return config;
}

inline etsi014::tls_files client_files(const std::string& sae, const std::string& below = "") {
    const auto directory = test_certificates::directory() / below;
    return {directory / "ca.pem", directory / ("sae-" + sae + ".pem"), directory / ("sae-" + sae + ".key")};
}

inline etsi014_options client_options(const std::string& url, const std::string& own, const std::string& peer) {
    const auto files = client_files(own);
    etsi014_options options;
    options.urls = {url};
    options.ca_file = files.ca;
    options.certificate_file = files.certificate;
    options.key_file = files.key;
    options.own_sae = own;
    options.peer_sae = peer;
    return options;
}

/// What a scripted KME does with one request.
struct scripted_answer {
    std::string bytes;             // sent as they are, status line and all
    bool close = false;            // afterwards
    std::uint32_t trickle_ms = 0;  // > 0: byte after byte, with such a pause
};
/// A JSON answer in HTTP.
inline scripted_answer http_answer(unsigned status, const std::string& body,
                                   const std::string& type = "application/json") {
    scripted_answer out;
    out.bytes = fmt::format("HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}", status, type,
                            body.size(), body);
    return out;
}

/// A KME that misbehaves as the test says. Core thread of the context, as the client under test.
class scripted_kme {
  public:
    /// Gets the head and body of the request.
    using script = std::function<scripted_answer(const std::string& head, const std::string& body)>;
    scripted_kme(asio::io_context& core, script answer, int version_max = TLS1_3_VERSION)
        : state_(std::make_shared<state>(core, std::move(answer))) {
        const auto directory = test_certificates::directory();
        const etsi014::tls_files files{directory / "ca.pem", directory / "kme-alice.pem", directory / "kme-alice.key"};
        state_->tls = *etsi014::make_tls_context(files, etsi014::tls_side::server);
        SSL_CTX* native = state_->tls->native_handle();
        if (version_max < TLS1_2_VERSION) {
            SSL_CTX_set_min_proto_version(native, TLS1_VERSION);
            SSL_CTX_set_cipher_list(native, "DEFAULT:@SECLEVEL=0");
        }
        SSL_CTX_set_max_proto_version(native, version_max);
        asio::co_spawn(core, accept_all(state_), asio::detached);
    }
    ~scripted_kme() {
        boost::system::error_code ignored;
        state_->acceptor.close(ignored);
        for (const auto& open : state_->open)
            if (const auto stream = open.lock()) stream->lowest_layer().close(ignored);
    }
    std::string url() const { return fmt::format("https://127.0.0.1:{}", state_->acceptor.local_endpoint().port()); }
    std::size_t requests() const { return state_->requests; }
    std::size_t connections() const { return state_->open.size(); }

  private:
    using tls_stream = etsi014::ssl::stream<asio::ip::tcp::socket>;
    struct state {
        state(asio::io_context& c, script s)
            : core(c), answer(std::move(s)), acceptor(c, {asio::ip::make_address("127.0.0.1"), 0}) {}
        asio::io_context& core;
        script answer;
        asio::ip::tcp::acceptor acceptor;
        std::shared_ptr<etsi014::ssl::context> tls;
        std::vector<std::weak_ptr<tls_stream>> open;
        std::size_t requests = 0;
    };

    static awaitable<void> accept_all(std::shared_ptr<state> s) {
        while (s->acceptor.is_open()) {
            auto [ec, socket] = co_await s->acceptor.async_accept(use_values);
            if (ec) co_return;
            auto stream = std::make_shared<tls_stream>(std::move(socket), *s->tls);
            s->open.push_back(stream);
            asio::co_spawn(s->core, serve(s, std::move(stream)), asio::detached);
        }
    }
    static awaitable<void> serve(std::shared_ptr<state> s, std::shared_ptr<tls_stream> stream) {
        const auto [handshake_ec] = co_await stream->async_handshake(etsi014::ssl::stream_base::server, use_values);
        if (handshake_ec) co_return;
        std::string input;
        while (true) {
            while (!complete(input)) {
                char part[4096];
                const auto [ec, size] = co_await stream->async_read_some(asio::buffer(part), use_values);
                if (ec) co_return;
                input.append(part, size);
            }
            const auto head_end = input.find("\r\n\r\n") + 4;
            ++s->requests;
            const scripted_answer said = s->answer(input.substr(0, head_end), input.substr(head_end));
            input.clear();  // one request at a time
            const std::size_t step = said.trickle_ms > 0 ? 1 : std::max<std::size_t>(said.bytes.size(), 1);
            for (std::size_t at = 0; at < said.bytes.size(); at += step) {
                const auto part = asio::buffer(said.bytes.data() + at, std::min(step, said.bytes.size() - at));
                const auto [ec, size] = co_await asio::async_write(*stream, part, use_values);
                if (ec) co_return;
                if (said.trickle_ms > 0) co_await sleep_for(std::chrono::milliseconds(said.trickle_ms));
            }
            if (said.close) {
                boost::system::error_code ignored;
                stream->lowest_layer().close(ignored);
                co_return;
            }
        }
    }
    static bool complete(const std::string& input) {
        const auto head_end = input.find("\r\n\r\n");
        if (head_end == std::string::npos) return false;
        const auto field = input.find("Content-Length: ");
        const std::size_t size = field == std::string::npos ? 0 : std::strtoul(input.c_str() + field + 16, nullptr, 10);
        return input.size() >= head_end + 4 + size;
    }

    std::shared_ptr<state> state_;
};

}  // namespace warifu::kme_sim
