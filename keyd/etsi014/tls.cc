#include "keyd/etsi014/tls.h"

#include <boost/asio/ssl/impl/src.hpp>
#include <boost/beast/core/error.hpp>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <unistd.h>

namespace warifu::etsi014 {
namespace {

/// A file that cannot be read is told apart from one that holds something else.
result<void> readable(const std::filesystem::path& file) {
    if (::access(file.c_str(), R_OK) == 0) return {};
    const errc code = errno == EACCES ? errc::access_denied : errno == ENOENT ? errc::not_found : errc::io_error;
    return fail(code, fmt::format("{}: {}", file.string(), std::strerror(errno)));
}

/// The peer says that it does not want our certificate.
bool refused_by_peer(boost::system::error_code ec) {
    if (ec.category() != asio::error::get_ssl_category()) return false;
    switch (ERR_GET_REASON(static_cast<unsigned long>(ec.value()))) {
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
            return true;
        default:
            return false;
    }
}

}  // namespace

result<std::shared_ptr<ssl::context>> make_tls_context(const tls_files& files, tls_side side) {
    for (const auto* file : {&files.ca, &files.certificate, &files.key}) TRY_VOID(readable(*file));
    auto context =
        std::make_shared<ssl::context>(side == tls_side::client ? ssl::context::tls_client : ssl::context::tls_server);
    SSL_CTX* native = context->native_handle();
    SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
    // No renegotiation, no tickets (connections are kept, not resumed); OpenSSL forgets what it decrypted at once.
    SSL_CTX_set_options(native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CLEANSE_PLAINTEXT);
    if (side == tls_side::server) {
        SSL_CTX_set_num_tickets(native, 0);
        SSL_CTX_set_options(native, SSL_OP_NO_TICKET);
        SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
    }
    context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
    const auto unusable = [](const std::filesystem::path& file, std::string_view what) {
        return fail(errc::bad_format, fmt::format("{}: {}", file.string(), what));
    };
    boost::system::error_code ec;
    context->load_verify_file(files.ca.string(), ec);
    if (ec) return unusable(files.ca, "no certificate in PEM form");
    context->use_certificate_chain_file(files.certificate.string(), ec);
    if (ec) return unusable(files.certificate, "no certificate in PEM form");
    context->set_password_callback([](std::size_t, ssl::context::password_purpose) { return std::string(); }, ec);
    context->use_private_key_file(files.key.string(), ssl::context::pem, ec);
    if (ec) return unusable(files.key, "no private key in PEM form that fits the certificate (and is not encrypted)");
    return context;
}

result<void> expect_host(SSL* connection, const std::string& host) {
    X509_VERIFY_PARAM* wanted = SSL_get0_param(connection);
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    boost::system::error_code ec;
    const auto address = asio::ip::make_address(host, ec);
    if (!ec) {
        const std::string text = address.to_string();
        if (X509_VERIFY_PARAM_set1_ip_asc(wanted, text.c_str()) == 1) return {};
    } else if (X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), host.size()) == 1 &&
               SSL_set_tlsext_host_name(connection, host.c_str()) == 1) {
        return {};
    }
    return fail(errc::bad_argument, fmt::format("'{}' is no host name or address", host));
}

error tls_failure(const std::string& who, boost::system::error_code ec, SSL* connection) {
    if (ec == boost::beast::error::timeout || ec == asio::error::timed_out)
        return error(errc::timed_out, fmt::format("{}: no answer in time", who));
    if (refused_by_peer(ec))
        return error(errc::denied, fmt::format("{}: refuses this certificate ({})", who, ec.message()));
    const long verified = connection == nullptr ? X509_V_OK : SSL_get_verify_result(connection);
    if (verified != X509_V_OK) {
        return error(errc::unreachable, fmt::format("{}: its certificate is not accepted: {}", who,
                                                    X509_verify_cert_error_string(verified)));
    }
    return error(errc::unreachable, fmt::format("{}: {}", who, ec.message()));
}

}  // namespace warifu::etsi014
