#pragma once
// A site's KMEs over HTTPS by ETSI GS QKD 014 v1.1.1: the key_delivery that keyd uses. README.md tells its rules.

#include <memory>

#include "keyd/etsi014/options.h"
#include "keyd/key_delivery.h"

namespace warifu {

/// What a client has seen since it was made, for status and metrics.
struct etsi014_counters {
    std::uint64_t requests = 0;          // sent
    std::uint64_t keys_encrypted = 0;    // delivered by enc_keys
    std::uint64_t keys_decrypted = 0;    // delivered by dec_keys
    std::uint64_t keys_missing = 0;      // asked by dec_keys and not there (any more)
    std::uint64_t connections_made = 0;  // TLS handshakes that succeeded
    std::uint64_t failures = 0;          // requests without a usable answer: no connection, time-out, 5xx
    std::uint64_t bad_answers = 0;       // answers that break the standard (among the failures)
    std::uint64_t refusals = 0;          // 400, 401, 403, 404
    std::uint64_t empty = 0;             // "not enough key", 429 and 503
    std::uint64_t failovers = 0;         // requests sent to another KME than the first of the list
};

/// Core thread of `executor`, which must outlive the client. Destroying it closes its connections; calls must have
/// ended before.
class etsi014_client : public key_delivery {
  public:
    /// Reads and checks the certificates. Errors: bad_argument (URLs, SAE IDs, limits), and not_found, access_denied or
    /// bad_format naming the file. Connects to nobody yet.
    static result<std::unique_ptr<etsi014_client>> create(asio::any_io_executor executor, etsi014_options options);

    virtual etsi014_counters counters() const = 0;
    /// The KME that answered last (its URL), or empty.
    virtual std::string current_url() const = 0;
};

}  // namespace warifu
