#pragma once
// A bounded set of 64-bit offsets kept as disjoint half-open intervals: how spent marks are held. When the bound on
// intervals is reached the set closes its smallest gap, so it errs on the side of "in the set" (burnt key), never the
// other way.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace warifu {

inline constexpr std::size_t interval_count_max = 4096;

class interval_set {
  public:
    struct interval {
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
        std::uint64_t size() const { return end - begin; }
        bool operator==(const interval&) const = default;
    };

    explicit interval_set(std::size_t count_max = interval_count_max) : count_max_(count_max) {}

    /// Adds [begin, end); empty intervals are ignored.
    void add(std::uint64_t begin, std::uint64_t end);
    /// Takes [begin, end) out. False, and nothing changed, when that would need one interval more than the bound.
    bool subtract(std::uint64_t begin, std::uint64_t end);
    /// True when all of [begin, end) is in the set (an empty interval is).
    bool contains(std::uint64_t begin, std::uint64_t end) const;
    bool intersects(std::uint64_t begin, std::uint64_t end) const;
    /// How many offsets of [begin, end) are in the set.
    std::uint64_t overlap(std::uint64_t begin, std::uint64_t end) const;
    /// The first maximal run of [from, limit) that is not in the set.
    std::optional<interval> first_gap(std::uint64_t from, std::uint64_t limit) const;

    std::vector<interval> intervals() const;
    std::size_t count() const { return map_.size(); }
    std::uint64_t size() const { return size_; }
    bool empty() const { return map_.empty(); }
    bool operator==(const interval_set& other) const { return map_ == other.map_; }

  private:
    void close_smallest_gap();

    std::map<std::uint64_t, std::uint64_t> map_;  // begin -> end; disjoint and not touching
    std::uint64_t size_ = 0;
    std::size_t count_max_;
};

}  // namespace warifu
