#pragma once
// Bounds of the key manager that nobody else needs; the others stand in fs/base/limits.h, "Keys".

#include <cstddef>
#include <cstdint>

namespace warifu {

/// How often a responder may look at one hello slot: tries of a forger, each of which succeeds with probability 2^-98
/// at most (Poly1305 under the slot's key, 512 bytes). Few enough for 2^-84 in all, too many to lock honest peers out
/// by naming slots.
inline constexpr unsigned hello_looks_max = 16'384;
/// Slots whose looks are counted; beyond, those with the fewest looks are forgotten.
inline constexpr std::size_t looked_at_slots_max = 65'536;

}  // namespace warifu
