#pragma once
// Pad brokers in memory, for tests of what stands above keyd: one shared object plays the key managers of all sites.
// Contents are deterministic and identical at both ends of a stream; accounting is kept per end with the rules of
// pad_broker.h, so a byte is handed out once at each end, a tail returns only by release, and a sender and a receiver
// can disagree. Thread-safe: ends may live on different core threads.

#include <memory>
#include <string>

#include "keyd/pad_broker.h"

namespace warifu {

struct memory_pads_options {
    std::uint64_t stock = 256U << 20U;      // bytes that each stream starts with, a multiple of block_size
    std::uint64_t block_size = 16U << 20U;  // a stream's blocks lie at multiples of it
    std::uint64_t control_reserve = 0;      // of each stream; only key_use::control may draw on it
    std::uint64_t random_stock = 0;         // bytes for take_random at each site
    claim strength = claim::simulated;
    std::uint64_t seed = 1;
};

class memory_pads {
  public:
    explicit memory_pads(memory_pads_options options = {});
    ~memory_pads();

    /// Declares both streams of a link. Streams of undeclared links are not_found.
    void link(const std::string& a, const std::string& b);
    /// The broker of one site. It keeps the shared state alive. Windows of a broker that are alive when it is destroyed
    /// stay valid and are burnt.
    std::unique_ptr<pad_broker> end(const std::string& site);

    /// More key arrives at both ends (rounded up to whole blocks); waiting claims see it.
    void add_stock(const stream_name& stream, std::uint64_t size);
    /// One end loses [range): a block that never arrived there.
    void lose(const std::string& site, const stream_name& stream, pad_range range);
    /// While down every call of that site's broker fails with unreachable; windows already held stay valid.
    void set_down(const std::string& site, bool down);

    /// Everything one site's key manager remembers, to play the restoring of an old copy.
    struct snapshot;
    std::shared_ptr<const snapshot> save(const std::string& site) const;
    void restore(const std::string& site, const std::shared_ptr<const snapshot>& old);

    struct state;

  private:
    std::shared_ptr<state> state_;
};

}  // namespace warifu
