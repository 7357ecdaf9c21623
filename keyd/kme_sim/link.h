#pragma once
// A simulated quantum link: how much key its two KMEs have in common now, and how a key that one of them delivers
// comes to be at the other.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "fs/async/wait.h"
#include "keyd/key_delivery.h"
#include "keyd/kme_sim/config.h"

namespace warifu::kme_sim {

/// A token bucket of key bits.
class key_stock {
  public:
    /// `rate` bit/s; 0: always full. It starts empty unless the rate is 0.
    key_stock(std::uint64_t rate, std::uint64_t capacity, deadline now);
    std::uint64_t bits(deadline now);
    /// False: not as many are there; nothing is taken.
    bool take(std::uint64_t count, deadline now);
    void set_rate(std::uint64_t rate, deadline now);

  private:
    void fill(deadline now);
    std::uint64_t rate_;
    std::uint64_t capacity_;
    double bits_;
    deadline filled_;
};

/// Key bytes that several owners read; wiped with the last of them.
class key_bytes {
  public:
    explicit key_bytes(std::size_t size) : small_(size < recycled_size_min ? size : 0), large_(size - small_.size()) {}
    explicit key_bytes(bytes_view bytes) : key_bytes(bytes.size()) { std::ranges::copy(bytes, span().begin()); }
    key_bytes(const key_bytes&) = delete;
    key_bytes& operator=(const key_bytes&) = delete;
    ~key_bytes() { wipe(small_); }
    bytes_span span() { return small_.empty() ? large_.span() : bytes_span(small_); }
    bytes_view view() const { return small_.empty() ? large_.view() : bytes_view(small_); }

  private:
    static constexpr std::size_t recycled_size_min = 4096;  // a buffer takes at least as much
    byte_vector small_;
    buffer large_;
};

/// A key on its way to the slaves at one KME.
struct shared_key {
    key_id id;
    std::shared_ptr<const key_bytes> bytes;
};
struct key_delivery_batch {
    std::string master;
    std::vector<std::string> slaves;  // SAEs at the receiving KME
    std::vector<shared_key> keys;
    std::string id_extension;  // of each key: a JSON object as text, or empty
    std::string key_extension;
};

/// The way to a KME in another process.
class remote_link {
  public:
    virtual ~remote_link() = default;
    virtual bool connected() const = 0;
    /// Until the other process has them. Errors: unreachable, timed_out, no_space (too many wait there).
    virtual task<> deliver(std::shared_ptr<const key_delivery_batch> batch, deadline until) = 0;
};

}  // namespace warifu::kme_sim
