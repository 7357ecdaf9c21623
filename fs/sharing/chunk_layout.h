#pragma once
// Sizes of a chunk's parts, for the files of the chunk codec.

#include "fs/sharing/chunk_codec.h"

namespace warifu {

inline share_index index_of(unsigned i) {
    return share_index{static_cast<std::uint8_t>(i)};
}

/// The layout of what is split for a piece: the payload itself, or its codeword. REQUIRES: 0 < payload_size <=
/// chunk_size_max.
inline piece_layout layout_of(const scheme& shape, chunk_kind kind, std::size_t payload_size) {
    return {shape, kind == chunk_kind::data ? payload_size : codeword_size(payload_size)};
}

inline std::size_t tags_size_of(chunk_kind kind, const piece_layout& layout) {
    return kind == chunk_kind::data ? layout.tags_size() : 0;
}

/// Bytes of the share of the hash table's codeword, at the end of the side.
inline std::size_t table_share_size(const scheme& shape, std::size_t piece_count) {
    return codeword_share_size(shape, piece_count * hash_table::entry_size(shape.n()));
}

}  // namespace warifu
