#include "fs/files/dirty_ranges.h"

#include <algorithm>
#include <bit>

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

/// Above this a growing run gets a whole chunk's buffer: copying it more often costs more than the memory.
constexpr std::size_t grow_at_once_size = 256U << 10U;
constexpr std::size_t merge_size_max = 256U << 10U;

}  // namespace

std::uint64_t dirty_ranges::end() const {
    return runs_.empty() ? 0 : runs_.rbegin()->second.end();
}

/// The first run that ends after `offset`.
dirty_ranges::run_map::const_iterator dirty_ranges::first_touching(std::uint64_t offset) const {
    auto it = runs_.upper_bound(offset);
    if (it != runs_.begin() && std::prev(it)->second.end() > offset) --it;
    return it;
}

void dirty_ranges::grow(dirty_run& run, std::size_t size) {
    if (size <= run.bytes.size()) return;
    const std::size_t wanted = size >= grow_at_once_size ? run_size_max_ : std::bit_ceil(size);
    buffer bigger(std::min(wanted, run_size_max_));
    std::memcpy(bigger.data(), run.bytes.data(), run.size);
    memory_ += bigger.size() - run.bytes.size();
    run.bytes = std::move(bigger);
}

void dirty_ranges::insert(std::uint64_t offset, bytes_view bytes, std::size_t capacity) {
    dirty_run run;
    run.offset = offset;
    run.size = static_cast<std::uint32_t>(bytes.size());
    run.bytes = buffer(std::min(std::max(capacity, std::size_t{4096}), run_size_max_));
    std::memcpy(run.bytes.data(), bytes.data(), bytes.size());
    memory_ += run.bytes.size();
    bytes_ += run.size;
    runs_.emplace(offset, std::move(run));
}

bool dirty_ranges::write(std::uint64_t offset, bytes_view bytes) {
    bool filled = false;
    while (!bytes.empty()) {
        const auto next = runs_.upper_bound(offset);
        const std::uint64_t next_offset = next == runs_.end() ? ~0ULL : next->first;
        dirty_run* before = next == runs_.begin() ? nullptr : &std::prev(next)->second;
        std::size_t step = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), next_offset - offset));
        if (before != nullptr && before->end() >= offset && before->offset + run_size_max_ > offset) {
            const auto at = static_cast<std::size_t>(offset - before->offset);
            step = std::min(step, run_size_max_ - at);
            grow(*before, at + step);
            std::memcpy(before->bytes.data() + at, bytes.data(), step);
            if (at + step > before->size) {
                bytes_ += at + step - before->size;
                before->size = static_cast<std::uint32_t>(at + step);
            }
            if (before->size == run_size_max_) {
                filled = true;
                sequential_end_ = before->end();
            }
        } else {
            step = std::min(step, run_size_max_);
            const bool sequential = offset == sequential_end_;
            insert(offset, bytes.first(step), sequential ? run_size_max_ : std::bit_ceil(step));
            if (step == run_size_max_) {
                filled = true;
                sequential_end_ = offset + step;
            }
        }
        offset += step;
        bytes = bytes.subspan(step);
    }
    return filled;
}

void dirty_ranges::erase(std::uint64_t offset, std::uint64_t end) {
    const auto first = first_touching(offset);
    auto it = runs_.erase(first, first);  // erases nothing: makes the iterator a mutable one
    while (it != runs_.end() && it->first < end) {
        dirty_run& run = it->second;
        if (run.end() > end) {  // the part behind moves to a buffer of its own
            const auto at = static_cast<std::size_t>(end - run.offset);
            const bytes_view rest = run.bytes.view(at, run.size - at);
            insert(end, rest, std::bit_ceil(rest.size()));
            bytes_ -= rest.size();
            run.size = static_cast<std::uint32_t>(at);
        }
        if (run.offset < offset) {
            const auto kept = static_cast<std::uint32_t>(offset - run.offset);
            bytes_ -= run.size - kept;
            run.size = kept;
            ++it;
        } else {
            bytes_ -= run.size;
            memory_ -= run.bytes.size();
            it = runs_.erase(it);
        }
    }
}

std::vector<dirty_ranges::part> dirty_ranges::find(std::uint64_t offset, std::uint64_t end) const {
    std::vector<part> parts;
    for (auto it = first_touching(offset); it != runs_.end() && it->first < end; ++it) {
        const dirty_run& run = it->second;
        const std::uint64_t from = std::max(offset, run.offset);
        const std::uint64_t to = std::min(end, run.end());
        parts.push_back(
            {from, run.bytes.view(static_cast<std::size_t>(from - run.offset), static_cast<std::size_t>(to - from))});
    }
    return parts;
}

std::optional<std::uint64_t> dirty_ranges::next_data(std::uint64_t offset) const {
    const auto it = first_touching(offset);
    if (it == runs_.end()) return std::nullopt;
    return std::max(offset, it->first);
}

std::uint64_t dirty_ranges::data_end(std::uint64_t offset) const {
    for (auto it = first_touching(offset); it != runs_.end() && it->first <= offset; ++it) offset = it->second.end();
    return offset;
}

const dirty_run* dirty_ranges::front(bool only_full) const {
    for (const auto& [offset, run] : runs_)
        if (!only_full || run.size == run_size_max_) return &run;
    return nullptr;
}

dirty_run dirty_ranges::take(std::uint64_t offset) {
    const auto it = runs_.find(offset);
    WARIFU_ASSERT(it != runs_.end());
    dirty_run run = std::move(it->second);
    runs_.erase(it);
    bytes_ -= run.size;
    memory_ -= run.bytes.size();
    return run;
}

void dirty_ranges::merge_small() {
    for (auto it = runs_.begin(); it != runs_.end();) {
        const auto next = std::next(it);
        if (next == runs_.end()) return;
        dirty_run& run = it->second;
        const dirty_run& other = next->second;
        const std::size_t size = std::size_t{run.size} + other.size;
        if (run.end() != other.offset || other.size > merge_size_max || size > run_size_max_) {
            it = next;
            continue;
        }
        grow(run, size);
        std::memcpy(run.bytes.data() + run.size, other.bytes.data(), other.size);
        run.size = static_cast<std::uint32_t>(size);
        memory_ -= other.bytes.size();
        runs_.erase(next);
    }
}

}  // namespace warifu
