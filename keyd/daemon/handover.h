#pragma once
// Copies pad bytes into memory that a consumer lent. Worker thread.

#include <memory>
#include <vector>

#include "keyd/claim_queue.h"
#include "keyd/pool/pool.h"

namespace warifu {

struct handover_piece {
    byte_place place;
    std::uint64_t size = 0;
};

/// Lent memory is mapped here and the store's files are read straight into it: the bytes are copied once. A consumer
/// lends the same memory again and again, so mappings are kept, up to a bound, for as long as they are used.
class handover {
  public:
    handover();
    ~handover();
    handover(const handover&) = delete;
    handover& operator=(const handover&) = delete;

    /// Puts the bytes of `pieces` one after the other into the memory descriptor. REQUIRES: check_lent_memory let it
    /// pass for as many bytes. Errors: no_space, io_error, bad_checksum (the store lost the bytes).
    result<void> fill(claim_queue::consumer from, int memory, const std::vector<handover_piece>& pieces);
    /// The consumer is gone: nothing here holds its memory any more.
    void forget(claim_queue::consumer from);

  private:
    struct mapping;
    result<std::shared_ptr<mapping>> borrow(claim_queue::consumer from, int memory, std::size_t size);

    std::vector<std::shared_ptr<mapping>> kept_;
};

}  // namespace warifu
