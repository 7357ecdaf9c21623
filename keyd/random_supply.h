#pragma once
// Where the randomness of secret sharing comes from, a chunk's or a record's worth at a time: interface, and the supply
// that never runs out.

#include <memory>

#include "fs/async/asio.h"
#include "fs/base/random.h"
#include "keyd/pad_broker.h"

namespace warifu {

/// Core thread; what it hands out may be used and destroyed on any thread, by one at a time.
class random_supply {
  public:
    virtual ~random_supply() = default;
    /// What the bytes can claim; may become weaker with time.
    virtual claim strength() const = 0;
    /// A source that gives `size` bytes at once, all of which count as used. Waits for them; control goes first when
    /// they are short. Errors: no_key (none came within the time-out), unreachable and others of the key manager.
    virtual task<std::unique_ptr<random_source>> take(std::size_t size, key_use use) = 0;
};

/// AES-256-CTR with a key of its own for each source. Claim: computational.
class drbg_supply final : public random_supply {
  public:
    claim strength() const override { return claim::computational; }
    task<std::unique_ptr<random_source>> take(std::size_t, key_use) override { co_return make_drbg(); }
};

}  // namespace warifu
