// Decisions about a stream: which window a claim gets, and whether one may be received. No marks move here.
#include <algorithm>

#include "fs/base/limits.h"
#include "keyd/pool/pool_state.h"

namespace warifu {

std::vector<interval_set::interval> gaps_of(const block_state& block) {
    std::vector<interval_set::interval> gaps;
    for (auto gap = block.spent.first_gap(block.data_begin(), block.end()); gap;
         gap = block.spent.first_gap(gap->end, block.end()))
        gaps.push_back(*gap);
    return gaps;
}

std::uint64_t usable_bytes(const stream_state& stream, std::uint64_t enough) {
    std::uint64_t usable = 0;
    for (auto it = stream.free_blocks.rbegin(); it != stream.free_blocks.rend() && usable < enough; ++it)
        for (const auto& gap : gaps_of(stream.blocks.at(*it)))
            if (gap.size() >= pad_window_size_min) usable += gap.size();
    return usable;
}

namespace {

/// How much of a gap to take: a rest too small for the next claim is avoided by taking half, and behind a window that
/// begins within a page the next one begins with a page, so that a disk can fill memory with it directly.
std::uint64_t share_of_gap(const interval_set::interval& gap, std::uint64_t size_min, std::uint64_t limit) {
    if (gap.size() <= limit) return gap.size();
    const std::uint64_t half = gap.size() / 2 / 4096 * 4096;
    if (gap.size() - limit < size_min && half >= size_min && half <= limit) return half;
    const std::uint64_t rest_of_page = round_up(gap.begin, 4096) - gap.begin;
    if (rest_of_page == 0 || rest_of_page > limit) return limit;
    const std::uint64_t size = rest_of_page + (limit - rest_of_page) / 4096 * 4096;
    return size >= size_min ? size : limit;
}

}  // namespace

result<pad_range> choose_window(const stream_state& stream, std::uint64_t size_min, std::uint64_t size_want,
                                std::uint64_t reserve) {
    std::uint64_t limit = size_want;
    if (reserve != 0) {
        const std::uint64_t usable = usable_bytes(stream, reserve + size_want);
        if (usable < reserve + size_min) return fail(errc::no_key, "only what is reserved is left");
        limit = std::min(limit, usable - reserve);
    }
    for (const auto offset : stream.free_blocks)
        for (const auto& gap : gaps_of(stream.blocks.at(offset)))
            if (gap.size() >= size_min) return pad_range{gap.begin, share_of_gap(gap, size_min, limit)};
    return fail(errc::no_key, "the stream is used up");
}

result<void> check_receivable(const stream_state& stream, const pad_range& range) {
    const auto* block = stream.data_block(range);
    if (block == nullptr) return fail(errc::conflict, "the window is not here");
    if (block->spent.intersects(range.offset, range.end()))
        return fail(errc::conflict, "part of the window is spent here");
    return {};
}

result<std::uint64_t> next_free_offset(const stream_state& stream, std::uint64_t from) {
    for (const auto offset : stream.free_blocks) {
        const auto& block = stream.blocks.at(offset);
        if (block.end() <= from) continue;
        const auto gap = block.spent.first_gap(std::max(from, block.data_begin()), block.end());
        if (gap) return gap->begin;
    }
    return fail(errc::no_key, "nothing unspent is here at or after that offset");
}

}  // namespace warifu
