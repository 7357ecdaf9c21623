// Rebuilding a share of a chunk, and finding who changed one.
#include <algorithm>
#include <optional>

#include "fs/sharing/chunk_codec.h"
#include "fs/sharing/chunk_layout.h"
#include "fs/sharing/split.h"

namespace warifu {
namespace {

/// The next way to take k of m things, as positions in ascending order; false after the last.
bool next_combination(std::vector<std::size_t>& taken, std::size_t m) {
    const std::size_t k = taken.size();
    for (std::size_t i = k; i-- > 0;) {
        if (taken[i] == m - k + i) continue;
        ++taken[i];
        for (std::size_t j = i + 1; j < k; ++j) taken[j] = taken[j - 1] + 1;
        return true;
    }
    return false;
}

std::vector<share_index> indices_of(std::span<const fetched_share> shares) {
    std::vector<share_index> which;
    which.reserve(shares.size());
    for (const fetched_share& share : shares) which.push_back(share.index);
    return which;
}

/// Whether `other` is what the shares of `base` imply for it.
result<bool> is_consistent(const scheme& shape, std::span<const fetched_share> base, const fetched_share& other) {
    const auto which = indices_of(base);
    std::vector<bytes_view> pieces, tags;
    for (const fetched_share& share : base) {
        pieces.push_back(share.piece);
        tags.push_back(share.tags);
    }
    if (other.piece.size() != pieces[0].size() || other.tags.size() != tags[0].size()) return false;
    buffer implied(other.piece.size());
    TRY_VOID(repair(shape, other.index, which, pieces, implied.span()));
    if (!equal_constant_time(implied.view(), other.piece)) return false;
    if (other.tags.empty()) return true;
    buffer implied_tags(other.tags.size());
    TRY_VOID(repair_tags(shape, other.index, which, tags, implied_tags.span()));
    return equal_constant_time(implied_tags.view(), other.tags);
}

/// Sorts all answers by whether they agree with a verified subset.
result<liar_report> report_of(const scheme& shape, slice bytes, std::span<const fetched_share> base,
                              std::span<const fetched_share> all) {
    liar_report report;
    report.bytes = std::move(bytes);
    for (const fetched_share& share : all) {
        TRY(const bool consistent, is_consistent(shape, base, share));
        (consistent ? report.agree : report.differ).push_back(share.index);
    }
    report.certain = shape.k() == 2 || report.agree.size() >= 2 * shape.k() - 1;
    return report;
}

}  // namespace

result<liar_report> find_liars(const scheme& shape, const chunk_keys& keys, const volume_id& volume,
                               const piece_ref& piece, std::size_t offset, std::size_t size,
                               std::span<const fetched_share> shares) {
    if (shares.size() < shape.k() || shares.size() > shape.n())
        return fail(errc::bad_argument, "finding liars needs k to n answers");
    TRY_VOID(read_plan(shape, piece, offset, size));
    std::optional<liar_report> best;
    std::vector<std::size_t> taken(shape.k());
    for (std::size_t i = 0; i < taken.size(); ++i) taken[i] = i;
    std::size_t tried = 0;
    do {
        std::vector<fetched_share> base;
        base.reserve(taken.size());
        for (const std::size_t i : taken) base.push_back(shares[i]);
        auto opened = open_range(shape, keys, volume, piece, offset, size, base);
        if (!opened) continue;  // also an answer of a wrong size fails only the subsets that it is in
        TRY(liar_report report, report_of(shape, std::move(*opened), base, shares));
        if (!best || report.agree.size() > best->agree.size()) best = std::move(report);
        if (best->certain || best->differ.empty()) break;
    } while (++tried < liar_subset_count_max && next_combination(taken, shares.size()));
    if (!best) return fail(errc::bad_tag, "no k of the answers verify");
    return std::move(*best);
}

namespace {

/// What the parts of whole shares must look like; sizes come from the verified hash table.
struct chunk_shape {
    std::vector<piece_layout> layouts;
    std::vector<byte_range> tags;  // in the side
    std::size_t side_size = 0;
};

chunk_shape shape_from(const scheme& shape, chunk_kind kind, const hash_table& table) {
    chunk_shape found;
    std::size_t at = 0;
    for (std::size_t piece = 0; piece < table.piece_count(); ++piece) {
        found.layouts.push_back(layout_of(shape, kind, table.payload_size(piece)));
        found.tags.push_back({at, tags_size_of(kind, found.layouts.back())});
        at += found.tags.back().size;
    }
    found.side_size = at + table_share_size(shape, table.piece_count());
    return found;
}

bool fits(const chunk_shape& expected, const whole_share& share) {
    if (share.side.size() != expected.side_size || share.pieces.size() != expected.layouts.size()) return false;
    for (std::size_t piece = 0; piece < share.pieces.size(); ++piece)
        if (!share.pieces[piece].empty() && share.pieces[piece].size() != expected.layouts[piece].share_size())
            return false;
    return true;
}

std::vector<share_index> indices_of(std::span<const whole_share> shares) {
    std::vector<share_index> which;
    which.reserve(shares.size());
    for (const whole_share& share : shares) which.push_back(share.index);
    return which;
}

/// The same range of every share's side.
std::vector<bytes_view> sides_of(std::span<const whole_share> shares, const byte_range& range) {
    std::vector<bytes_view> sides;
    for (const whole_share& share : shares) sides.push_back(share.side.subspan(range.offset, range.size));
    return sides;
}

/// The piece of the target, or an empty buffer when it is removed everywhere.
result<buffer> rebuild_piece(const scheme& shape, std::size_t piece, share_index target,
                             std::span<const whole_share> shares, std::span<const share_index> which) {
    std::vector<bytes_view> parts;
    for (const whole_share& share : shares) parts.push_back(share.pieces[piece]);
    const auto gone = static_cast<std::size_t>(std::ranges::count_if(parts, [](bytes_view p) { return p.empty(); }));
    if (gone == parts.size()) return buffer();
    if (gone != 0) return fail(errc::conflict, "a piece is removed at some of the sites that are to rebuild it");
    buffer out(parts[0].size());
    TRY_VOID(repair(shape, target, which, parts, out.span()));
    return out;
}

}  // namespace

result<hash_table> open_hash_table(const scheme& shape, const volume_id& volume, const chunk_id& chunk,
                                   std::span<const whole_share> shares) {
    if (shares.size() != shape.k()) return fail(errc::bad_argument, "needs exactly k shares");
    const std::size_t pieces = shares[0].pieces.size();
    const std::size_t side = shares[0].side.size();
    if (pieces == 0 || pieces > chunk_piece_count_max)
        return fail(errc::bad_argument, "a share with too many or no pieces");
    const std::size_t table_size = table_share_size(shape, pieces);
    if (side < table_size) return fail(errc::bad_argument, "a side too short for its hash table");
    for (const whole_share& share : shares)
        if (share.side.size() != side || share.pieces.size() != pieces)
            return fail(errc::bad_argument, "shares of different shapes");
    buffer codeword(table_size);
    const auto which = indices_of(shares);
    TRY_VOID(reconstruct(shape, which, sides_of(shares, {side - table_size, table_size}), codeword.span()));
    const codeword_name name{volume, codeword_type::hash_table, chunk.epoch, chunk.sequence, 0};
    TRY(const bytes_view payload,
        open_codeword(shape, name, codeword.view(), pieces * hash_table::entry_size(shape.n())));
    return hash_table::decode(shape.n(), pieces, payload);
}

result<std::vector<share_index>> wrong_shares(const scheme& shape, const chunk_keys& keys, const chunk_id& chunk,
                                              chunk_kind kind, const hash_table& table,
                                              std::span<const whole_share> shares) {
    const chunk_shape expected = shape_from(shape, kind, table);
    std::vector<share_index> wrong;
    for (const whole_share& share : shares) {
        if (share.index.value >= shape.n()) return fail(errc::bad_argument, "a share index is not below n");
        bool good = fits(expected, share);
        for (std::size_t piece = 0; good && piece < share.pieces.size(); ++piece) {
            if (share.pieces[piece].empty()) continue;
            const piece_name name{chunk, static_cast<std::uint32_t>(piece)};
            const byte_range& tags = expected.tags[piece];
            const share_hash hash = hash_share(keys.hash_point, name, share.index, share.pieces[piece],
                                               share.side.subspan(tags.offset, tags.size));
            good = table.matches(piece, share.index, hash);
        }
        if (!good) wrong.push_back(share.index);
    }
    return wrong;
}

result<chunk_share> rebuild_share(const scheme& shape, const chunk_keys& keys, const volume_id& volume,
                                  const chunk_id& chunk, chunk_kind kind, share_index target,
                                  std::span<const whole_share> shares) {
    TRY(const hash_table table, open_hash_table(shape, volume, chunk, shares));
    const chunk_shape expected = shape_from(shape, kind, table);
    for (const whole_share& share : shares)
        if (!fits(expected, share)) return fail(errc::bad_tag, "a share is not of the size that its hash table says");
    const auto which = indices_of(shares);
    chunk_share made;
    made.side = buffer(expected.side_size);
    const std::size_t tags_size = expected.tags.back().end();
    if (tags_size != 0)
        TRY_VOID(repair_tags(shape, target, which, sides_of(shares, {0, tags_size}), made.side.span(0, tags_size)));
    const byte_range table_at{tags_size, expected.side_size - tags_size};
    TRY_VOID(repair(shape, target, which, sides_of(shares, table_at), made.side.span(table_at.offset, table_at.size)));
    for (std::size_t piece = 0; piece < table.piece_count(); ++piece) {
        TRY(buffer part, rebuild_piece(shape, piece, target, shares, which));
        made.pieces.push_back(std::move(part));
    }
    whole_share check{target, made.side.view(), {}};
    for (const buffer& part : made.pieces) check.pieces.push_back(part.view());
    TRY(const auto wrong, wrong_shares(shape, keys, chunk, kind, table, std::span(&check, 1)));
    if (!wrong.empty()) return fail(errc::bad_tag, "a rebuilt share does not match its hash");
    return made;
}

}  // namespace warifu
