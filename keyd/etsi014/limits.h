#pragma once
// Bounds of the key delivery interface (ETSI GS QKD 014), for the client and for a KME. Sizes are bytes, times are
// milliseconds.

#include <cstddef>
#include <cstdint>

namespace warifu::etsi014 {

inline constexpr std::size_t key_size_limit = 16U << 20U;        // one key
inline constexpr std::size_t key_count_limit = 16'384;           // keys or key_IDs of one message
inline constexpr std::size_t container_size_limit = 64U << 20U;  // key bytes of one container
inline constexpr std::size_t request_body_limit = 2U << 20U;     // bodies of requests: 16,384 key_IDs fit
inline constexpr std::size_t error_body_limit = 64U << 10U;      // bodies that are no key container
inline constexpr std::size_t header_size_limit = 16U << 10U;
inline constexpr std::size_t sae_id_limit = 256;  // SAE and KME IDs
inline constexpr std::size_t target_limit = 4096;
inline constexpr std::size_t extension_count_limit = 64;         // per array of extensions
inline constexpr std::size_t extension_size_limit = 16U << 10U;  // one extension value or object, as text
inline constexpr std::size_t additional_sae_limit = 64;
inline constexpr std::size_t message_text_limit = 512;  // of an error's text that is kept
inline constexpr std::size_t path_node_limit = 64;      // of a relayed key's path
inline constexpr unsigned json_depth_limit = 16;
/// What a container adds to each key: key_ID, names, key_ID_extension and key_extension.
inline constexpr std::size_t key_overhead_limit = 1024;

inline constexpr unsigned connections_limit = 16;  // per KME
inline constexpr std::size_t url_count_limit = 16;
inline constexpr std::uint32_t connect_timeout_ms = 5'000;  // address, TCP and TLS
inline constexpr std::uint32_t status_age_max_ms = 10'000;  // limits are asked again after this
inline constexpr std::uint32_t retry_delay_min_ms = 50;     // "not enough key": doubled up to the next
inline constexpr std::uint32_t retry_delay_max_ms = 2'000;
inline constexpr std::uint32_t penalty_min_ms = 200;  // a KME that failed is left alone: doubled up to the next
inline constexpr std::uint32_t penalty_max_ms = 10'000;

}  // namespace warifu::etsi014
