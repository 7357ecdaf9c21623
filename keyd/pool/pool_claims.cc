// Handing out: windows, random bytes and hello slots.
#include <algorithm>
#include <fmt/format.h>

#include "fs/base/clock.h"
#include "fs/base/limits.h"
#include "fs/base/random.h"
#include "keyd/pool/pool.h"

namespace warifu {
result<pad_range> pool::claim_send(const stream_name& name, session_id session, std::uint64_t size_min,
                                   std::uint64_t size_want, key_use use, pad_promises promised) {
    if (size_min == 0 || size_min > size_want) return fail(errc::bad_argument, "the window's sizes make no sense");
    if (size_want > pad_window_size_max) return fail(errc::too_large, "the window is over the limit");
    TRY(const auto index, find(name, role::send));
    const auto& stream = state_.streams()[index];
    const std::uint64_t for_bulk = use == key_use::bulk ? options_.bulk_reserve : 0;
    const std::uint64_t reserve = use == key_use::control ? 0 : options_.control_reserve + promised.others;
    auto range = choose_window(stream, size_min, size_want, reserve + for_bulk);
    if (!range && for_bulk != 0 && promised.own >= size_min)
        range = choose_window(stream, size_min, std::min(size_want, promised.own), reserve);
    if (!range) return range;
    TRY_VOID(record(window_spent{index, *range, session, use, realtime_ns()}));
    bound_stale_blocks(index, range->offset);
    return range;
}

std::uint64_t pool::usable(const stream_name& name, std::uint64_t enough) const {
    const auto index = state_.find(name);
    return index == state_.streams().size() ? 0 : usable_bytes(state_.streams()[index], enough);
}

result<void> pool::claim_receive(const stream_name& name, session_id session, pad_range range) {
    if (range.size == 0 || range.end() < range.offset) return fail(errc::bad_argument, "the window is empty");
    if (range.size > pad_window_size_max) return fail(errc::too_large, "the window is over the limit");
    const auto index = find(name, role::receive);
    if (!index && index.error().code == errc::no_key) return fail(errc::conflict, "no block of this stream is here");
    if (!index) return fail(index.error());
    const auto& stream = state_.streams()[*index];
    auto receivable = check_receivable(stream, range);
    if (!receivable) {
        // What one end calls spent both do: burning the rest also makes next_free(range.offset) lead past this window.
        if (stream.data_block(range) == nullptr) return receivable;
        TRY_VOID(record_durably(range_burnt{*index, range}));
        touch(*index, range.offset);
        return receivable;
    }
    TRY_VOID(record(window_spent{*index, range, session, key_use::bulk, realtime_ns()}));
    bound_stale_blocks(*index, range.offset);
    return {};
}

result<std::vector<pad_range>> pool::claim_random(std::uint64_t size, session_id session) {
    if (size == 0) return fail(errc::bad_argument, "no bytes are asked for");
    if (size > pad_window_size_max) return fail(errc::too_large, "more random bytes than the limit");
    const auto found = state_.find(stream_name{options_.site, options_.site});
    if (found == state_.streams().size() || state_.streams()[found].free_bytes < size)
        return fail(errc::no_key, "the random pool is used up");
    const auto index = static_cast<std::uint16_t>(found);
    std::vector<pad_range> ranges;
    for (const auto offset : state_.streams()[index].free_blocks) {
        for (const auto& gap : gaps_of(state_.streams()[index].blocks.at(offset))) {
            if (size == 0) break;
            ranges.push_back(pad_range{gap.begin, std::min(size, gap.size())});
            size -= ranges.back().size;
        }
        if (size == 0) break;
    }
    for (const auto& range : ranges)
        TRY_VOID(record(window_spent{index, range, session, key_use::bulk, realtime_ns()}));
    return ranges;
}

result<void> pool::flush() {
    TRY_VOID(log_.sync());
    compact_when_due();
    return {};
}

/// Rests of old blocks that nobody came back for are burnt, so that a stream's files stay few. What a full disk keeps
/// from being recorded is burnt with a later claim: this one has its mark already.
void pool::bound_stale_blocks(std::uint16_t index, std::uint64_t current) {
    const auto& stream = state_.streams()[index];
    std::size_t stale = 0;
    for (auto it = stream.free_blocks.begin(); it != stream.free_blocks.end() && *it < current; ++it) ++stale;
    for (; stale > pad_stale_block_count_max; --stale) {
        const std::uint64_t oldest = *stream.free_blocks.begin();
        for (const auto& gap : gaps_of(stream.blocks.at(oldest)))
            if (!record(range_burnt{index, {gap.begin, gap.size()}})) return;
        touch(index, oldest);
    }
}

result<void> pool::release(const stream_name& name, pad_range window, std::uint64_t used_to) {
    const auto index = state_.find(name);
    if (index == state_.streams().size()) return fail(errc::not_found, "no such window is out");
    const auto& stream = state_.streams()[index];
    const auto held = stream.open.find(window.offset);
    if (held == stream.open.end() || held->second.range != window)
        return fail(errc::not_found, "no such window is out");
    if (used_to < window.offset || used_to > window.end())
        return fail(errc::bad_argument, "the mark lies outside of the window");
    TRY_VOID(record(window_closed{static_cast<std::uint16_t>(index), window, used_to, false}));
    touch(static_cast<std::uint16_t>(index), window.offset);
    return {};
}

result<void> pool::burn(const stream_name& name, pad_range window) {
    const auto index = state_.find(name);
    if (index == state_.streams().size()) return fail(errc::not_found, "no such window is out");
    const auto& stream = state_.streams()[index];
    const auto held = stream.open.find(window.offset);
    if (held == stream.open.end() || held->second.range != window)
        return fail(errc::not_found, "no such window is out");
    TRY_VOID(record(window_closed{static_cast<std::uint16_t>(index), window, window.end(), true}));
    touch(static_cast<std::uint16_t>(index), window.offset);
    return {};
}

result<std::uint64_t> pool::next_free(const stream_name& name, std::uint64_t from) const {
    TRY(const auto index, find(name, role::either));
    return next_free_offset(state_.streams()[index], from);
}

result<void> pool::skip_to(const stream_name& name, std::uint64_t offset) {
    auto index = find(name, role::either);
    if (!index && index.error().code == errc::no_key) index = find_or_add(name);
    if (!index) return fail(index.error());
    const auto& stream = state_.streams()[*index];
    if (offset <= stream.floor) return {};
    TRY_VOID(record_durably(floor_raised{*index, offset}));
    for (const auto& [start, block] : stream.blocks)
        if (start < offset) touch(*index, start);
    return {};
}

result<std::uint64_t> pool::renounce(std::uint64_t sequence) {
    std::uint64_t lost = 0;
    for (std::uint16_t i = 0; i < state_.streams().size(); ++i) {
        const auto& stream = state_.streams()[i];
        const auto ever = stream.ever.intervals();
        if (stream.name.sender != options_.site || ever.empty()) continue;
        lost += stream.free_bytes;
        TRY_VOID(record(floor_raised{i, ever.back().end}));
        for (const auto& [start, block] : stream.blocks) {
            // The floor is about data alone.
            if (block.hello_slots_free() != 0) TRY_VOID(record(hello_spent{i, {start, block.header.hello_size}}));
            touch(i, start);
        }
    }
    TRY_VOID(log_.sync());
    TRY_VOID(go_beyond(sequence));
    return lost;
}

std::vector<pad_range> pool::gone(const stream_name& name, std::uint64_t whole_below, std::size_t most) const {
    interval_set all(~std::size_t{0});
    all.add(0, whole_below);
    if (const auto index = state_.find(name); index != state_.streams().size()) {
        const auto& stream = state_.streams()[index];
        for (const auto& piece : stream.ever.intervals()) all.add(piece.begin, piece.end);
        for (const auto& [start, block] : stream.blocks) {
            for (const auto& gap : gaps_of(block)) all.subtract(gap.begin, gap.end);
            if (block.hello_slots_free() != 0) all.subtract(start, block.data_begin());
        }
        for (const auto& [start, window] : stream.open) all.subtract(start, window.range.end());
    }
    std::vector<pad_range> out;
    for (const auto& piece : all.intervals()) {
        if (out.size() == most) break;
        out.push_back(pad_range{piece.begin, piece.size()});
    }
    return out;
}

result<std::uint64_t> pool::give_up(const stream_name& name, const std::vector<pad_range>& ranges) {
    const auto found = state_.find(name);
    if (found == state_.streams().size()) return 0;
    const auto index = static_cast<std::uint16_t>(found);
    const auto& stream = state_.streams()[index];
    interval_set all(~std::size_t{0});
    for (const auto& range : ranges) all.add(range.offset, range.end());
    const std::uint64_t before = stream.free_bytes;
    for (const auto& [start, block] : stream.blocks) {
        if (!all.intersects(start, block.end())) continue;
        bool changed = false;
        for (const auto& gap : gaps_of(block)) {
            for (std::uint64_t at = gap.begin; at < gap.end;) {
                const auto kept = all.first_gap(at, gap.end);
                const std::uint64_t until = kept ? kept->begin : gap.end;
                if (until > at) {
                    TRY_VOID(record(range_burnt{index, {at, until - at}}));
                    changed = true;
                }
                at = kept ? kept->end : gap.end;
            }
        }
        if (block.hello_slots_free() != 0 && all.contains(start, block.data_begin())) {
            TRY_VOID(record(hello_spent{index, {start, block.header.hello_size}}));
            changed = true;
        }
        if (changed) touch(index, start);
    }
    return before - stream.free_bytes;
}

result<void> pool::go_beyond(std::uint64_t sequence) {
    TRY_VOID(log_.replace_beyond(sequence, state_.snapshot()));
    compacted_size_ = log_.size();
    return {};
}

result<hello_slot> pool::read_hello_slot(const stream_name& name, std::uint64_t offset) const {
    TRY(const auto place, place_of(name, pad_range{offset, hello_slot_size}));
    hello_slot slot;
    slot.offset = offset;
    TRY_VOID(read_pad(place, slot.key));
    return slot;
}

result<hello_slot> pool::take_hello_slot(const stream_name& name) {
    TRY(const auto index, find(name, role::send));
    const auto& stream = state_.streams()[index];
    if (stream.hello_slots_free == 0) return fail(errc::no_key, "no hello slot is left");
    // Drawn at random: after this end was restored from a copy it does not walk through the same slots again, and slots
    // that the peer lacks do not stand in the way of those it has.
    std::uint64_t pick = kernel_random_u64() % stream.hello_slots_free;
    for (const auto& [start, block] : stream.blocks) {
        const std::uint64_t here = block.hello_slots_free();
        if (pick >= here) {
            pick -= here;
            continue;
        }
        std::uint64_t slot = 0;
        while (!block.hello_slot_is_free(slot) || pick-- > 0) ++slot;
        const std::uint64_t offset = start + slot * hello_slot_size;
        TRY_VOID(record_durably(hello_spent{index, {offset, hello_slot_size}}));
        auto out = read_hello_slot(name, offset);
        touch(index, offset);
        return out;
    }
    return fail(errc::no_key, "no hello slot is left");
}

result<void> pool::check_hello_place(const stream_state& stream, std::uint64_t offset) const {
    auto it = stream.blocks.upper_bound(offset);
    if (it == stream.blocks.begin() || offset >= std::prev(it)->second.end())
        return fail(errc::not_found, "the block of this hello slot is not here");
    const auto& block = std::prev(it)->second;
    const std::uint64_t place = offset - block.header.range.offset;
    if (place % hello_slot_size != 0 || place + hello_slot_size > block.header.hello_size)
        return fail(errc::bad_argument, "not the place of a hello slot");
    if (!block.hello_slot_is_free(place / hello_slot_size)) return fail(errc::conflict, "the hello slot is spent");
    return {};
}

result<hello_slot> pool::peek_hello_slot(const stream_name& name, std::uint64_t offset) {
    const auto index = find(name, role::receive);
    if (!index)
        return fail(index.error().code == errc::no_key ? errc::not_found : index.error().code, index.error().text);
    TRY_VOID(check_hello_place(state_.streams()[*index], offset));
    if (!looks_.take({*index, offset})) return fail(errc::conflict, "too many greetings named this hello slot");
    return read_hello_slot(name, offset);
}

result<void> pool::spend_hello_slot(const stream_name& name, std::uint64_t offset) {
    const auto index = find(name, role::receive);
    if (!index)
        return fail(index.error().code == errc::no_key ? errc::not_found : index.error().code, index.error().text);
    TRY_VOID(check_hello_place(state_.streams()[*index], offset));
    TRY_VOID(record_durably(hello_spent{*index, {offset, hello_slot_size}}));
    looks_.forget({*index, offset});
    touch(*index, offset);
    return {};
}

result<byte_place> pool::place_of(const stream_name& name, pad_range range) const {
    const auto index = state_.find(name);
    if (index == state_.streams().size()) return fail(errc::not_found, "no such stream");
    const auto& blocks = state_.streams()[index].blocks;
    auto it = blocks.upper_bound(range.offset);
    if (it == blocks.begin() || range.end() > std::prev(it)->second.end())
        return fail(errc::not_found, "the block of these bytes is not here");
    const auto& header = std::prev(it)->second.header;
    return byte_place{block_path(header.id), pad_header_size + (range.offset - header.range.offset)};
}

std::uint64_t pool::available(const stream_name& name) const {
    const auto index = state_.find(name);
    return index == state_.streams().size() ? 0 : state_.streams()[index].free_bytes;
}

claim pool::strength() const {
    std::optional<claim> weakest;
    for (const auto& stream : state_.streams())
        if (stream.totals.imported != 0)
            weakest = std::min(weakest.value_or(stream.totals.weakest), stream.totals.weakest);
    return weakest.value_or(claim::computational);
}

std::vector<stream_status> pool::status() const {
    std::vector<stream_status> all;
    for (const auto& stream : state_.streams()) {
        stream_status one;
        one.name = stream.name;
        one.available = stream.free_bytes;
        for (const auto& [offset, window] : stream.open) one.held += window.range.size;
        one.totals = stream.totals;
        one.blocks = stream.blocks.size();
        one.hello_slots = stream.hello_slots_free;
        if (!stream.free_blocks.empty())
            one.oldest_block_ns = stream.blocks.at(*stream.free_blocks.begin()).imported_ns;
        const auto ever = stream.ever.intervals();
        if (!ever.empty()) one.end = ever.back().end;
        all.push_back(std::move(one));
    }
    return all;
}

}  // namespace warifu
