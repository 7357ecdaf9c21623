#pragma once
// A key delivery service as one site sees it for one peer: what keyd asks of its KME. The calls and their meanings are
// those of ETSI GS QKD 014 v1.1.1 sections 5 and 6; implemented over HTTPS by keyd/etsi014.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fs/async/asio.h"
#include "fs/base/buffer.h"
#include "fs/base/clock.h"
#include "fs/base/ids.h"

namespace warifu {

/// The standard's key_ID: a UUID.
using key_id = uuid_of<struct key_tag>;

/// One key of a key container (section 6.3). Move-only and unprintable. The keys of a container may be parts of one
/// buffer: it is wiped with the last of them.
class delivered_key {
  public:
    delivered_key(key_id id, slice bytes) : id_(id), bytes_(std::move(bytes)) {}
    delivered_key(delivered_key&&) noexcept = default;
    delivered_key& operator=(delivered_key&&) noexcept = default;
    ~delivered_key() = default;

    const key_id& id() const { return id_; }
    bytes_view bytes() const { return bytes_.view(); }
    /// The sites or nodes that a relayed key passed, in order, when the KME tells (key_ID_extension or key_extension);
    /// empty: not told.
    std::vector<std::string> path;

  private:
    key_id id_;
    slice bytes_;
};

/// The standard's status (section 6.1), with the limits in bytes.
struct delivery_status {
    std::string source_kme;
    std::string target_kme;
    std::uint64_t key_size = 0;  // default, bytes
    std::uint64_t key_size_min = 0;
    std::uint64_t key_size_max = 0;
    std::uint64_t keys_stored = 0;
    std::uint64_t keys_stored_max = 0;
    std::uint64_t keys_per_request_max = 0;
};

/// Core thread of the caller. Every call ends by its deadline. Errors: unreachable (no KME answers), timed_out, denied
/// (the KME does not know this caller or refuses it), no_key (not enough key there now: ask again later), bad_argument
/// (the KME refuses the request as such), bad_format (an answer that breaks the standard; nothing of it is used).
class key_delivery {
  public:
    virtual ~key_delivery() = default;
    /// "Get status".
    virtual task<delivery_status> status(deadline until) = 0;
    /// "Get key" as master SAE: up to `count` keys of `size` bytes; fewer are possible, none is no_key. They have left
    /// the KME for good. Never more than status allows: requests are split.
    virtual task<std::vector<delivered_key>> enc_keys(std::size_t count, std::size_t size, deadline until) = 0;
    /// "Get key with key IDs" as slave SAE: those of `ids` that the KME delivers, in the order of `ids`; the others are
    /// lost for good (unknown, expired, delivered before, or lost on the way here). An error means that it is not
    /// known whether any were delivered.
    virtual task<std::vector<delivered_key>> dec_keys(std::vector<key_id> ids, deadline until) = 0;
    /// For the end: calls under way fail soon and later ones at once. What they asked for may be lost.
    virtual void cancel() {}
};

}  // namespace warifu
