#pragma once
// Split, reconstruct and repair: pure functions over bytes. Nothing here detects a changed share; tags.h and amd.h do.

#include <functional>
#include <span>

#include "fs/base/bytes.h"
#include "fs/base/ids.h"
#include "fs/base/random.h"
#include "fs/sharing/layout.h"
#include "fs/sharing/scheme.h"

namespace warifu {

/// Splits a piece into n shares of piece_layout::share_size() bytes each, into shares_out[i] for share i; the short
/// unit is padded with zeros. Random bytes are drawn in the order of units, and in a unit in the order of
/// share_terms(); each draw fits a cache and is wiped. Errors: bad_argument (an empty or too long piece, wrong number
/// or size of outputs), the source's own.
result<void> split(const scheme& shape, bytes_view secret_piece, random_source& randomness,
                   std::span<const bytes_span> shares_out);

/// Called with each byte range of the shares as soon as it is written, in ascending order: while it is still in the
/// cache.
using share_range_done = std::function<void(const byte_range& done)>;
result<void> split(const scheme& shape, bytes_view secret_piece, random_source& randomness,
                   std::span<const bytes_span> shares_out, const share_range_done& on_done);

/// The same with the random bytes given: exactly piece_layout::random_size() of them, used once, ever.
result<void> split_given(const scheme& shape, bytes_view secret_piece, bytes_view random,
                         std::span<const bytes_span> shares_out);

/// Reconstructs a range of units of a piece (padding included) from the same byte range of k shares: shares[i] is of
/// share which[i], in any order. All of `shares` and `out` have one size: full units, then at most one short unit.
/// Errors: bad_argument (not k distinct indices below n, sizes that differ or are no run of units).
result<void> reconstruct(const scheme& shape, std::span<const share_index> which, std::span<const bytes_view> shares,
                         bytes_span out);

/// Makes the same range of share `target`, bit for bit as split made it. Errors as reconstruct.
result<void> repair(const scheme& shape, share_index target, std::span<const share_index> which,
                    std::span<const bytes_view> shares, bytes_span out);

/// The same three for runs of units whose sub-blocks are single tags of tag_size bytes.
result<void> split_tags(const scheme& shape, bytes_view tags, random_source& randomness,
                        std::span<const bytes_span> shares_out);
result<void> reconstruct_tags(const scheme& shape, std::span<const share_index> which,
                              std::span<const bytes_view> shares, bytes_span out);
result<void> repair_tags(const scheme& shape, share_index target, std::span<const share_index> which,
                         std::span<const bytes_view> shares, bytes_span out);

}  // namespace warifu
