#pragma once
// Arithmetic in GF(2^128) = GF(2)[x] / (x^128 + x^7 + x^2 + x + 1), and polynomial evaluation over it: the field of
// data tags, share hashes and AMD codewords. An element is 16 bytes; bit i of byte j is the coefficient of x^(8j+i)
// (little-endian).

#include <array>
#include <span>

#include "fs/base/bytes.h"

namespace warifu {

struct gf128 {
    std::uint64_t low = 0;   // x^0 .. x^63
    std::uint64_t high = 0;  // x^64 .. x^127

    bool operator==(const gf128&) const = default;
    static gf128 load(const std::byte* bytes16);
    void store(std::byte* bytes16) const;
    gf128 operator^(const gf128& other) const { return {low ^ other.low, high ^ other.high}; }
};

/// The product. Constant time.
gf128 multiply(const gf128& a, const gf128& b);
gf128 power(gf128 base, std::uint64_t exponent);

/// How polynomials are evaluated: portable, with PCLMULQDQ, with VPCLMULQDQ on 256-bit and on 512-bit
/// registers. All give the same.
enum class gf128_kernel : std::uint8_t { portable, pclmul, vpclmul256, vpclmul };
/// Those that this processor can run, slowest first; the portable one is always there.
std::span<const gf128_kernel> available_gf128_kernels();

/// Powers of one point, for evaluating many polynomials at it many symbols at a time.
class gf128_point {
  public:
    explicit gf128_point(const gf128& r);
    /// Horner step over the 16-byte symbols m_1..m_d of `bytes` (zero-padded at the end):
    /// start * r^d + m_1 r^d + m_2 r^(d-1) + ... + m_d r^1. So evaluations chain: pass the last value as `start`.
    gf128 evaluate(bytes_view bytes, gf128 start = {}) const;
    /// The same with a kernel of available_gf128_kernels(), to compare them.
    gf128 evaluate_with(gf128_kernel kernel, bytes_view bytes, gf128 start = {}) const;
    const gf128& value() const { return powers_.back(); }

    static constexpr std::size_t power_count = 32;

  private:
    alignas(64) std::array<gf128, power_count> powers_;  // r^32 .. r^1: the order in which ascending symbols need them
};

}  // namespace warifu
