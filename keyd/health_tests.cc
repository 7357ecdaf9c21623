#include "keyd/health_tests.h"

#include <algorithm>
#include <cmath>

namespace warifu {

unsigned health_tests::run_cutoff(double min_entropy) {
    return 1 + static_cast<unsigned>(std::ceil(-alpha_log2 / min_entropy));
}

/// 1 + the least k with P(X > k) <= alpha, X binomial with W trials of probability 2^-H.
unsigned health_tests::window_cutoff(double min_entropy) {
    const double n = window_size;
    const double p = std::exp2(-min_entropy);
    const double alpha = std::exp2(alpha_log2);
    double tail = 0;  // P(X > k)
    unsigned k = window_size;
    while (k > 0) {
        const double log_mass = std::lgamma(n + 1) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1) +
                                k * std::log(p) + (n - k) * std::log1p(-p);
        if (tail + std::exp(log_mass) > alpha) break;
        tail += std::exp(log_mass);
        --k;
    }
    return 1 + k;
}

bool health_tests::feed(std::byte sample) {
    run_ = run_ != 0 && sample == run_of_ ? run_ + 1 : 1;
    run_of_ = sample;
    if (run_ >= run_cutoff_) failed_ = "the repetition count test";
    if (window_at_ == 0) {
        window_of_ = sample;
        window_count_ = 0;
    }
    if (sample == window_of_ && ++window_count_ >= window_cutoff_) failed_ = "the adaptive proportion test";
    window_at_ = (window_at_ + 1) % window_size;
    return failed_.empty();
}

bool health_tests::feed(bytes_view samples) {
    return failed_.empty() && std::ranges::all_of(samples, [this](std::byte sample) { return feed(sample); });
}

}  // namespace warifu
