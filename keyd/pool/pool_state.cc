#include "keyd/pool/pool_state.h"

#include <algorithm>
#include <limits>

#include "fs/base/limits.h"
#include "keyd/pool/pad_file.h"

namespace warifu {
namespace {

constexpr std::size_t recent_id_count_max = 4096;
constexpr std::size_t ids_per_record = 2048;

std::unexpected<error> contradiction(std::string_view text) {
    return fail(errc::bad_format, "the ledger contradicts itself: " + std::string(text));
}

}  // namespace

bool block_id_set::insert(const block_id& id) {
    if (contains(id)) return false;
    recent_.insert(id);
    if (recent_.size() >= recent_id_count_max) {
        // Merged from the back, in place.
        auto from = static_cast<std::ptrdiff_t>(sorted_.size()) - 1;
        sorted_.resize(sorted_.size() + recent_.size());
        auto to = static_cast<std::ptrdiff_t>(sorted_.size()) - 1;
        for (auto it = recent_.rbegin(); it != recent_.rend();) {
            const bool old_is_greater = from >= 0 && *it < sorted_[static_cast<std::size_t>(from)];
            sorted_[static_cast<std::size_t>(to--)] =
                old_is_greater ? sorted_[static_cast<std::size_t>(from--)] : *it++;
        }
        recent_.clear();
    }
    return true;
}

bool block_id_set::contains(const block_id& id) const {
    return recent_.contains(id) || std::ranges::binary_search(sorted_, id);
}

std::vector<block_id> block_id_set::all() const {
    std::vector<block_id> ids = sorted_;
    ids.insert(ids.end(), recent_.begin(), recent_.end());
    return ids;
}

std::uint64_t block_state::hello_slots_free() const {
    const std::uint64_t slots = header.hello_size / hello_slot_size;
    if (hello_spent.empty()) return slots;
    std::uint64_t free = 0;
    for (std::uint64_t i = 0; i < slots; ++i) free += hello_slot_is_free(i) ? 1 : 0;
    return free;
}

bool block_state::hello_slot_is_free(std::uint64_t index) const {
    const std::uint64_t begin = header.range.offset + index * hello_slot_size;
    return !hello_spent.intersects(begin, begin + hello_slot_size);
}

const block_state* stream_state::data_block(const pad_range& range) const {
    auto it = blocks.upper_bound(range.offset);
    if (it == blocks.begin() || range.end() <= range.offset) return nullptr;
    const auto& block = std::prev(it)->second;
    return range.offset >= block.data_begin() && range.end() <= block.end() ? &block : nullptr;
}

std::size_t pool_state::find(const stream_name& name) const {
    std::size_t i = 0;
    while (i < streams_.size() && streams_[i].name != name) ++i;
    return i;
}

result<void> pool_state::apply(const ledger_record& record) {
    return std::visit([this](const auto& r) { return on(r); }, record);
}

template <typename Record>
result<stream_state*> pool_state::stream_of(const Record& record) {
    if (record.stream >= streams_.size()) return contradiction("a stream that was never added");
    return &streams_[record.stream];
}

/// The block that holds all of `range`, hello region included.
result<block_state*> pool_state::block_of(stream_state& stream, const pad_range& range) {
    auto it = stream.blocks.upper_bound(range.offset);
    if (it == stream.blocks.begin() || range.end() > std::prev(it)->second.end())
        return contradiction("bytes that are not here");
    return &std::prev(it)->second;
}

void pool_state::mark_spent(stream_state& stream, block_state& block, std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t before = block.free_bytes();
    block.spent.add(std::max(begin, block.data_begin()), std::min(end, block.end()));
    stream.free_bytes -= before - block.free_bytes();
    if (block.free_bytes() == 0) stream.free_blocks.erase(block.header.range.offset);
}

/// The oldest hand-outs of the longest history make room.
void pool_state::remember(stream_state& stream, handout closed) {
    stream.history.push_back(std::move(closed));
    if (++history_count_ <= pad_handout_history_max) return;
    auto longest = std::ranges::max_element(streams_, {}, [](const auto& s) { return s.history.size(); });
    longest->history.pop_front();
    ++longest->totals.history_dropped;
    --history_count_;
}

result<void> pool_state::on(const stream_added& r) {
    if (r.stream != streams_.size() || r.stream >= pad_stream_count_max) return contradiction("a stream's number");
    if (find(r.name) != streams_.size()) return contradiction("a stream was added twice");
    streams_.emplace_back();
    streams_.back().name = r.name;
    streams_.back().totals.stream = r.stream;
    return {};
}

result<void> pool_state::on(const block_imported& r) {
    TRY(stream_state* const stream, stream_of(r));
    block_header header = r.block;
    header.stream = stream->name;
    TRY_VOID(check_block_header(header));
    const auto& range = header.range;
    if (stream->is_random() != (header.kind == block_kind::random)) return contradiction("a block's kind");
    if (stream->ever.intersects(range.offset, range.end())) return contradiction("a range was imported twice");
    if (block_count_ >= pad_block_count_max || ids_.size() >= pad_block_id_count_max)
        return contradiction("more blocks than the limit");
    if (!ids_.insert(header.id)) return contradiction("a block was imported twice");
    auto& block = stream->blocks[range.offset];
    block.header = header;
    block.imported_ns = r.time_ns;
    stream->ever.add(range.offset, range.end());
    stream->free_blocks.insert(range.offset);
    stream->free_bytes += block.free_bytes();
    stream->hello_slots_free += block.hello_slots_free();
    stream->totals.imported += block.free_bytes();
    stream->totals.weakest = std::min(stream->totals.weakest, header.strength);
    ++block_count_;
    if (range.offset < stream->floor) {
        const std::uint64_t before = stream->free_bytes;
        mark_spent(*stream, block, range.offset, stream->floor);
        stream->totals.burnt += before - stream->free_bytes;
    }
    return {};
}

result<void> pool_state::on(const window_spent& r) {
    TRY(stream_state* const stream, stream_of(r));
    TRY(block_state* const block, block_of(*stream, r.range));
    if (r.range.offset < block->data_begin()) return contradiction("a window lies in a hello region");
    if (block->spent.intersects(r.range.offset, r.range.end())) return contradiction("spent bytes were handed out");
    mark_spent(*stream, *block, r.range.offset, r.range.end());
    stream->open.insert_or_assign(r.range.offset, r);
    return {};
}

result<void> pool_state::on(const window_closed& r) {
    TRY(stream_state* const stream, stream_of(r));
    const auto window = stream->open.find(r.range.offset);
    if (window == stream->open.end() || window->second.range != r.range)
        return contradiction("a window that is not out");
    if (r.used_to < r.range.offset || r.used_to > r.range.end()) return contradiction("a window's mark");
    TRY(block_state* const block, block_of(*stream, r.range));
    const std::uint64_t from = std::max(r.used_to, stream->floor);
    const std::uint64_t before = block->free_bytes();
    if (!r.burnt && from < r.range.end() && block->spent.subtract(from, r.range.end())) {
        stream->free_bytes += block->free_bytes() - before;
        stream->free_blocks.insert(block->header.range.offset);
    }
    (r.burnt ? stream->totals.burnt : stream->totals.used) += r.used_to - r.range.offset;
    remember(*stream, handout{window->second, r.used_to, r.burnt});
    stream->open.erase(r.range.offset);
    return {};
}

result<void> pool_state::on(const range_burnt& r) {
    TRY(stream_state* const stream, stream_of(r));
    TRY(block_state* const block, block_of(*stream, r.range));
    const std::uint64_t before = stream->free_bytes;
    mark_spent(*stream, *block, r.range.offset, r.range.end());
    stream->totals.burnt += before - stream->free_bytes;
    return {};
}

result<void> pool_state::on(const floor_raised& r) {
    TRY(stream_state* const stream, stream_of(r));
    const std::uint64_t before = stream->free_bytes;
    stream->floor = std::max(stream->floor, r.offset);
    for (auto& [offset, block] : stream->blocks) {
        if (offset >= r.offset) break;
        if (block.free_bytes() != 0) mark_spent(*stream, block, offset, r.offset);
    }
    stream->totals.burnt += before - stream->free_bytes;
    return {};
}

result<void> pool_state::on(const hello_spent& r) {
    TRY(stream_state* const stream, stream_of(r));
    TRY(block_state* const block, block_of(*stream, r.range));
    if (r.range.end() > block->data_begin() || (r.range.offset - block->header.range.offset) % hello_slot_size != 0)
        return contradiction("not the place of a hello slot");
    const bool counts_all = r.range.size != hello_slot_size || block->hello_spent.count() + 1 >= interval_count_max;
    const std::uint64_t index = (r.range.offset - block->header.range.offset) / hello_slot_size;
    const std::uint64_t before = counts_all ? block->hello_slots_free() : (block->hello_slot_is_free(index) ? 1 : 0);
    block->hello_spent.add(r.range.offset, r.range.end());
    stream->hello_slots_free -= before - (counts_all ? block->hello_slots_free() : 0);
    return {};
}

result<void> pool_state::on(const range_erased& r) {
    TRY(stream_state* const stream, stream_of(r));
    TRY(block_state* const block, block_of(*stream, r.range));
    block->erased.add(r.range.offset, r.range.end());
    return {};
}

result<void> pool_state::on(const block_gone& r) {
    TRY(stream_state* const stream, stream_of(r));
    const auto it = stream->blocks.find(r.offset);
    if (it == stream->blocks.end()) return contradiction("a block that is not here");
    stream->free_bytes -= it->second.free_bytes();
    stream->totals.burnt += it->second.free_bytes();
    stream->hello_slots_free -= it->second.hello_slots_free();
    stream->free_blocks.erase(r.offset);
    std::erase_if(stream->open,
                  [&](const auto& window) { return window.first >= r.offset && window.first < it->second.end(); });
    stream->blocks.erase(it);
    --block_count_;
    return {};
}

result<void> pool_state::on(const ids_known& r) {
    for (const auto& id : r.ids)
        if (ids_.size() >= pad_block_id_count_max || !ids_.insert(id))
            return contradiction("a block id is known twice");
    return {};
}

result<void> pool_state::on(const range_known& r) {
    TRY(stream_state* const stream, stream_of(r));
    stream->ever.add(r.range.offset, r.range.end());
    return {};
}

result<void> pool_state::on(const window_history& r) {
    TRY(stream_state* const stream, stream_of(r.window));
    if (r.used_to < r.window.range.offset || r.used_to > r.window.range.end()) return contradiction("a window's mark");
    remember(*stream, handout{r.window, r.used_to, r.burnt});
    return {};
}

result<void> pool_state::on(const stream_totals& r) {
    TRY(stream_state* const stream, stream_of(r));
    stream->totals = r;
    return {};
}

std::vector<ledger_record> pool_state::snapshot() const {
    std::vector<ledger_record> out;
    std::set<block_id> live;
    for (const auto& stream : streams_)
        for (const auto& [offset, block] : stream.blocks) live.insert(block.header.id);
    ids_known part;
    for (const auto& id : ids_.all()) {
        if (live.contains(id)) continue;
        part.ids.push_back(id);
        if (part.ids.size() == ids_per_record) out.emplace_back(std::exchange(part, ids_known{}));
    }
    if (!part.ids.empty()) out.emplace_back(std::move(part));
    for (std::size_t i = 0; i < streams_.size(); ++i) snapshot_stream(static_cast<std::uint16_t>(i), out);
    return out;
}

namespace {

/// A block, its marks and the windows of it that are out.
void snapshot_block(std::uint16_t index, const stream_state& stream, const block_state& block,
                    std::vector<ledger_record>& out) {
    out.emplace_back(block_imported{index, block.header, block.imported_ns});
    interval_set burnt(std::numeric_limits<std::size_t>::max());
    for (const auto& piece : block.spent.intervals()) burnt.add(piece.begin, piece.end);
    const auto first = stream.open.lower_bound(block.header.range.offset);
    const auto last = stream.open.lower_bound(block.end());
    for (auto it = first; it != last; ++it) burnt.subtract(it->second.range.offset, it->second.range.end());
    auto window = first;
    for (const auto& piece : burnt.intervals()) {
        for (; window != last && window->first < piece.begin; ++window) out.emplace_back(window->second);
        out.emplace_back(range_burnt{index, {piece.begin, piece.size()}});
    }
    for (; window != last; ++window) out.emplace_back(window->second);
    for (const auto& piece : block.hello_spent.intervals())
        out.emplace_back(hello_spent{index, {piece.begin, piece.size()}});
    for (const auto& piece : block.erased.intervals())
        out.emplace_back(range_erased{index, {piece.begin, piece.size()}});
}

}  // namespace

void pool_state::snapshot_stream(std::uint16_t index, std::vector<ledger_record>& out) const {
    const auto& stream = streams_[index];
    out.emplace_back(stream_added{index, stream.name});
    for (const auto& closed : stream.history)
        out.emplace_back(window_history{closed.window, closed.used_to, closed.burnt});
    interval_set gone(std::numeric_limits<std::size_t>::max());
    for (const auto& piece : stream.ever.intervals()) gone.add(piece.begin, piece.end);
    for (const auto& [offset, block] : stream.blocks) gone.subtract(offset, block.end());
    // Everything in order of offset: a bounded set that is filled so never holds more intervals than it ends with, and
    // closes no gap that something later must fit into.
    auto block = stream.blocks.begin();
    const auto blocks_below = [&](std::uint64_t offset) {
        for (; block != stream.blocks.end() && block->first < offset; ++block)
            snapshot_block(index, stream, block->second, out);
    };
    for (const auto& piece : gone.intervals()) {
        blocks_below(piece.begin);
        out.emplace_back(range_known{index, {piece.begin, piece.size()}});
    }
    blocks_below(std::numeric_limits<std::uint64_t>::max());
    if (stream.floor != 0) out.emplace_back(floor_raised{index, stream.floor});
    out.emplace_back(stream.totals);
}

}  // namespace warifu
