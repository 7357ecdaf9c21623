#pragma once
// Copies pad bytes into memory that a consumer lent. Worker thread.

#include <atomic>
#include <memory>
#include <vector>

#include "fs/base/clock.h"
#include "keyd/claim_queue.h"
#include "keyd/limits.h"
#include "keyd/pool/pool.h"

namespace warifu {

struct handover_piece {
    byte_place place;
    std::uint64_t size = 0;
};

/// Memory that a consumer lends again and again is mapped here, and the store's files are read straight into it: the
/// bytes are copied once. What is too large to be lent again, finds no room or cannot be mapped is written through its
/// descriptor: to map memory for one window costs more than a second copy.
class handover {
  public:
    /// Memory that is not filled for `idle_max` is let go by forget_idle, or when there is no room for other.
    explicit handover(steady_clock::duration idle_max = std::chrono::milliseconds(mapping_idle_max_ms));
    ~handover();
    handover(const handover&) = delete;
    handover& operator=(const handover&) = delete;

    /// Puts the bytes of `pieces` one after the other into the memory descriptor. REQUIRES: check_lent_memory let it
    /// pass for as many bytes. Errors: no_space, io_error, bad_checksum (the store lost the bytes).
    result<void> fill(claim_queue::consumer from, int memory, const std::vector<handover_piece>& pieces);
    /// When fill last read from a disk: now, while it does. Any thread.
    deadline last_disk_read() const;
    /// The consumer is gone: nothing here holds its memory any more.
    void forget(claim_queue::consumer from);
    /// Nothing here holds memory that was not filled for so long.
    void forget_idle();

  private:
    struct mapping;
    struct disk_read;
    std::shared_ptr<mapping> borrow(claim_queue::consumer from, int memory, std::size_t size);

    steady_clock::duration idle_max_;
    std::atomic<bool> reads_disk_ = false;
    std::atomic<deadline> last_disk_read_{};
    std::vector<std::shared_ptr<mapping>> kept_;
};

}  // namespace warifu
