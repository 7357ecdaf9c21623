#pragma once
// Chunks as the volume sees them: secret pieces in, one share per site out, and back. Joins sharing, tags, codewords
// and hashes. All functions are pure and thread-safe; they hold no state but the table of schedules.
//
// A chunk's share is a *side* and one part per piece (FORMAT.md):
// - kind data: a piece's part is the share of the piece. The side is the share of all tags (units of all pieces in
//   order), then the share of the hash table's codeword.
// - kind metadata: a piece's part is the share of the piece's codeword. The side is the share of the hash table's.

#include <span>
#include <vector>

#include "fs/base/buffer.h"
#include "fs/base/gf128.h"
#include "fs/base/random.h"
#include "fs/sharing/amd.h"
#include "fs/sharing/share_hash.h"
#include "fs/sharing/tags.h"

namespace warifu {

enum class chunk_kind : std::uint8_t { data = 1, metadata = 2 };

/// The secret points of the epoch in which a chunk was born, 16 random bytes each, from its epoch record.
struct chunk_keys {
    chunk_keys(const std::array<std::byte, 16>& r, const std::array<std::byte, 16>& hash_key);
    gf128_point tag_point;
    gf128_point hash_point;
};

/// What one site stores of a chunk.
struct chunk_share {
    buffer side;
    std::vector<buffer> pieces;  // empty buffers for pieces that were removed (rebuild_share only)
};

/// Splits a chunk's pieces into n shares, share i at position i. Starts the random source on a new chunk. For metadata
/// each piece becomes a codeword of type sst with the chunk's epoch and sequence and the piece's number. Errors:
/// bad_argument (no piece or an empty one), too_large (over chunk_piece_count_max pieces or chunk_size_max bytes), the
/// random source's own.
result<std::vector<chunk_share>> split_chunk(const scheme& shape, const chunk_keys& keys, const volume_id& volume,
                                             const chunk_id& chunk, chunk_kind kind,
                                             std::span<const bytes_view> secret_pieces, random_source& randomness);

/// Sizes of every share of a chunk with these payload sizes, bytes.
struct chunk_share_size {
    std::size_t side = 0;
    std::vector<std::size_t> pieces;
    std::size_t total() const;
};
chunk_share_size share_size_of(const scheme& shape, chunk_kind kind, std::span<const std::uint32_t> payload_sizes);
/// Random bytes that splitting these payloads draws, exactly.
std::size_t chunk_random_size(const scheme& shape, chunk_kind kind, std::span<const std::uint32_t> payload_sizes);
/// The same for one codeword that is a piece by itself (a journal record).
std::size_t codeword_random_size(const scheme& shape, std::size_t payload_size);

/// One piece of a chunk as the reader's verified metadata describes it.
struct piece_ref {
    chunk_kind kind = chunk_kind::data;
    piece_name name;
    std::uint32_t payload_size = 0;    // secret bytes
    std::uint32_t first_tag_unit = 0;  // data: piece_layout::units() of all earlier pieces together
};
/// A range to get from a store: the same three fields as share_range of backends/share_store.h.
inline constexpr std::uint32_t fetch_side_part = 0xffffffffU;
struct fetch_range {
    std::uint32_t part = 0;  // a piece's number, or fetch_side_part
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
    bool operator==(const fetch_range&) const = default;
};

/// What to get from each of k sites to read the secret bytes [offset, offset + size) of a piece: for data the units
/// that hold them and then these units' tags; for metadata the whole piece. Errors: bad_argument (an empty range, or
/// outside of the piece).
result<std::vector<fetch_range>> read_plan(const scheme& shape, const piece_ref& piece, std::size_t offset,
                                           std::size_t size);

/// Where a data piece's tags lie in the side, to be erased with the piece; size 0 for metadata and for a piece that no
/// chunk can hold.
fetch_range tag_range(const scheme& shape, const piece_ref& piece);

/// What one site answered to a read plan; the views stay the caller's.
struct fetched_share {
    share_index index;
    bytes_view piece;
    bytes_view tags;  // empty for metadata
};

/// Reconstructs and verifies the range of a read plan from exactly k answers. The slice holds the `size` bytes asked
/// for. Errors: bad_tag (somebody changed a share, or it is another chunk's, piece's or range's), bad_argument (not k
/// distinct answers, sizes not as planned).
result<slice> open_range(const scheme& shape, const chunk_keys& keys, const volume_id& volume, const piece_ref& piece,
                         std::size_t offset, std::size_t size, std::span<const fetched_share> shares);

/// Who contradicts the shares that verify.
struct liar_report {
    slice bytes;                      // verified; as open_range returns them
    std::vector<share_index> agree;   // consistent with the verified subset
    std::vector<share_index> differ;  // not
    /// Always true for k = 2 and for at least 2k-1 that agree. Otherwise up to k-1 liars could have changed the
    /// randomness under an unchanged secret and put the blame on the honest: ask the share hashes (wrong_shares).
    bool certain = false;
};
/// Finds k of the (k or more) answers that verify, and names those that differ from what these imply; among several
/// verified subsets the one with which most agree. Tries at most liar_subset_count_max subsets. Errors: bad_tag when
/// none verifies, bad_argument as open_range.
result<liar_report> find_liars(const scheme& shape, const chunk_keys& keys, const volume_id& volume,
                               const piece_ref& piece, std::size_t offset, std::size_t size,
                               std::span<const fetched_share> shares);

/// A whole share of a chunk, as a store returned it. A removed piece is an empty view.
struct whole_share {
    share_index index;
    bytes_view side;
    std::vector<bytes_view> pieces;
};

/// Reads the chunk's hash table from the sides of k shares. Errors: bad_tag, bad_argument.
result<hash_table> open_hash_table(const scheme& shape, const volume_id& volume, const chunk_id& chunk,
                                   std::span<const whole_share> shares);

/// Which of these shares have a piece (or a piece's tags) that does not match its hash. Errors: bad_argument.
result<std::vector<share_index>> wrong_shares(const scheme& shape, const chunk_keys& keys, const chunk_id& chunk,
                                              chunk_kind kind, const hash_table& table,
                                              std::span<const whole_share> shares);

/// Makes share `target` from k whole shares and checks every piece against the hash table that they carry.
/// Errors: bad_tag (the table or a piece does not verify: wrong_shares names who lied), conflict (a piece is removed at
/// some of the k and present at others), bad_argument (not k distinct shares of one shape).
result<chunk_share> rebuild_share(const scheme& shape, const chunk_keys& keys, const volume_id& volume,
                                  const chunk_id& chunk, chunk_kind kind, share_index target,
                                  std::span<const whole_share> shares);

}  // namespace warifu
