#pragma once
// What a client of a KME has to know: one peer, one site, the site's KMEs. Plain values; a configuration's parser fills
// them, etsi014_client checks them.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace warifu {

struct etsi014_options {
    /// Base addresses of the site's KMEs, "https://HOST[:PORT][/PREFIX]", in order of preference: the first that
    /// answers is used, and the client goes back to an earlier one when it answers again. "/api/v1/keys/..." is added.
    std::vector<std::string> urls;
    /// PEM files. The KME's certificate must lead to `ca_file` and name the URL's host in its subjectAltName.
    std::filesystem::path ca_file;
    std::filesystem::path certificate_file;  // of this SAE, with its intermediate certificates
    std::filesystem::path key_file;          // its private key, unencrypted
    std::string own_sae;                     // this site's SAE ID, as the KME reads it from the certificate
    std::string peer_sae;                    // the SAE at the other end of the link
    unsigned connections_max = 4;            // kept open per KME, 1 to 16; as many requests are in flight
    /// Time for one request at one KME, connecting included; the caller's deadline may be earlier.
    std::uint32_t request_timeout_ms = 10'000;
    /// Key bytes that one request asks for at most, if `status` allows as many (a key larger than this goes alone).
    std::uint64_t request_size_max = 4U << 20U;

    bool operator==(const etsi014_options&) const = default;
};

}  // namespace warifu
