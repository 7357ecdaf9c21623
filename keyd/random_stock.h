#pragma once
// Sharing randomness from the site's random pool (source `pool`): fetches it from keyd a few MiB at a time and hands it
// out by the chunk. Bytes that are in this stock when the process ends are lost; they were marked used when keyd handed
// them over.

#include <deque>

#include "fs/async/wait.h"
#include "fs/base/buffer.h"
#include "keyd/random_supply.h"

namespace warifu {

struct random_stock_options {
    std::size_t fetch_size = 4U << 20U;          // asked of keyd at a time ...
    std::size_t small_fetch_size = 256U << 10U;  // ... and when it has less
    std::size_t control_reserve = 1U << 20U;     // bulk leaves so much to control: records must go on when chunks wait
    std::uint32_t wait_ms = 30'000;              // for each of these
};

class random_stock final : public random_supply, public std::enable_shared_from_this<random_stock> {
  public:
    random_stock(asio::any_io_executor core, std::shared_ptr<pad_broker> keys, random_stock_options options = {});

    claim strength() const override { return keys_->strength(); }
    task<std::unique_ptr<random_source>> take(std::size_t size, key_use use) override;
    /// Bytes fetched and not handed out.
    std::size_t left() const { return left_; }

  private:
    task<std::unique_ptr<random_source>> take_leaving(std::size_t size, std::size_t kept);
    task<> fetch(std::size_t wanted);
    buffer cut(std::size_t size);

    std::shared_ptr<pad_broker> keys_;
    random_stock_options options_;
    async_mutex bulk_turn_;  // chunks are served in the order in which they asked
    async_mutex fetching_;
    std::deque<buffer> parts_;
    std::size_t used_of_first_ = 0;
    std::size_t left_ = 0;
};

}  // namespace warifu
