#include "backends/block/space.h"

#include <algorithm>
#include <bit>

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr int scan_max = 32;  // runs of the exact size class that are looked at

unsigned class_of(std::uint64_t count) {
    return static_cast<unsigned>(std::bit_width(count)) - 1;
}

}  // namespace

void free_runs::insert(std::uint64_t first, std::uint64_t count) {
    runs_.emplace(first, count);
    classes_[class_of(count)].insert(first);
}

void free_runs::erase(run_map::iterator run) {
    classes_[class_of(run->second)].erase(run->first);
    runs_.erase(run);
}

void free_runs::add(extent run) {
    if (run.count == 0) return;
    std::uint64_t first = run.first, count = run.count;
    count_ += count;
    auto next = runs_.lower_bound(first);
    WARIFU_ASSERT(next == runs_.end() || next->first >= first + count);
    if (next != runs_.end() && next->first == first + count) {
        count += next->second;
        const auto joined = next++;
        erase(joined);
    }
    if (next != runs_.begin()) {
        const auto before = std::prev(next);
        WARIFU_ASSERT(before->first + before->second <= first);
        if (before->first + before->second == first) {
            first = before->first;
            count += before->second;
            erase(before);
        }
    }
    insert(first, count);
}

extent free_runs::cut(run_map::iterator run, std::uint64_t count) {
    const std::uint64_t first = run->first, whole = run->second;
    WARIFU_ASSERT(count <= whole);
    erase(run);
    if (count < whole) insert(first + count, whole - count);
    count_ -= count;
    return extent{first, static_cast<std::uint32_t>(count)};
}

std::optional<std::uint64_t> free_runs::find(std::uint32_t count) const {
    WARIFU_ASSERT(count > 0);
    std::optional<std::uint64_t> best;
    const unsigned exact = class_of(count);
    int scanned = 0;
    for (const std::uint64_t first : classes_[exact]) {
        if (++scanned > scan_max) break;
        if (runs_.at(first) >= count) {
            best = first;
            break;
        }
    }
    for (unsigned c = exact + 1; c < classes_.size(); ++c)
        if (!classes_[c].empty() && (!best || *classes_[c].begin() < *best)) best = *classes_[c].begin();
    return best;
}

std::optional<extent> free_runs::take(std::uint32_t count) {
    const auto first = find(count);
    if (!first) return std::nullopt;
    return cut(runs_.find(*first), count);
}

std::optional<extent> free_runs::take_largest(std::uint32_t count_max) {
    for (std::size_t c = classes_.size(); c-- > 0;) {
        if (classes_[c].empty()) continue;
        const auto run = runs_.find(*classes_[c].begin());
        return cut(run, std::min<std::uint64_t>(run->second, count_max));
    }
    return std::nullopt;
}

std::optional<extent> free_runs::take_lowest(std::uint32_t count_max) {
    if (runs_.empty()) return std::nullopt;
    return cut(runs_.begin(), std::min<std::uint64_t>(runs_.begin()->second, count_max));
}

result<space> space::make(std::uint64_t sector_count, std::uint64_t zeroed_end, extent_list used, bool free_is_clean) {
    space out;
    out.sector_count_ = sector_count;
    std::ranges::sort(used);
    std::uint64_t at = data_first;
    for (const extent& e : used) {
        if (e.first < at || e.first > sector_count || e.count > sector_count - e.first)
            return fail(errc::bad_format, "the index names sectors twice or outside of the device");
        at = e.end();
    }
    out.zeroed_end_ = std::max(zeroed_end, at);
    free_runs& free = free_is_clean ? out.clean_ : out.suspect_;
    const auto add_free = [&free](std::uint64_t first, std::uint64_t end) {
        while (first < end) {
            const std::uint64_t count = std::min<std::uint64_t>(end - first, UINT32_MAX);
            free.add(extent{first, static_cast<std::uint32_t>(count)});
            first += count;
        }
    };
    at = data_first;
    for (const extent& e : used) {
        add_free(at, e.first);
        at = e.end();
    }
    add_free(at, out.zeroed_end_);
    return out;
}

std::optional<extent_list> space::take_clean(std::uint64_t count) {
    if (count > clean_.count()) return std::nullopt;
    if (const auto whole = clean_.take(static_cast<std::uint32_t>(count))) return extent_list{*whole};
    extent_list out;
    while (count > 0 && out.size() < extent_count_max) {
        const auto run = clean_.take_largest(static_cast<std::uint32_t>(count));
        if (!run) break;
        out.push_back(*run);
        count -= run->count;
    }
    if (count == 0) return out;
    give_back(out);
    return std::nullopt;
}

void space::give_back(const extent_list& unwritten) {
    for (const extent& e : unwritten) clean_.add(e);
}

void space::add_dirty(const extent_list& freed) {
    for (const extent& e : freed) dirty_.add(e);
}

std::optional<extent> space::take_raw(std::uint32_t count_max) {
    const std::uint64_t count = std::min<std::uint64_t>(raw_count(), count_max);
    if (count == 0) return std::nullopt;
    const extent out{zeroed_end_, static_cast<std::uint32_t>(count)};
    zeroed_end_ += count;
    opening_ += count;
    return out;
}

void space::add_clean(extent erased) {
    WARIFU_ASSERT(erasing_ >= erased.count);
    erasing_ -= erased.count;
    clean_.add(erased);
}

void space::add_opened(extent zeroed) {
    WARIFU_ASSERT(opening_ >= zeroed.count);
    opening_ -= zeroed.count;
    clean_.add(zeroed);
}

std::uint64_t space::free_count() const {
    return clean_.count() + unclean_count() + opening_ + raw_count();
}

}  // namespace warifu
