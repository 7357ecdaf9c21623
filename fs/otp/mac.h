#pragma once
// Wegman-Carter one-time MAC: Poly1305 (Bernstein 2005) with key bytes that are never derived and whose mask s is never
// used twice. Information-theoretic: a forgery of a message of L bytes passes with probability <= 8 * ceil((L + 16) /
// 16) / 2^106 per attempt, also when r serves many messages, as long as each has its own s.

#include <array>
#include <memory>

#include "fs/base/bytes.h"

namespace warifu {

inline constexpr std::size_t mac_tag_size = 16;
inline constexpr std::size_t mac_point_size = 16;  // r
inline constexpr std::size_t mac_mask_size = 16;   // s

using mac_tag = std::array<std::byte, mac_tag_size>;

/// Computes one tag after another: begin, update any number of times, finish. Not thread-safe; the OpenSSL context is
/// kept between messages because fetching it costs more than a small message.
class one_time_mac {
  public:
    one_time_mac();

    /// REQUIRES: r and s are 16 bytes each; s was never used before. Clamping of r is Poly1305's own.
    void begin(bytes_view r, bytes_view s);
    void update(bytes_view bytes);
    mac_tag finish();

  private:
    struct deleter {
        void operator()(void* context) const;
    };
    std::unique_ptr<void, deleter> context_;
};

/// The tag of one message under 32 fresh key bytes (r, s).
mac_tag one_time_tag(bytes_view key32, bytes_view message);

}  // namespace warifu
