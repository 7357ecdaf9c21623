#pragma once
// Linear algebra over GF(2) for the sharing matrix: what a set of share sub-blocks determines.

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "fs/base/limits.h"

namespace warifu {

/// A row of bits, as wide as the sharing matrix of (16,16) has unknowns (16 * 17 - 2) or rows (16 * 16).
class bit_row {
  public:
    static constexpr unsigned width = 320;

    static bit_row single(unsigned bit) {
        bit_row row;
        row.flip(bit);
        return row;
    }
    void flip(unsigned bit) { words_[bit / 64] ^= std::uint64_t{1} << (bit % 64); }
    bool test(unsigned bit) const { return ((words_[bit / 64] >> (bit % 64)) & 1U) != 0; }
    bit_row& operator^=(const bit_row& other) {
        for (std::size_t i = 0; i < words_.size(); ++i) words_[i] ^= other.words_[i];
        return *this;
    }
    /// The lowest set bit, or `width` when there is none.
    unsigned lowest() const {
        for (unsigned i = 0; i < words_.size(); ++i)
            if (words_[i] != 0) return i * 64 + static_cast<unsigned>(std::countr_zero(words_[i]));
        return width;
    }
    unsigned count() const {
        unsigned total = 0;
        for (const std::uint64_t word : words_) total += static_cast<unsigned>(std::popcount(word));
        return total;
    }
    bool operator==(const bit_row&) const = default;

  private:
    std::array<std::uint64_t, width / 64> words_{};
};
static_assert(site_count_max * 17 - 2 <= bit_row::width, "the unknowns of the largest scheme fit in a row");

/// The span of rows added one after another, kept in echelon form with the lowest column first.
class row_space {
  public:
    row_space() { place_.fill(none); }

    /// Adds row number added(). Returns whether it is independent of those before.
    bool add(bit_row row);
    /// Which added rows XOR to `target`; nothing when it is outside of the span.
    std::optional<bit_row> express(bit_row target) const;

    unsigned added() const { return added_; }
    unsigned rank() const { return static_cast<unsigned>(basis_.size()); }
    /// The dimension of the part of the span that has zeros in all columns below `column`.
    unsigned rank_from(unsigned column) const;

  private:
    struct entry {
        bit_row row;
        bit_row made_of;  // added rows
    };
    static constexpr std::uint16_t none = 0xffff;

    void reduce(entry& e) const;

    std::vector<entry> basis_;
    std::array<std::uint16_t, bit_row::width> place_;  // pivot column -> index in basis_
    unsigned added_ = 0;
};

}  // namespace warifu
