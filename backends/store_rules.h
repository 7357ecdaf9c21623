#pragma once
// The rules of share_store.h that every local store follows, as pure functions: what is a legal request, and what an
// append does to a journal. The stores differ in where the bytes are, not in what these say.

#include <algorithm>
#include <limits>
#include <optional>

#include "backends/share_store.h"

namespace warifu {

/// The bytes that a share takes from a store's free space at most: its head (with piece table, checksums and side) and
/// each piece rounded up to sectors. Reservations are counted in the same measure.
inline std::uint64_t share_footprint(std::uint64_t side_size, const std::vector<slice>& pieces) {
    std::uint64_t sectors = 0;
    for (const slice& piece : pieces) sectors += divide_up(piece.size(), sector_size);
    const std::uint64_t head = share_head_size_fixed + 4 * pieces.size() + 4 * sectors + side_size;
    return (divide_up(head, sector_size) + sectors) * sector_size;
}

/// Equal is accepted; lower was fenced, higher must be promised first.
inline result<void> check_authority(ballot authority, ballot promised) {
    if (authority == promised) return {};
    return fail(errc::stale_epoch,
                authority < promised ? "a greater ballot is promised" : "this ballot is not promised");
}

inline result<void> check_put(const share_put& share) {
    if (share.pieces.empty()) return fail(errc::bad_argument, "a share needs at least one piece");
    if (share.pieces.size() > chunk_piece_count_max) return fail(errc::too_large, "too many pieces");
    if (share.index.value >= site_count_max) return fail(errc::bad_argument, "no such share index");
    std::uint64_t size = 0;
    for (const slice& piece : share.pieces) {
        if (piece.empty()) return fail(errc::bad_argument, "a piece is empty");
        size += piece.size();
    }
    if (size > share_size_max || share.side.size() > share_side_size_max)
        return fail(errc::too_large, "share too large");
    return {};
}

inline result<void> check_ranges(const share_description& share, const std::vector<share_range>& ranges) {
    if (ranges.size() > get_range_count_max) return fail(errc::too_large, "too many ranges");
    std::uint64_t total = 0;
    for (const share_range& range : ranges) {
        std::uint64_t part_size = share.side_size;
        if (range.part != side_part) {
            if (range.part >= share.piece_sizes.size()) return fail(errc::bad_argument, "no such piece");
            part_size = share.piece_sizes[range.part];
            if (part_size == 0) return fail(errc::not_found, "this piece was removed");
        }
        if (std::uint64_t{range.offset} + range.size > part_size)
            return fail(errc::bad_argument, "range outside of its part");
        total += range.size;
    }
    if (total > get_size_max) return fail(errc::too_large, "ranges too large");
    return {};
}

/// REQUIRES nothing of the chunk: pieces that are gone already are fine, numbers that never were are not.
inline result<void> check_removal(const share_description& share, const share_removal& removal) {
    for (const std::uint32_t piece : removal.pieces)
        if (piece >= share.piece_sizes.size()) return fail(errc::bad_argument, "no such piece");
    for (const share_range& range : removal.side_ranges) {
        if (range.part != side_part) return fail(errc::bad_argument, "a side range names a piece");
        if (std::uint64_t{range.offset} + range.size > share.side_size)
            return fail(errc::bad_argument, "range outside of the side");
    }
    return {};
}

/// Counts and sizes of a list of removals; pieces and side ranges both count, so that one request stays bounded.
inline result<void> check_removal_count(const std::vector<share_removal>& removals) {
    std::size_t count = removals.size();
    for (const share_removal& removal : removals) count += removal.pieces.size() + removal.side_ranges.size();
    if (removals.size() > remove_count_max || count > remove_part_count_max)
        return fail(errc::too_large, "too many removals");
    return {};
}

enum class append_verdict : std::uint8_t {
    add,      // behind the last record
    compare,  // the journal holds a record of this (epoch, sequence): equal bytes succeed, others are a conflict
    replace,  // takes the place of that record; all after it go
    restart,  // the journal becomes this record alone
};

/// `span` is the journal now; `held` the epoch of its record at the request's sequence, if it has one.
/// With restart and equal bytes (compare), the records before it go and those after it stay: a late repeat loses
/// nothing.
inline result<append_verdict> decide_append(const journal_span& span, std::optional<ballot> held,
                                            const append_request& request) {
    const journal_entry& entry = request.entry;
    if (entry.sequence == 0 || entry.sequence == std::numeric_limits<std::uint64_t>::max())
        return fail(errc::bad_argument, "no such sequence number");
    if (entry.epoch > request.authority) return fail(errc::bad_argument, "a record of a later epoch than its writer's");
    if (entry.share.size() > record_share_size_max || entry.chunks.size() > record_chunk_count_max)
        return fail(errc::too_large, "record too large");
    if (held && *held == entry.epoch) return append_verdict::compare;
    if (request.restart) return append_verdict::restart;
    if (entry.sequence == span.last + 1) return append_verdict::add;
    if (entry.sequence > span.last) return fail(errc::conflict, "records before this one are missing");
    if (!held) return fail(errc::conflict, "this record was cut");
    // Who came after the record that is here decides, even for one of an earlier epoch: a tail that some k sites hold
    // outlives an opening that reached fewer.
    if (request.authority <= *held) return fail(errc::stale_epoch, "a record of a later epoch is in its place");
    return append_verdict::replace;
}

}  // namespace warifu
