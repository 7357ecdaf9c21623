#pragma once
// Copies pad bytes into memory that a consumer lent. Worker thread.

#include <vector>

#include "keyd/pool/pool.h"

namespace warifu {

struct handover_piece {
    byte_place place;
    std::uint64_t size = 0;
};
/// Puts the bytes of `pieces` one after the other into the memory descriptor. Errors: no_space, io_error, bad_checksum
/// (the store lost the bytes).
result<void> fill_memory(int memory, const std::vector<handover_piece>& pieces);

}  // namespace warifu
