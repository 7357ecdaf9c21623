#pragma once
// Share hashes: 16 bytes per share and piece, kept in metadata, by which a rebuilt or suspected share is told
// good or wrong.
//
// The hash is the polynomial over GF(2^128) at the epoch's secret hash point whose coefficients are the 16-byte
// symbols of
//     "whsh" | index u8 | 0 (3) | piece u32 | size u32 | epoch (16) | sequence u64 | tags size u64
//     | the share of the piece | the share of the piece's tags
// with no constant term, big-endian; injective for the same reasons as data tags. Whoever knows a share and its hash
// can solve for the point, so hashes never leave metadata, and the point differs from the one of the data tags.

#include <array>

#include "fs/base/buffer.h"
#include "fs/base/gf128.h"
#include "fs/base/ids.h"
#include "fs/sharing/tags.h"

namespace warifu {

inline constexpr std::size_t share_hash_size = 16;
using share_hash = std::array<std::byte, share_hash_size>;

/// Hashes one share of one piece (`piece_size` bytes) with the share of its tags (`tags_size` bytes, 0 for metadata),
/// given in parts that are multiples of 16 bytes, the tags last.
class share_hasher {
  public:
    share_hasher(const gf128_point& point, const piece_name& name, share_index index, std::size_t piece_size,
                 std::size_t tags_size);
    void add(bytes_view bytes) { value_ = point_->evaluate(bytes, value_); }
    share_hash value() const;

  private:
    const gf128_point* point_;  // outlives the hasher
    gf128 value_;
};

/// The whole at once.
share_hash hash_share(const gf128_point& point, const piece_name& name, share_index index, bytes_view piece,
                      bytes_view tags);

/// The hashes of all shares of all pieces of a chunk, and the pieces' payload sizes: the payload of the codeword that
/// stands at the end of the chunk's side. Entry of a piece: payload size u32 | n hashes. Move-only; its memory is
/// wiped.
class hash_table {
  public:
    /// All hashes zero.
    hash_table(unsigned n, std::span<const std::uint32_t> payload_sizes);
    /// Errors: bad_format when the size is not that of `piece_count` entries, or a payload size is 0 or over the limit.
    static result<hash_table> decode(unsigned n, std::size_t piece_count, bytes_view payload);

    static constexpr std::size_t entry_size(unsigned n) { return 4 + n * share_hash_size; }

    std::size_t piece_count() const { return bytes_.size() / entry_size(n_); }
    std::uint32_t payload_size(std::size_t piece) const;
    void set(std::size_t piece, share_index index, const share_hash& hash);
    /// Constant time.
    bool matches(std::size_t piece, share_index index, const share_hash& hash) const;
    /// The payload to encode.
    bytes_view view() const { return bytes_.view(); }

  private:
    hash_table(unsigned n, buffer bytes) : n_(n), bytes_(std::move(bytes)) {}
    std::size_t place_of(std::size_t piece, share_index index) const;

    unsigned n_;
    buffer bytes_;
};

}  // namespace warifu
