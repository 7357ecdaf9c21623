#pragma once
// A simulated quantum link: how much key its two KMEs have in common now, and how a key that one of them delivers
// comes to be at the other.

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

/// A key on its way to the slaves at one KME: a part of a buffer that is wiped with the last key in it.
struct shared_key {
    key_id id;
    slice bytes;
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
