#pragma once
// How many sites each step needs: one table, tested for every (k, n) against the properties that the proofs use.

#include <algorithm>

namespace warifu {

/// The least size of a view that accepts writes: any k of it give the data back, two views always meet, and a view
/// always meets any k sites.
constexpr unsigned view_size_min(unsigned k, unsigned n) {
    return std::max({k, n / 2 + 1, n - k + 1});
}

/// Durable promises that opening for writing needs, so that every possible view and every other opener is met.
constexpr unsigned promise_count_min(unsigned k, unsigned n) {
    return std::max(n - view_size_min(k, n) + 1, n / 2 + 1);
}

}  // namespace warifu
