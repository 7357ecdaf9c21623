#pragma once
// The configuration of a simulated QKD network: FORMAT.md has the table.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/error.h"

namespace warifu::kme_sim {

/// Where the SAE ID stands in a client's certificate.
enum class identity_source : std::uint8_t {
    common_name,             // subject CN
    serial,                  // the certificate's serial number, upper-case hexadecimal as openssl prints it
    common_name_and_serial,  // "CN-SERIAL"
};

/// An address to listen at or to connect to: "HOST:PORT" (port 0: any free one) or "unix:/PATH".
struct place {
    std::string host;
    std::uint16_t port = 0;
    std::filesystem::path path;  // of a Unix socket; then host is empty
    bool operator==(const place&) const = default;
};
std::string to_text(const place& p);
/// bad_format.
result<place> parse_place(std::string_view text, bool unix_allowed);

/// What all KMEs of the network answer in "Get status". Sizes of keys are bits.
struct key_limits {
    std::uint64_t key_size = 256;
    std::uint64_t key_size_min = 64;
    std::uint64_t key_size_max = 8U << 20U;
    std::uint64_t keys_stored_max = 1'000'000;  // of key_size: what a link's stock grows to
    std::uint64_t keys_per_request_max = 128;
    std::uint64_t additional_saes_max = 8;
    std::uint64_t key_lifetime_ms = 600'000;         // of a delivered key that no slave has fetched
    std::uint64_t pending_size_max = 256ULL << 20U;  // bytes of such keys at one KME; then it delivers no more
    bool operator==(const key_limits&) const = default;
};

struct kme_config {
    std::string name;  // its KME ID
    std::vector<std::string> saes;
    bool remote = false;  // lives in another process; nothing below counts
    place listen;
    std::filesystem::path ca;
    std::filesystem::path certificate;
    std::filesystem::path key;
    bool operator==(const kme_config&) const = default;
};

struct link_config {
    std::string a;  // KME names
    std::string b;
    std::uint64_t rate = 0;         // bit/s, both directions together; 0: no limit
    std::vector<std::string> path;  // trusted nodes that relay it, in the order from a to b; empty: direct
    std::optional<place> listen;    // the other end is in another process: one of the two
    std::optional<place> connect;
    bool operator==(const link_config&) const = default;
};

struct network_config {
    key_limits limits;
    identity_source identity = identity_source::common_name;
    unsigned empty_status = 503;  // or 400: how "not enough key" is answered
    std::vector<kme_config> kmes;
    std::vector<link_config> links;
    std::filesystem::path admin;  // Unix socket; empty: none
    bool operator==(const network_config&) const = default;
};

/// Errors: bad_format naming file and JSON path; those of reading a file.
result<network_config> load_network_config(const std::filesystem::path& file);
/// Relative paths are resolved against the file's directory.
result<network_config> parse_network_config(std::string_view text, const std::filesystem::path& file);
/// Paths below the file's directory become relative.
std::string to_json_text(const network_config& config, const std::filesystem::path& file);

}  // namespace warifu::kme_sim
