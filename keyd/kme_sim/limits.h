#pragma once
// Bounds of the simulator. Sizes are bytes, times are milliseconds.

#include <cstddef>
#include <cstdint>

namespace warifu::kme_sim {

inline constexpr std::size_t kme_count_limit = 64;
inline constexpr std::size_t sae_count_limit = 256;  // per KME
inline constexpr std::size_t link_count_limit = 2048;
inline constexpr std::size_t fault_count_limit = 256;  // asked for and not cleared
inline constexpr std::size_t connection_limit = 256;   // per KME
inline constexpr std::uint32_t handshake_timeout_ms = 5'000;
inline constexpr std::uint32_t request_read_timeout_ms = 10'000;
inline constexpr std::uint32_t answer_write_timeout_ms = 30'000;
inline constexpr std::uint32_t idle_timeout_ms = 300'000;
inline constexpr std::size_t link_message_limit = 96U << 20U;
inline constexpr std::uint32_t link_timeout_ms = 5'000;  // for the other end of a link to take a delivery
inline constexpr std::uint32_t link_reconnect_ms = 200;

}  // namespace warifu::kme_sim
