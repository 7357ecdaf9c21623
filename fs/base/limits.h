#pragma once
// Every bound of the system in one place (contract A2). At a limit callers wait or get a clear error; nothing grows past it.
// Sizes are bytes, times are milliseconds.

#include <cstddef>
#include <cstdint>

namespace warifu {

// Sharing
inline constexpr unsigned site_count_max = 16;
inline constexpr std::size_t sub_block_size = 4096;    // one sub-block of a full sharing unit
inline constexpr std::size_t sub_block_step = 16;      // a short unit's sub-block is a multiple of this
inline constexpr std::size_t chunk_size_max = 4U << 20U;  // secret bytes of one chunk
inline constexpr std::size_t chunk_piece_count_max = 1024;
inline constexpr std::size_t codeword_payload_size_max = 4U << 20U;  // one AMD codeword (journal record piece)

// Share store
inline constexpr std::size_t sector_size = 4096;
inline constexpr std::size_t get_range_count_max = 1024;
inline constexpr std::size_t get_size_max = 8U << 20U;
inline constexpr std::size_t list_count_max = 4096;
inline constexpr std::size_t remove_count_max = 4096;
inline constexpr std::size_t record_chunk_count_max = 65536;  // chunks that one journal record names
inline constexpr std::size_t record_share_size_max = 6U << 20U;
inline constexpr std::size_t pin_count_max = 4096;

// Wire
inline constexpr std::size_t message_size_max = 9U << 20U;
inline constexpr std::size_t frame_payload_size_max = 256U << 10U;
inline constexpr std::size_t requests_in_flight_max = 256;  // per connection
inline constexpr std::size_t connection_count_max = 256;    // per share server
inline constexpr unsigned verification_failures_max = 8;    // per pad window, then it is retired
inline constexpr std::uint32_t greeting_timeout_ms = 5'000;
inline constexpr std::uint32_t request_timeout_ms = 10'000;
inline constexpr std::uint32_t reconnect_delay_min_ms = 100;
inline constexpr std::uint32_t reconnect_delay_max_ms = 2'000;

// Keys
inline constexpr std::size_t pad_window_size_min = 64U << 10U;
inline constexpr std::size_t pad_window_size_max = 64U << 20U;
inline constexpr std::size_t pad_block_size_max = 1U << 30U;
inline constexpr std::uint32_t key_wait_timeout_ms = 30'000;

// Memory
inline constexpr std::size_t buffer_recycle_size_max = 192U << 20U;

}  // namespace warifu
