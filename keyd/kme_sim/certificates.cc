#include "keyd/kme_sim/certificates.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/async/asio.h"
#include "fs/base/random.h"
#include "fs/config/json_node.h"

namespace warifu::kme_sim {
namespace {

namespace path_fs = std::filesystem;

constexpr long backdated_s = 2L * 24 * 3600;  // valid also for a clock that is as late as this

template <auto Free>
struct freed_by {
    template <typename T>
    void operator()(T* p) const {
        Free(p);
    }
};
using private_key = std::unique_ptr<EVP_PKEY, freed_by<EVP_PKEY_free>>;
using certificate = std::unique_ptr<X509, freed_by<X509_free>>;
using memory_bio = std::unique_ptr<BIO, freed_by<BIO_free_all>>;

struct signed_identity {
    private_key key;
    certificate own;
};

enum class role { authority, server, client };

std::string text_of(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<std::size_t>(size)};
}

/// Mode 0600 from the start for private keys.
result<void> write_private(const path_fs::path& file, const std::string& text) {
    ::unlink(file.c_str());
    const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const bool good = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    const int number = errno;
    if (fd >= 0) ::close(fd);
    if (!good) return fail(errc::io_error, fmt::format("{}: {}", file.string(), std::strerror(number)));
    return {};
}

result<void> write_identity(const path_fs::path& directory, const std::string& name, const signed_identity& one) {
    const memory_bio key_text(BIO_new(BIO_s_mem())), text(BIO_new(BIO_s_mem()));
    if (PEM_write_bio_PrivateKey(key_text.get(), one.key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
        PEM_write_bio_X509(text.get(), one.own.get()) != 1)
        return fail(errc::io_error, "OpenSSL could not write a certificate");
    TRY_VOID(write_private(directory / (name + ".key"), text_of(key_text.get())));
    return write_text_file(directory / (name + ".pem"), text_of(text.get()));
}

bool add_extension(X509* to, X509* issuer, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, to, nullptr, nullptr, 0);
    const std::unique_ptr<X509_EXTENSION, freed_by<X509_EXTENSION_free>> extension(
        X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    return extension && X509_add_ext(to, extension.get(), -1) == 1;
}

bool set_serial(X509* of) {
    std::array<std::byte, 16> bytes{};
    fill_kernel_random(bytes);
    bytes[0] &= std::byte{0x7f};
    BIGNUM* number = BN_bin2bn(as_uchar(bytes.data()), static_cast<int>(bytes.size()), nullptr);
    const bool good = number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(of)) != nullptr;
    BN_free(number);
    return good;
}

bool set_subject(X509* of, const std::string& name) {
    X509_NAME* subject = X509_get_subject_name(of);
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) == 1;
}

bool set_extensions(X509* of, X509* issuer, role what, const std::string& alternatives) {
    const bool authority = what == role::authority;
    if (!add_extension(of, issuer, NID_basic_constraints, authority ? "critical,CA:TRUE" : "critical,CA:FALSE") ||
        !add_extension(of, issuer, NID_key_usage,
                       authority ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") ||
        !add_extension(of, issuer, NID_subject_key_identifier, "hash"))
        return false;
    if (authority) return true;
    if (!add_extension(of, issuer, NID_authority_key_identifier, "keyid") ||
        !add_extension(of, issuer, NID_ext_key_usage, what == role::server ? "serverAuth" : "clientAuth"))
        return false;
    return alternatives.empty() || add_extension(of, issuer, NID_subject_alt_name, alternatives);
}

/// `issuer` null: signed by itself.
result<signed_identity> make_identity(const std::string& name, role what, const signed_identity* issuer,
                                      const std::string& alternatives, unsigned days) {
    signed_identity out;
    out.key.reset(EVP_EC_gen("P-256"));
    out.own.reset(X509_new());
    const signed_identity& by = issuer == nullptr ? out : *issuer;
    X509* x = out.own.get();
    const bool good = out.key && x != nullptr && X509_set_version(x, 2) == 1 && set_serial(x) &&
                      X509_gmtime_adj(X509_getm_notBefore(x), -backdated_s) != nullptr &&
                      X509_time_adj_ex(X509_getm_notAfter(x), static_cast<int>(days), 0, nullptr) != nullptr &&
                      X509_set_pubkey(x, out.key.get()) == 1 && set_subject(x, name) &&
                      X509_set_issuer_name(x, X509_get_subject_name(by.own.get())) == 1 &&
                      set_extensions(x, by.own.get(), what, alternatives) &&
                      X509_sign(x, by.key.get(), EVP_sha256()) > 0;
    ERR_clear_error();
    if (!good) return fail(errc::bad_argument, fmt::format("no certificate can be made for '{}'", name));
    return out;
}

result<signed_identity> read_identity(const path_fs::path& directory, const std::string& name) {
    signed_identity out;
    const auto open = [&](const char* suffix) {
        return memory_bio(BIO_new_file((directory / (name + suffix)).c_str(), "r"));
    };
    const auto key = open(".key"), text = open(".pem");
    if (key) out.key.reset(PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
    if (text) out.own.reset(PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr));
    ERR_clear_error();
    if (!out.key || !out.own)
        return fail(errc::bad_format, fmt::format("{}: no certificate with its key", (directory / name).string()));
    return out;
}

bool names_a_file(const std::string& name) {
    return !name.empty() && name.size() <= 100 && name.front() != '.' && std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
               c == '.';
    });
}

std::string alternative(const std::string& host) {
    boost::system::error_code ec;
    asio::ip::make_address(host, ec);
    return fmt::format("{}:{}", ec ? "DNS" : "IP", host);
}

}  // namespace

result<void> make_certificates(const path_fs::path& directory, const certificates_wanted& wanted) {
    for (const auto* names : {&wanted.saes, &wanted.kmes, &wanted.hosts}) {
        for (const auto& name : *names) {
            const bool host = names == &wanted.hosts && name.find_first_of(", \t\n/") == std::string::npos;
            if (!host && !names_a_file(name))
                return fail(errc::bad_argument, fmt::format("'{}': expected letters, digits, '-', '_' and '.'", name));
        }
    }
    std::error_code ec;
    path_fs::create_directories(directory, ec);
    if (ec) return fail(errc::io_error, fmt::format("{}: {}", directory.string(), ec.message()));
    result<signed_identity> authority = fail(errc::not_found);
    if (path_fs::exists(directory / "ca.key", ec)) {
        authority = read_identity(directory, "ca");
    } else {
        authority = make_identity("Warifu simulated KME CA", role::authority, nullptr, "", wanted.days);
        if (authority) TRY_VOID(write_identity(directory, "ca", *authority));
    }
    if (!authority) return fail(authority.error());
    for (const auto& name : wanted.saes) {
        TRY(const auto one, make_identity(name, role::client, &*authority, "", wanted.days));
        TRY_VOID(write_identity(directory, "sae-" + name, one));
    }
    for (const auto& name : wanted.kmes) {
        std::string alternatives = "DNS:localhost,IP:127.0.0.1,IP:::1";
        alternatives += "," + alternative(name);
        for (const auto& host : wanted.hosts) alternatives += "," + alternative(host);
        TRY(const auto one, make_identity(name, role::server, &*authority, alternatives, wanted.days));
        TRY_VOID(write_identity(directory, name, one));
    }
    return {};
}

network_config network_of(const path_fs::path& directory, const std::vector<std::string>& saes, std::uint64_t rate) {
    network_config out;
    for (const auto& sae : saes) {
        kme_config kme;
        kme.name = "kme-" + sae;
        kme.saes = {sae};
        kme.listen.host = "127.0.0.1";
        kme.ca = directory / "ca.pem";
        kme.certificate = directory / (kme.name + ".pem");
        kme.key = directory / (kme.name + ".key");
        for (const auto& other : out.kmes) out.links.push_back(link_config{other.name, kme.name, rate, {}, {}, {}});
        out.kmes.push_back(std::move(kme));
    }
    return out;
}

}  // namespace warifu::kme_sim
