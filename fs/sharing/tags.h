#pragma once
// Data tags: 16 bytes per secret sub-block, shared like the data, checked whenever data is reconstructed (DESIGN
// section 4, "Integrity"). k-1 sites that change their shares change a sub-block and its tag by differences that they
// choose without knowing the secret point r, so q tries pass with probability at most q * 2^-119.
//
// The tag of a sub-block is the polynomial over GF(2^128) at r whose coefficients are the 16-byte symbols of
//     "wtag" | size u32 | length u32 | piece u32 | epoch (16) | sequence u64 | number u32 | 0 u32 | data (size bytes)
// with no constant term; big-endian; `size` is the padded and `length` the unpadded size, `number` the sub-block's in
// the piece. The encoding is injective: the first symbol is never zero, so the degree tells the number of symbols, and
// every field has its fixed place. 3 + 256 symbols: the degree is below 2^9.

#include <span>

#include "fs/base/bytes.h"
#include "fs/base/gf128.h"
#include "fs/base/ids.h"
#include "fs/sharing/layout.h"

namespace warifu {

/// One piece of one chunk.
struct piece_name {
    chunk_id chunk;
    std::uint32_t piece = 0;
    bool operator==(const piece_name&) const = default;
};

/// Computes the tags of the units of `range`, one after another, into `out` (range.count * sub_blocks() * tag_size
/// bytes). `secret` starts at the range's first byte; what it lacks of the range's padded size counts as zeros.
/// REQUIRES: secret.size() <= layout.share_bytes_of(range).size.
void compute_tags(const gf128_point& point, const piece_name& name, const scheme& shape, const piece_layout& layout,
                  unit_range range, bytes_view secret, bytes_span out);

/// bad_tag unless `tags` are the tags of `secret`, which is the whole padded secret of the range. Constant time.
result<void> verify_tags(const gf128_point& point, const piece_name& name, const scheme& shape,
                         const piece_layout& layout, unit_range range, bytes_view secret, bytes_view tags);

}  // namespace warifu
