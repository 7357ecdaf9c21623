#pragma once
// Time. Deadlines use the steady clock; time stamps of files use the system clock in nanoseconds.

#include <atomic>
#include <chrono>
#include <cstdint>

namespace warifu {

/// Of a process under simulation: nanoseconds of simulated time (fs/async/wait.h moves it on). Negative: real time.
inline std::atomic<std::int64_t> simulated_time_ns = -1;

/// std::chrono::steady_clock, or simulated time. Its time points are those of std::chrono::steady_clock.
struct steady_clock {
    using duration = std::chrono::steady_clock::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::steady_clock::time_point;
    static constexpr bool is_steady = true;
    static time_point now() noexcept {
        const std::int64_t simulated = simulated_time_ns.load(std::memory_order_relaxed);
        if (simulated < 0) return std::chrono::steady_clock::now();
        return time_point(std::chrono::nanoseconds(simulated));
    }
};
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
