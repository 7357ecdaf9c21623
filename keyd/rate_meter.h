#pragma once
// How fast something flows, as an exponentially weighted average: what happened one time constant ago counts 1/e. From
// the first event on it is unbiased, however young it is. Pure.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "fs/base/clock.h"

namespace warifu {

class rate_meter {
  public:
    explicit rate_meter(std::chrono::duration<double> time_constant = std::chrono::seconds(60))
        : tau_(time_constant.count()) {}

    /// Negative amounts take back what was counted too much.
    void add(double amount, deadline now) {
        if (!begun_) begun_ = last_ = now;
        decay(now);
        level_ += amount;
    }
    /// Per second; never negative.
    double per_second(deadline now) const {
        if (!begun_) return 0;
        const double age = seconds(*begun_, now);
        const double weight = tau_ * -std::expm1(-std::max(age, 1.0) / tau_);  // of the time that was seen
        return std::max(0.0, level_ * std::exp(-seconds(*last_, now) / tau_) / weight);
    }

  private:
    static double seconds(deadline from, deadline to) {
        return std::max(0.0, std::chrono::duration<double>(to - from).count());
    }
    void decay(deadline now) {
        level_ *= std::exp(-seconds(*last_, now) / tau_);
        last_ = now;
    }

    double tau_;
    double level_ = 0;
    std::optional<deadline> begun_, last_;
};

/// How fast a source can deliver, though it delivers by demand: the fastest ten seconds so far. While it runs short it
/// gives all it has, so what it gives then is its rate, however fast it was before.
class delivery_rate {
  public:
    void delivered(std::uint64_t bytes, deadline now) {
        if (!begun_) begun_ = now;
        recent_.add(static_cast<double>(bytes), now);
        // A young average is coarse: it does not stay.
        const bool is_young = now - *begun_ < time_constant;
        fastest_ = std::max(is_young ? 0.0 : fastest_, recent_.per_second(now));
    }
    void ran_short(deadline now) { fastest_ = recent_.per_second(now); }
    /// Bytes per second; 0 before the first delivery.
    double per_second() const { return fastest_; }

  private:
    static constexpr auto time_constant = std::chrono::seconds(10);
    rate_meter recent_{time_constant};
    std::optional<deadline> begun_;
    double fastest_ = 0;
};

}  // namespace warifu
