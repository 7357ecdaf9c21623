#include "keyd/interval_set.h"

#include <algorithm>
#include <iterator>

#include "fs/base/assert.h"

namespace warifu {

void interval_set::add(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return;
    // Everything that overlaps or touches [begin, end) melts into it.
    auto it = map_.upper_bound(begin);
    if (it != map_.begin() && std::prev(it)->second >= begin) --it;
    while (it != map_.end() && it->first <= end) {
        begin = std::min(begin, it->first);
        end = std::max(end, it->second);
        size_ -= it->second - it->first;
        it = map_.erase(it);
    }
    map_.emplace_hint(it, begin, end);
    size_ += end - begin;
    while (map_.size() > count_max_) close_smallest_gap();
}

bool interval_set::subtract(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return true;
    auto it = map_.upper_bound(begin);
    if (it != map_.begin() && std::prev(it)->second > begin) --it;
    if (it == map_.end()) return true;
    const bool splits = it->first < begin && it->second > end;
    if (splits && map_.size() >= count_max_) return false;
    while (it != map_.end() && it->first < end) {
        const auto [first, last] = *it;
        it = map_.erase(it);
        size_ -= last - first;
        if (first < begin) {
            map_.emplace(first, begin);
            size_ += begin - first;
        }
        if (last > end) {
            map_.emplace(end, last);
            size_ += last - end;
        }
    }
    return true;
}

bool interval_set::contains(std::uint64_t begin, std::uint64_t end) const {
    if (begin >= end) return true;
    auto it = map_.upper_bound(begin);
    if (it == map_.begin()) return false;
    return std::prev(it)->second >= end;
}

bool interval_set::intersects(std::uint64_t begin, std::uint64_t end) const {
    return overlap(begin, end) != 0;
}

std::uint64_t interval_set::overlap(std::uint64_t begin, std::uint64_t end) const {
    if (begin >= end) return 0;
    auto it = map_.upper_bound(begin);
    if (it != map_.begin()) --it;
    std::uint64_t sum = 0;
    for (; it != map_.end() && it->first < end; ++it) {
        const std::uint64_t from = std::max(begin, it->first);
        const std::uint64_t to = std::min(end, it->second);
        if (from < to) sum += to - from;
    }
    return sum;
}

std::optional<interval_set::interval> interval_set::first_gap(std::uint64_t from, std::uint64_t limit) const {
    auto it = map_.upper_bound(from);
    if (it != map_.begin()) from = std::max(from, std::prev(it)->second);
    while (from < limit) {
        const std::uint64_t next = it == map_.end() ? limit : std::min(limit, it->first);
        if (next > from) return interval{from, next};
        from = it->second;
        ++it;
    }
    return std::nullopt;
}

std::vector<interval_set::interval> interval_set::intervals() const {
    std::vector<interval> all;
    all.reserve(map_.size());
    for (const auto& [begin, end] : map_) all.push_back(interval{begin, end});
    return all;
}

void interval_set::close_smallest_gap() {
    WARIFU_ASSERT(map_.size() >= 2);
    auto best = map_.begin();
    for (auto it = map_.begin(); std::next(it) != map_.end(); ++it) {
        if (std::next(it)->first - it->second < std::next(best)->first - best->second) best = it;
    }
    const auto next = std::next(best);
    size_ += next->first - best->second;
    best->second = next->second;
    map_.erase(next);
}

}  // namespace warifu
