#pragma once
// Time. Deadlines use the steady clock; time stamps of files use the system clock in nanoseconds.

#include <chrono>
#include <cstdint>

namespace warifu {

using steady_clock = std::chrono::steady_clock;
using deadline = steady_clock::time_point;

inline deadline deadline_in_ms(std::uint32_t ms) {
    return steady_clock::now() + std::chrono::milliseconds(ms);
}

/// Nanoseconds since 1970-01-01 UTC (CLOCK_REALTIME).
inline std::int64_t realtime_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

}  // namespace warifu
