#pragma once
// Bounds of the key manager that nobody else needs; the others stand in fs/base/limits.h, "Keys". Sizes are bytes.

#include <cstddef>
#include <cstdint>

#include "fs/base/limits.h"

namespace warifu {

/// How often a responder may look at one hello slot: tries of a forger, each of which succeeds with probability 2^-98
/// at most (Poly1305 under the slot's key, 512 bytes). Few enough for 2^-84 in all, too many to lock honest peers out
/// by naming slots.
inline constexpr unsigned hello_looks_max = 16'384;
/// Slots whose looks are counted; beyond, those with the fewest looks are forgotten.
inline constexpr std::size_t looked_at_slots_max = 65'536;

/// A crash burns at most so many seconds of a stream's key, where its rate is known ...
inline constexpr std::uint64_t burn_time_max_s = 2;
/// ... but what makes connections work at all may always be out ...
inline constexpr std::uint64_t held_window_bytes_min = 1U << 20U;
/// ... and one session may hold what its largest message takes, and what frames it, behind a window that is nearly used
/// up (of the size that earlier versions took: one may still run). Without room for that window a message could wait
/// for ever: nothing else would use the window up.
inline constexpr std::uint64_t held_by_one_session_max = message_size_max + (1U << 20U) + 2 * channel_window_size_max;
/// Then a session that got nothing meanwhile loses its turn to go beyond the bound.
inline constexpr std::uint32_t beyond_bound_time_ms = 2'000;

/// Memory for key on its way in is kept and used again while there is not more of it.
inline constexpr std::size_t keyd_buffer_memory_max = 64U << 20U;

/// Of consumers' memory so much is mapped, for as long as it is filled again within so short a time.
inline constexpr std::size_t kept_mappings_max = 24U << 20U;
inline constexpr std::uint32_t mapping_idle_max_ms = 1'000;

/// While windows are read from a disk erasing waits for a pause of so long, but not longer than that.
inline constexpr std::uint32_t erase_pause_time_ms = 20;
inline constexpr std::uint32_t erase_delay_time_max_ms = 2'000;

/// How long windows that were out when keyd ended wait for their consumers to come back, before they are burnt.
inline constexpr std::uint32_t reclaim_time_ms = 10'000;
/// How long a consumer that destroyed a window may take to release it, before it gives the window up.
inline constexpr std::uint32_t abandon_delay_ms = 2'000;
inline constexpr std::uint32_t client_upkeep_ms = 500;
/// Memory that a consumer keeps for windows to come.
inline constexpr std::size_t shelf_size_max = 32U << 20U;
inline constexpr std::size_t shelf_count_max = 64;
inline constexpr std::size_t late_claims_max = 64;  // answers that a consumer no longer waits for
/// How often keyd looks whether its ledger still takes records.
inline constexpr std::uint32_t ledger_look_interval_ms = 500;

/// How long a keyd with links waits after its start, before it hands out what it chooses itself, for its peers to say
/// how far they remember its ledger.
inline constexpr std::uint32_t witness_wait_time_ms = 5'000;

/// Weights of consumers in the queue for key.
inline constexpr std::uint64_t reservation_size_max = 4ULL << 30U;  // of one consumer and stream
inline constexpr std::uint32_t claim_weight_max = 1000;
inline constexpr std::uint32_t claim_weight_default = 100;

}  // namespace warifu
