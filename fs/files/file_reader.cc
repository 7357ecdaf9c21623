#include "fs/files/file_reader.h"

#include <algorithm>

#include "fs/async/fan_out.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

constexpr std::uint64_t window_min = 2U << 20U;
/// The kernel sends read-ahead of one file to several threads, so requests of a sequential reader arrive a little out
/// of order.
constexpr std::uint64_t order_slack = 4U << 20U;
constexpr std::uint32_t small_piece_size = 256U << 10U;
constexpr std::uint32_t neighbour_distance = 32;

}  // namespace

file_reader::file_reader(asio::io_context& core, volume& v, const chunk_writer& writer,
                         const file_system_options& options)
    : core_(core),
      volume_(v),
      writer_(writer),
      window_max_(std::min(options.read_ahead_size, options.read_cache_size / 2)),
      cache_(core, v, options.read_cache_size),
      zeros_(buffer::zeroed(read_block_size)) {}

file_reader::access file_reader::guess(open_file& file, std::uint64_t offset, std::uint64_t end) const {
    const std::lock_guard lock(file.mutex);
    access now;
    const bool near = offset <= file.next_offset + order_slack && offset + order_slack >= file.next_offset;
    if (offset == file.next_offset && offset != 0) {
        file.window = std::min(std::max(file.window * 2, window_min), window_max_);
    } else if (file.window == 0 || !near) {
        file.window = 0;
        file.next_offset = end;
        file.ahead_end = 0;
        return now;
    }
    file.next_offset = std::max(file.next_offset, end);
    now.sequential = true;
    file.ahead_end = std::max(file.ahead_end, end);
    if (file.ahead_end < end + file.window / 2 + 1) {
        now.ahead_from = file.ahead_end;
        now.ahead_end = end + file.window;
        file.ahead_end = now.ahead_end;
    }
    return now;
}

result<read_plan> file_reader::plan(open_file& file, std::uint64_t offset, std::uint64_t size) {
    read_plan plan;
    plan.offset = offset;
    inode_state& state = *file.state;
    struct in_memory {
        std::uint64_t offset;
        slice bytes;
    };
    std::vector<in_memory> dirty;
    std::uint64_t file_end = 0;
    {
        const std::lock_guard lock(state.mutex);
        file_end = std::max(state.attributes.size, state.dirty.end());
        if (offset >= file_end) return plan;
        size = std::min(size, file_end - offset);
        for (const auto& part : state.dirty.find(offset, offset + size))
            dirty.push_back({part.offset, slice(buffer::copy_of(part.bytes))});
    }
    plan.size = size;
    const std::uint64_t end = offset + size;
    const access how = guess(file, offset, end);
    std::uint64_t at = offset;
    for (auto& part : dirty) {
        TRY_VOID(plan_stored(plan, state.number, at, part.offset, how.sequential));
        at = part.offset + part.bytes.size();
        read_part ready;
        ready.size = static_cast<std::uint32_t>(part.bytes.size());
        ready.bytes = std::move(part.bytes);
        plan.parts.push_back(std::move(ready));
    }
    TRY_VOID(plan_stored(plan, state.number, at, end, how.sequential));
    if (how.ahead_from < how.ahead_end && how.ahead_from < file_end)
        fetch_ahead(state.number, how.ahead_from, std::min(how.ahead_end, file_end));
    return plan;
}

result<void> file_reader::plan_stored(read_plan& plan, inode_number number, std::uint64_t from, std::uint64_t to,
                                      bool sequential) {
    if (from >= to) return {};
    TRY(const auto extents, volume_.names().extents(number, from, to - from));
    for (const extent& e : extents) {
        const std::uint64_t begin = std::max(from, e.file_offset);
        const std::uint64_t end = std::min(to, e.end());
        if (begin >= end) continue;
        plan_hole(plan, begin - from);
        plan_extent(plan, e, e.piece_offset + static_cast<std::uint32_t>(begin - e.file_offset),
                    static_cast<std::uint32_t>(end - begin), sequential);
        from = end;
    }
    plan_hole(plan, to - from);
    return {};
}

void file_reader::plan_hole(read_plan& plan, std::uint64_t size) {
    while (size > 0) {
        read_part part;
        part.size = static_cast<std::uint32_t>(std::min<std::uint64_t>(size, zeros_.size()));
        part.bytes = zeros_.part(0, part.size);
        size -= part.size;
        plan.parts.push_back(std::move(part));
    }
}

void file_reader::plan_extent(read_plan& plan, const extent& where, std::uint32_t piece_offset, std::uint32_t size,
                              bool sequential) {
    const slice piece = writer_.find(where.chunk, where.piece);
    if (!piece.empty()) {
        read_part part;
        part.size = size;
        part.bytes = piece.part(piece_offset, size);
        plan.parts.push_back(std::move(part));
        return;
    }
    if (where.piece_size <= small_piece_size && where.piece_size < volume_.chunk_size()) fetch_neighbours(where);
    while (size > 0) {
        const std::uint32_t in_block = piece_offset % cache_.block_size();
        read_part part;
        part.where = where;
        part.piece_offset = piece_offset;
        part.block_offset = in_block;
        part.block = sequential ? cache_.acquire(where, piece_offset, false) : cache_.find(where, piece_offset);
        part.size = part.block || sequential ? std::min(size, cache_.block_size() - in_block) : size;
        if (!part.block && in_block + size > cache_.block_size() && cache_.find(where, piece_offset + size - 1))
            part.size = std::min(size, cache_.block_size() - in_block);  // the next block is here: fetch only up to it
        if (part.block) {
            const slice bytes = part.block->bytes();
            if (!bytes.empty()) {
                part.bytes = bytes.part(in_block, part.size);
                if (sequential && in_block + part.size == bytes.size()) cache_.demote(part.block);
            }
        }
        piece_offset += part.size;
        size -= part.size;
        plan.parts.push_back(std::move(part));
    }
}

void file_reader::fetch_ahead(inode_number number, std::uint64_t from, std::uint64_t to) {
    const auto extents = volume_.names().extents(number, from, to - from);
    if (!extents) return;  // the read that needs them will say why
    for (const extent& e : *extents) {
        if (!writer_.find(e.chunk, e.piece).empty()) continue;
        const std::uint64_t begin = std::max(from, e.file_offset);
        const std::uint64_t end = std::min(to, e.end());
        if (begin >= end) continue;
        const std::uint32_t first = e.piece_offset + static_cast<std::uint32_t>(begin - e.file_offset);
        const std::uint32_t last = first + static_cast<std::uint32_t>(end - begin);
        for (std::uint32_t at = first / cache_.block_size() * cache_.block_size(); at < last; at += cache_.block_size())
            if (!cache_.acquire(e, at, true)) return;
    }
}

/// Three small pieces of one chunk read in order: whoever reads a tree of small files will want the next ones too.
void file_reader::fetch_neighbours(const extent& where) {
    std::uint32_t from = 0;
    {
        const std::lock_guard lock(packed_mutex_);
        const bool near = where.chunk == packed_chunk_ && where.piece >= packed_last_ &&
                          where.piece <= packed_last_ + neighbour_distance;
        if (!near) {
            packed_streak_ = 0;
            packed_ahead_ = where.piece;
        } else if (where.piece != packed_last_) {
            ++packed_streak_;
        }
        packed_chunk_ = where.chunk;
        packed_last_ = where.piece;
        if (packed_streak_ < 2 || packed_ahead_ > where.piece + packed_pieces_ahead_max / 2) return;
        from = std::max<std::uint32_t>(packed_ahead_, where.piece);
        packed_ahead_ = from + packed_pieces_ahead_max;
    }
    const auto pieces =
        volume_.names().live_pieces(where.chunk, static_cast<std::uint16_t>(from), packed_pieces_ahead_max);
    if (!pieces) return;
    for (const live_piece& piece : *pieces) {
        if (piece.chunk != where.chunk || piece.piece_size > small_piece_size) return;
        extent e;
        e.chunk = piece.chunk;
        e.piece = piece.piece;
        e.placement = piece.placement;
        e.piece_size = piece.piece_size;
        e.first_unit = piece.first_unit;
        e.size = piece.piece_size;
        if (!cache_.acquire(e, 0, true)) return;
    }
}

task<slice> file_reader::fetch_part(read_part part) {
    if (!part.block) co_return co_await volume_.read(part.where, part.piece_offset, part.size);
    CO_TRY(const auto block, co_await cache_.wait(part.block));
    co_return block.part(part.block_offset, part.size);
}

task<std::vector<slice>> file_reader::fetch(read_plan plan) {
    std::vector<slice> bytes(plan.parts.size());
    std::size_t missing = 0;
    std::size_t last = 0;
    for (std::size_t i = 0; i < plan.parts.size(); ++i) {
        if (plan.parts[i].ready()) {
            bytes[i] = plan.parts[i].bytes;
        } else {
            ++missing;
            last = i;
        }
    }
    if (missing == 1) {
        CO_TRY(bytes[last], co_await fetch_part(plan.parts[last]));
    } else if (missing > 1) {
        fan_out<slice> parts(core_.get_executor());
        for (std::size_t i = 0; i < plan.parts.size(); ++i)
            if (!plan.parts[i].ready()) parts.start(i, fetch_part(plan.parts[i]));
        co_await parts.wait_all();
        for (auto& [i, part] : parts.done()) {
            if (!part) co_return fail(std::move(part).error());
            bytes[i] = std::move(*part);
        }
    }
    co_return bytes;
}

}  // namespace warifu
