#pragma once
// The one home of the arithmetic between secret bytes, units, sub-blocks, tags and the bytes of a share.
//
// A piece of `size` secret bytes is cut into full units of unit_size() bytes; what is left makes one *short unit* whose
// sub-blocks are ceil(rest / (p-1)) bytes rounded up to sub_block_step, and whose secret is padded with zeros. A unit's
// share is as long as its padded secret, so unit u starts at u * unit_size() in the secret and in every share of it.

#include <cstddef>
#include <cstdint>

#include "fs/sharing/scheme.h"

namespace warifu {

inline constexpr std::size_t tag_size = 16;
/// The longest piece, secret bytes: a chunk's worth, or the largest codeword, with room for padding in 32-bit offsets.
inline constexpr std::size_t piece_size_max =
    (codeword_payload_size_max > chunk_size_max ? codeword_payload_size_max : chunk_size_max) + 4096;

struct unit_range {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
    bool operator==(const unit_range&) const = default;
};

struct byte_range {
    std::size_t offset = 0;
    std::size_t size = 0;
    std::size_t end() const { return offset + size; }
    bool operator==(const byte_range&) const = default;
};

/// Where one secret sub-block lies.
struct sub_block_place {
    std::uint32_t number = 0;  // in the piece: unit * sub_blocks() + position
    std::size_t offset = 0;    // in the padded secret of the piece
    std::size_t size = 0;      // padded bytes
    std::size_t length = 0;    // of these, bytes that are not padding
};

/// A piece of `size` secret bytes under one scheme. A small value; immutable; thread-safe.
/// REQUIRES: 0 < size <= piece_size_max.
class piece_layout {
  public:
    piece_layout(const scheme& shape, std::size_t size);

    std::size_t size() const { return size_; }
    std::uint32_t full_units() const { return full_units_; }
    /// Sub-block size of the short unit; 0 when there is none.
    std::size_t short_sub_block() const { return short_sub_block_; }
    std::uint32_t units() const { return full_units_ + (short_sub_block_ != 0 ? 1 : 0); }
    /// Secret sub-blocks, padding-only ones included; each has one tag.
    std::uint32_t sub_blocks() const { return units() * shape_.sub_blocks(); }
    /// Bytes of one share of the piece; also of its padded secret.
    std::size_t share_size() const { return full_units_ * shape_.unit_size() + shape_.sub_blocks() * short_sub_block_; }
    /// Bytes of one share of all the piece's tags; also of the tags themselves.
    std::size_t tags_size() const { return sub_blocks() * tag_size; }
    /// Random bytes that splitting the piece (without its tags) consumes.
    std::size_t random_size() const;

    /// Sub-block size in this unit. REQUIRES: unit < units().
    std::size_t sub_block_size_of(std::uint32_t unit) const;
    /// REQUIRES: number < sub_blocks().
    sub_block_place place_of(std::uint32_t number) const;

    /// The units that hold the secret bytes [offset, offset + size). REQUIRES: size > 0, offset + size <= size().
    unit_range units_of(std::size_t offset, std::size_t size) const;
    /// Where these units lie in every share of the piece (and in the padded secret). REQUIRES: inside of the piece.
    byte_range share_bytes_of(unit_range range) const;
    /// Where the tags of these units lie in a share's side, when the piece's first unit is number `first_tag_unit`
    /// there.
    byte_range tag_bytes_of(unit_range range, std::uint32_t first_tag_unit) const;

  private:
    scheme shape_;
    std::size_t size_;
    std::uint32_t full_units_;
    std::size_t short_sub_block_;
};

}  // namespace warifu
