// Writing chunks and reading ranges of them; chunk_repair.cc has rebuilding and blame.
#include "fs/sharing/chunk_codec.h"

#include <algorithm>
#include <numeric>

#include "fs/base/assert.h"
#include "fs/sharing/chunk_layout.h"
#include "fs/sharing/split.h"

namespace warifu {

chunk_keys::chunk_keys(const std::array<std::byte, 16>& r, const std::array<std::byte, 16>& hash_key)
    : tag_point(gf128::load(r.data())), hash_point(gf128::load(hash_key.data())) {}

std::size_t chunk_share_size::total() const {
    return std::accumulate(pieces.begin(), pieces.end(), side);
}

chunk_share_size share_size_of(const scheme& shape, chunk_kind kind, std::span<const std::uint32_t> payload_sizes) {
    chunk_share_size size;
    size.side = table_share_size(shape, payload_sizes.size());
    for (const std::uint32_t payload : payload_sizes) {
        const piece_layout layout = layout_of(shape, kind, payload);
        size.pieces.push_back(layout.share_size());
        size.side += tags_size_of(kind, layout);
    }
    return size;
}

std::size_t codeword_random_size(const scheme& shape, std::size_t payload_size) {
    return piece_layout(shape, codeword_share_size(shape, payload_size)).random_size() + codeword_point_size;
}

std::size_t chunk_random_size(const scheme& shape, chunk_kind kind, std::span<const std::uint32_t> payload_sizes) {
    std::size_t size = codeword_random_size(shape, payload_sizes.size() * hash_table::entry_size(shape.n()));
    for (const std::uint32_t payload : payload_sizes) {
        const piece_layout layout = layout_of(shape, kind, payload);
        size += layout.random_size();
        size += kind == chunk_kind::data ? layout.units() * shape.random_blocks_per_unit() * tag_size
                                         : codeword_point_size;
    }
    return size;
}

namespace {

result<void> check_pieces(std::span<const bytes_view> pieces) {
    if (pieces.empty()) return fail(errc::bad_argument, "a chunk has at least one piece");
    if (pieces.size() > chunk_piece_count_max) return fail(errc::too_large, "a chunk has too many pieces");
    std::size_t total = 0;
    for (const bytes_view piece : pieces) {
        if (piece.empty()) return fail(errc::bad_argument, "a piece of a chunk is empty");
        if (piece.size() > chunk_size_max) return fail(errc::too_large, "a chunk is over its limit");
        total += piece.size();
    }
    if (total > chunk_size_max) return fail(errc::too_large, "a chunk is over its limit");
    return {};
}

/// Splits one chunk: its parts as they are made.
class chunk_splitter {
  public:
    chunk_splitter(const scheme& shape, const chunk_keys& keys, const volume_id& volume, const chunk_id& chunk,
                   chunk_kind kind, std::span<const std::uint32_t> payload_sizes, random_source& randomness)
        : shape_(shape),
          keys_(keys),
          volume_(volume),
          chunk_(chunk),
          kind_(kind),
          randomness_(randomness),
          table_(shape.n(), payload_sizes),
          shares_(shape.n()) {
        const chunk_share_size size = share_size_of(shape, kind, payload_sizes);
        for (chunk_share& share : shares_) {
            share.side = buffer(size.side);
            for (const std::size_t piece : size.pieces) share.pieces.emplace_back(piece);
        }
    }

    /// Pieces in ascending order of number.
    result<void> add_piece(std::uint32_t number, bytes_view payload) {
        const piece_layout layout = layout_of(shape_, kind_, payload.size());
        const piece_name name{chunk_, number};
        if (kind_ == chunk_kind::data) return split_data(name, layout, payload);
        const codeword_name codeword{volume_, codeword_type::sst, chunk_.epoch, chunk_.sequence, number};
        TRY(const buffer encoded, encode_codeword(shape_, codeword, payload, randomness_));
        return split_and_hash(name, layout, encoded.view().first(layout.size()), {});
    }

    result<std::vector<chunk_share>> finish() {
        const codeword_name name{volume_, codeword_type::hash_table, chunk_.epoch, chunk_.sequence, 0};
        TRY(const buffer encoded, encode_codeword(shape_, name, table_.view(), randomness_));
        std::vector<bytes_span> outs;
        outs.reserve(shares_.size());
        for (chunk_share& share : shares_) outs.push_back(share.side.span(side_used_, encoded.size()));
        TRY_VOID(split(shape_, encoded.view(), randomness_, outs));
        WARIFU_ASSERT(side_used_ + encoded.size() == shares_[0].side.size());
        return std::move(shares_);
    }

  private:
    result<void> split_data(const piece_name& name, const piece_layout& layout, bytes_view payload) {
        buffer tags(layout.tags_size());
        std::vector<bytes_span> tag_outs;
        tag_outs.reserve(shares_.size());
        for (chunk_share& share : shares_) tag_outs.push_back(share.side.span(side_used_, tags.size()));
        side_used_ += tags.size();
        // The tags of a range are computed as soon as it is split, their shares and hashes when all are there.
        const auto tag_range_done = [&](const byte_range& done) {
            const std::size_t begin = std::min(done.offset, payload.size());
            const bytes_view secret = payload.subspan(begin, std::min(done.size, payload.size() - begin));
            const unit_range units = layout.units_of(done.offset, secret.size());
            const byte_range at = layout.tag_bytes_of(units, 0);
            compute_tags(keys_.tag_point, name, shape_, layout, units, secret, tags.span(at.offset, at.size));
        };
        return split_and_hash(name, layout, payload, tag_range_done, tags.view(), tag_outs);
    }

    result<void> split_and_hash(const piece_name& name, const piece_layout& layout, bytes_view secret,
                                const share_range_done& on_done, bytes_view tags = {},
                                std::span<const bytes_span> tag_outs = {}) {
        std::vector<bytes_span> outs;
        std::vector<share_hasher> hashers;
        for (unsigned i = 0; i < shape_.n(); ++i) {
            outs.push_back(shares_[i].pieces[name.piece].span());
            hashers.emplace_back(keys_.hash_point, name, index_of(i), layout.share_size(), tags.size());
        }
        const share_range_done done = [&](const byte_range& range) {
            for (unsigned i = 0; i < shape_.n(); ++i) hashers[i].add(outs[i].subspan(range.offset, range.size));
            if (on_done) on_done(range);
        };
        TRY_VOID(split(shape_, secret, randomness_, outs, done));
        if (!tags.empty()) TRY_VOID(split_tags(shape_, tags, randomness_, tag_outs));
        for (unsigned i = 0; i < shape_.n(); ++i) {
            if (!tags.empty()) hashers[i].add(tag_outs[i]);
            table_.set(name.piece, index_of(i), hashers[i].value());
        }
        return {};
    }

    const scheme& shape_;
    const chunk_keys& keys_;
    const volume_id& volume_;
    const chunk_id& chunk_;
    const chunk_kind kind_;
    random_source& randomness_;
    hash_table table_;
    std::vector<chunk_share> shares_;
    std::size_t side_used_ = 0;
};

}  // namespace

result<std::vector<chunk_share>> split_chunk(const scheme& shape, const chunk_keys& keys, const volume_id& volume,
                                             const chunk_id& chunk, chunk_kind kind,
                                             std::span<const bytes_view> secret_pieces, random_source& randomness) {
    TRY_VOID(check_pieces(secret_pieces));
    TRY_VOID(randomness.begin_chunk());
    std::vector<std::uint32_t> sizes;
    for (const bytes_view piece : secret_pieces) sizes.push_back(static_cast<std::uint32_t>(piece.size()));
    chunk_splitter splitter(shape, keys, volume, chunk, kind, sizes, randomness);
    for (std::uint32_t number = 0; number < secret_pieces.size(); ++number)
        TRY_VOID(splitter.add_piece(number, secret_pieces[number]));
    return splitter.finish();
}

namespace {

/// Sizes and places that a chunk can have; then all offsets fit their 32 bits.
bool is_possible(const scheme& shape, const piece_ref& piece) {
    const std::size_t units_max = chunk_size_max / shape.unit_size() + chunk_piece_count_max;
    return piece.payload_size > 0 && piece.payload_size <= chunk_size_max && piece.first_tag_unit < units_max &&
           piece.name.piece < chunk_piece_count_max;
}

/// The range of a plan, in units and bytes.
struct planned_range {
    piece_layout layout;
    unit_range units;
    byte_range bytes;  // of every share and of the padded secret
};

result<planned_range> plan(const scheme& shape, const piece_ref& piece, std::size_t offset, std::size_t size) {
    if (!is_possible(shape, piece)) return fail(errc::bad_argument, "a piece that no chunk can hold");
    if (size == 0 || offset >= piece.payload_size || size > piece.payload_size - offset)
        return fail(errc::bad_argument, "a range outside of its piece");
    const piece_layout layout = layout_of(shape, piece.kind, piece.payload_size);
    const unit_range units =
        piece.kind == chunk_kind::data ? layout.units_of(offset, size) : unit_range{0, layout.units()};
    return planned_range{layout, units, layout.share_bytes_of(units)};
}

fetch_range fetch(std::uint32_t part, const byte_range& bytes) {
    return {part, static_cast<std::uint32_t>(bytes.offset), static_cast<std::uint32_t>(bytes.size)};
}

result<slice> open_data(const scheme& shape, const chunk_keys& keys, const piece_ref& piece, const planned_range& range,
                        buffer secret, std::size_t offset, std::size_t size, std::span<const share_index> which,
                        std::span<const bytes_view> tag_shares) {
    buffer tags(range.layout.tag_bytes_of(range.units, 0).size);
    TRY_VOID(reconstruct_tags(shape, which, tag_shares, tags.span()));
    TRY_VOID(verify_tags(keys.tag_point, piece.name, shape, range.layout, range.units, secret.view(), tags.view()));
    return slice(std::move(secret)).part(offset - range.bytes.offset, size);
}

result<slice> open_metadata(const scheme& shape, const volume_id& volume, const piece_ref& piece, buffer secret,
                            std::size_t offset, std::size_t size) {
    const codeword_name name{volume, codeword_type::sst, piece.name.chunk.epoch, piece.name.chunk.sequence,
                             piece.name.piece};
    TRY_VOID(open_codeword(shape, name, secret.view(), piece.payload_size));
    return slice(std::move(secret)).part(codeword_overhead + offset, size);
}

}  // namespace

result<std::vector<fetch_range>> read_plan(const scheme& shape, const piece_ref& piece, std::size_t offset,
                                           std::size_t size) {
    TRY(const planned_range range, plan(shape, piece, offset, size));
    std::vector<fetch_range> ranges{fetch(piece.name.piece, range.bytes)};
    if (piece.kind == chunk_kind::data)
        ranges.push_back(fetch(fetch_side_part, range.layout.tag_bytes_of(range.units, piece.first_tag_unit)));
    return ranges;
}

fetch_range tag_range(const scheme& shape, const piece_ref& piece) {
    if (piece.kind == chunk_kind::metadata || !is_possible(shape, piece)) return {fetch_side_part, 0, 0};
    const piece_layout layout = layout_of(shape, piece.kind, piece.payload_size);
    return fetch(fetch_side_part, layout.tag_bytes_of({0, layout.units()}, piece.first_tag_unit));
}

result<slice> open_range(const scheme& shape, const chunk_keys& keys, const volume_id& volume, const piece_ref& piece,
                         std::size_t offset, std::size_t size, std::span<const fetched_share> shares) {
    TRY(const planned_range range, plan(shape, piece, offset, size));
    std::vector<share_index> which;
    std::vector<bytes_view> piece_shares, tag_shares;
    for (const fetched_share& share : shares) {
        which.push_back(share.index);
        piece_shares.push_back(share.piece);
        tag_shares.push_back(share.tags);
    }
    buffer secret(range.bytes.size);
    TRY_VOID(reconstruct(shape, which, piece_shares, secret.span()));
    if (piece.kind == chunk_kind::metadata) return open_metadata(shape, volume, piece, std::move(secret), offset, size);
    return open_data(shape, keys, piece, range, std::move(secret), offset, size, which, tag_shares);
}

}  // namespace warifu
