#pragma once
// Copies pad bytes into a memory descriptor that a consumer may map and write, but not resize. Worker thread.

#include <vector>

#include "keyd/pool/pool.h"

namespace warifu {

/// A sealed memory descriptor with the bytes of `pieces` one after the other. Errors: no_space, io_error, bad_checksum
/// (the store lost the bytes).
struct handover_piece {
    byte_place place;
    std::uint64_t size = 0;
};
result<unique_fd> copy_to_memory(const std::vector<handover_piece>& pieces);

}  // namespace warifu
