#include "keyd/kme_sim/link.h"

#include <algorithm>

namespace warifu::kme_sim {

key_stock::key_stock(std::uint64_t rate, std::uint64_t capacity, deadline now)
    : rate_(rate), capacity_(capacity), bits_(0), filled_(now) {}

void key_stock::fill(deadline now) {
    const double seconds =
        std::chrono::duration<double>(std::max(now - filled_, steady_clock::duration::zero())).count();
    filled_ = std::max(now, filled_);
    const auto capacity = static_cast<double>(capacity_);
    bits_ = rate_ == 0 ? capacity : std::min(capacity, bits_ + seconds * static_cast<double>(rate_));
}

std::uint64_t key_stock::bits(deadline now) {
    fill(now);
    return static_cast<std::uint64_t>(bits_);
}

bool key_stock::take(std::uint64_t count, deadline now) {
    if (bits(now) < count) return false;
    bits_ -= static_cast<double>(count);
    return true;
}

void key_stock::set_rate(std::uint64_t rate, deadline now) {
    fill(now);
    rate_ = rate;
}

}  // namespace warifu::kme_sim
