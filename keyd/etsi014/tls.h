#pragma once
// TLS as ETSI GS QKD 014 wants it (section 4): version 1.2 or later, certificates on both sides. The one place that
// includes Asio's TLS; its code is compiled in tls.cc.

#include <boost/asio/ssl.hpp>
#include <filesystem>
#include <memory>

#include "fs/async/asio.h"

namespace warifu::etsi014 {

namespace ssl = boost::asio::ssl;

struct tls_files {
    std::filesystem::path ca;           // PEM: whom we believe
    std::filesystem::path certificate;  // PEM: ours, with intermediate certificates
    std::filesystem::path key;          // PEM: its private key, unencrypted
};

enum class tls_side { client, server };

/// Both sides demand the other's certificate. Errors name the file: not_found, access_denied, bad_format (no PEM, a
/// key that does not fit the certificate).
result<std::shared_ptr<ssl::context>> make_tls_context(const tls_files& files, tls_side side);

/// Before a client's handshake: the peer's certificate must name `host` (a name or an address) in its subjectAltName;
/// the subject's CN does not count.
result<void> expect_host(SSL* connection, const std::string& host);

/// What went wrong on a TLS connection, for a person: the reason of a refused certificate where there is one. denied
/// when the other side refused ours, timed_out, else unreachable.
error tls_failure(const std::string& who, boost::system::error_code ec, SSL* connection);

}  // namespace warifu::etsi014
