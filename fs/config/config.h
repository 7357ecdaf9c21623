#pragma once
// The configuration of a site, of a volume as one machine mounts it, of a site's access list and of a local deployment:
// typed, strictly parsed (an unknown, missing or wrongly typed value is an error that names file and JSON path),
// written back in a stable order. FORMAT.md beside this file shows each document. Paths in a document are relative to
// the document's file; in the structs they are already resolved.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"
#include "fs/base/ids.h"
#include "fs/base/random.h"

namespace warifu {

/// "127.0.0.1:7101", "[::1]:7101", "site2.example.org:7101".
struct endpoint {
    std::string host;  // without brackets
    std::uint16_t port = 0;
    bool operator==(const endpoint&) const = default;
};
/// bad_format without a file name.
result<endpoint> parse_endpoint(std::string_view text);
std::string to_text(const endpoint& e);

/// A site name: 1 to 63 characters of a-z, 0-9, '.', '_' and '-', the first a letter or digit. It becomes part of file
/// names.
bool valid_site_name(std::string_view text);

/// Where a site's random numbers come from (keyd/daemon/random_filler.h).
struct random_source_config {
    std::filesystem::path device;           // character device, FIFO, or a file that is used up
    claim strength = claim::computational;  // information_theoretic needs entropy_bits 8
    unsigned entropy_bits = 8;              // per byte, that the source promises
    std::uint64_t target = 64U << 20U;      // unspent bytes to keep
    bool operator==(const random_source_config&) const = default;
};

struct keyd_config {
    std::filesystem::path socket;  // where mounts and the share server ask for key
    std::filesystem::path pads;    // directory of pad blocks and the ledger
    std::uint64_t reserve = 0;     // bytes per link and direction kept for hello, journal, fence and remove
    std::string group;                           // its members may ask for key; "": only keyd's user and root
    std::string metrics;                         // "ADDRESS:PORT" where OpenMetrics are served; "": nowhere
    std::optional<random_source_config> random;  // beside deliveries
    std::optional<endpoint> listen{};  // where keyds of sites whose names sort before this one's call
    std::uint64_t stock = 256U << 20U;  // unspent bytes that links with a KME keep per outbound stream
    bool operator==(const keyd_config&) const = default;
};

inline constexpr std::size_t kme_url_count_max = 8;
inline constexpr std::uint64_t kme_key_size_max = 4U << 20U;  // bytes

/// The key delivery service of one link (ETSI GS QKD 014), as this site reaches it.
struct kme_config {
    std::vector<std::string> urls;  // "https://HOST[:PORT][/PREFIX]", in order of preference; 1 to kme_url_count_max
    std::filesystem::path ca;       // PEM files
    std::filesystem::path certificate;
    std::filesystem::path key;
    std::string own_sae;
    std::string peer_sae;
    claim strength = claim::simulated;  // of its key: simulated or information_theoretic
    std::uint64_t key_size = 0;         // bytes to ask for; 0: by what the service says
    bool operator==(const kme_config&) const = default;
};

struct server_config {
    endpoint listen;               // for other sites
    std::filesystem::path socket;  // for mounts of this site
    std::filesystem::path store;   // a file or a raw block device
    std::uint64_t store_size = 0;  // bytes; of a file when it is made
    std::filesystem::path access;  // access list; a missing file grants nothing
    bool operator==(const server_config&) const = default;
};

struct link_config {
    std::string peer;  // site name
    endpoint address;  // of the peer's share server
    std::optional<endpoint> control{};  // of the peer's keyd
    std::optional<kme_config> kme{};    // none: key comes in pad files only
    bool operator==(const link_config&) const = default;
};

/// site.json: what runs at one site.
struct site_config {
    std::string name;
    keyd_config keyd;
    server_config server;
    std::vector<link_config> links;

    /// nullptr when there is no link to `peer`.
    const link_config* link_to(std::string_view peer) const;
    bool operator==(const site_config&) const = default;
};

/// volume.json: one volume as this machine mounts it.
struct volume_config {
    volume_id id;
    std::string name;
    unsigned threshold = 0;           // k
    std::vector<std::string> sites;   // in the volume's order; n of them
    std::filesystem::path site;       // site.json of the site that this machine is
    std::filesystem::path run;        // directory of mount.pid and mount.sock
    std::string randomness = "drbg";  // "drbg" | "pool"
    bool operator==(const volume_config&) const = default;
};

enum class grant : std::uint8_t { none, read, write };
std::string_view to_string(grant g);
result<grant> parse_grant(std::string_view text);

struct access_entry {
    volume_id volume;
    std::string site;
    grant allowed = grant::none;
    bool operator==(const access_entry&) const = default;
};

/// access.json: who may do what with this site's shares.
struct access_config {
    std::vector<access_entry> entries;  // no (volume, site) twice

    grant of(const volume_id& volume, std::string_view site) const;
    /// Adds or changes an entry; grant::none removes it.
    void set(const volume_id& volume, std::string_view site, grant allowed);
    bool operator==(const access_config&) const = default;
};

/// deployment.json: what `warifu up` was told when it made the directory.
struct deployment_config {
    std::uint64_t pads_target = 0;  // unspent bytes per link and direction that the dealer keeps up
    std::uint64_t link_rate = 0;    // bits per second per link and direction; 0: as fast as it goes
    bool simulated_kmes = false;    // key comes from DIR/kme (ETSI GS QKD 014); false: from a dealer, in pad files
    bool complete = false;          // the volume was made: from then on nothing is ever made anew here
    bool operator==(const deployment_config&) const = default;
};

// Parsing of texts (file: for messages and for relative paths) and of files. Errors: bad_format, too_large, and those
// of reading.
result<site_config> parse_site_config(std::string_view text, const std::filesystem::path& file);
result<volume_config> parse_volume_config(std::string_view text, const std::filesystem::path& file);
result<access_config> parse_access_config(std::string_view text, const std::filesystem::path& file);
result<deployment_config> parse_deployment_config(std::string_view text, const std::filesystem::path& file);

result<site_config> load_site_config(const std::filesystem::path& file);
/// `where` may be a deployment directory (then DIR/run/volume.json).
result<volume_config> load_volume_config(const std::filesystem::path& where);
/// An access list that does not exist is empty: nobody has access.
result<access_config> load_access_config(const std::filesystem::path& file);
result<deployment_config> load_deployment_config(const std::filesystem::path& file);

// Written in one step; paths below the file's directory are written relative to it, so that a deployment can be moved.
result<void> save(const site_config& config, const std::filesystem::path& file);
result<void> save(const volume_config& config, const std::filesystem::path& file);
result<void> save(const access_config& config, const std::filesystem::path& file);
result<void> save(const deployment_config& config, const std::filesystem::path& file);

std::string to_json_text(const site_config& config, const std::filesystem::path& file);
std::string to_json_text(const volume_config& config, const std::filesystem::path& file);
std::string to_json_text(const access_config& config);
std::string to_json_text(const deployment_config& config);

}  // namespace warifu
