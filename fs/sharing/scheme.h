#pragma once
// The XOR (k,n) threshold scheme of Kurihara, Kiyomoto, Fukushima and Tanaka (ISC 2008, eprint 2008/409): any k of n
// shares give the secret, any k-1 are independent of it, and any k give every other share bit for bit.
//
// Words: a *sub-block* is the block of the paper (4 KiB; shorter in the last unit of a piece); a *unit* is the p-1
// secret sub-blocks that are shared together; a *piece* is a run of units that can be removed apart; a share of a unit
// is p-1 sub-blocks.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fs/base/error.h"
#include "fs/base/limits.h"

namespace warifu {

/// A threshold k, a number of shares n and the prime that follows from them. A small value; immutable; thread-safe.
class scheme {
  public:
    /// Errors: bad_argument unless 2 <= k <= n <= site_count_max.
    static result<scheme> make(unsigned k, unsigned n);

    unsigned k() const { return k_; }
    unsigned n() const { return n_; }
    /// The least prime >= max(n, 3). A composite would lose the recovery from k shares.
    unsigned prime() const { return prime_; }

    /// Secret sub-blocks of a unit; also the sub-blocks of one share of it.
    unsigned sub_blocks() const { return prime_ - 1; }
    /// Random sub-blocks that one unit consumes.
    unsigned random_blocks_per_unit() const { return (k_ - 1) * prime_ - 1; }
    /// Secret bytes of a full unit; also the bytes of one share of it.
    std::size_t unit_size() const { return sub_blocks() * sub_block_size; }
    /// Full units of the largest chunk.
    std::size_t chunk_units_max() const { return chunk_size_max / unit_size(); }

    bool operator==(const scheme&) const = default;

  private:
    scheme(unsigned k, unsigned n, unsigned prime) : k_(k), n_(n), prime_(prime) {}

    unsigned k_;
    unsigned n_;
    unsigned prime_;
};

/// The unknowns whose XOR is sub-block `block` of share `share`: w(i,j) = XOR_h r^h_{(h i + j) mod p} XOR s_{(j-i) mod
/// p}. Unknowns are numbered: randoms 0 .. random_blocks_per_unit()-1 in the order r^0_0 .. r^0_{p-2}, r^1_0 ..
/// r^1_{p-1}, ..., r^{k-2}_{p-1}, then the secrets s_1 .. s_{p-1}. This order is the order in which random bytes are
/// consumed. REQUIRES: share < prime(), block < sub_blocks().
std::vector<unsigned> share_terms(const scheme& shape, unsigned share, unsigned block);

/// Randoms and secrets of one unit together.
inline unsigned unknown_count(const scheme& shape) {
    return shape.random_blocks_per_unit() + shape.sub_blocks();
}

}  // namespace warifu
