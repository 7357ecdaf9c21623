#include "fs/base/gf128.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace warifu {
namespace {

/// Folds a 256-bit product (w0 lowest) modulo x^128 + x^7 + x^2 + x + 1.
gf128 reduce(std::uint64_t w0, std::uint64_t w1, std::uint64_t w2, std::uint64_t w3) {
    // x^128 = x^7 + x^2 + x + 1, so word 3 folds into words 1 and 2, then word 2 into words 0 and 1.
    w2 ^= (w3 >> 63U) ^ (w3 >> 62U) ^ (w3 >> 57U);
    w1 ^= w3 ^ (w3 << 1U) ^ (w3 << 2U) ^ (w3 << 7U);
    w1 ^= (w2 >> 63U) ^ (w2 >> 62U) ^ (w2 >> 57U);
    w0 ^= w2 ^ (w2 << 1U) ^ (w2 << 2U) ^ (w2 << 7U);
    return {w0, w1};
}

struct product256 {
    std::uint64_t w0 = 0, w1 = 0, w2 = 0, w3 = 0;
};

product256 multiply_portable(const gf128& a, const gf128& b) {
    product256 r;
    std::uint64_t s0 = a.low, s1 = a.high, s2 = 0, s3 = 0;
    for (unsigned i = 0; i < 128; ++i) {
        const std::uint64_t bit = ((i < 64 ? b.low >> i : b.high >> (i - 64U)) & 1U);
        const std::uint64_t mask = 0 - bit;
        r.w0 ^= s0 & mask;
        r.w1 ^= s1 & mask;
        r.w2 ^= s2 & mask;
        r.w3 ^= s3 & mask;
        s3 = (s3 << 1U) | (s2 >> 63U);
        s2 = (s2 << 1U) | (s1 >> 63U);
        s1 = (s1 << 1U) | (s0 >> 63U);
        s0 <<= 1U;
    }
    return r;
}

#if defined(__x86_64__)
struct accumulator {
    __m128i low, middle, high;
};

__attribute__((target("pclmul,sse4.1"))) inline __m128i to_vector(const gf128& a) {
    return _mm_set_epi64x(static_cast<long long>(a.high), static_cast<long long>(a.low));
}

__attribute__((target("pclmul,sse4.1"))) inline void add_product(accumulator& sum, __m128i a, __m128i b) {
    sum.low = _mm_xor_si128(sum.low, _mm_clmulepi64_si128(a, b, 0x00));
    sum.high = _mm_xor_si128(sum.high, _mm_clmulepi64_si128(a, b, 0x11));
    sum.middle = _mm_xor_si128(
        sum.middle, _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01), _mm_clmulepi64_si128(a, b, 0x10)));
}

__attribute__((target("pclmul,sse4.1"))) inline gf128 fold(const accumulator& sum) {
    const __m128i low = _mm_xor_si128(sum.low, _mm_slli_si128(sum.middle, 8));
    const __m128i high = _mm_xor_si128(sum.high, _mm_srli_si128(sum.middle, 8));
    return reduce(static_cast<std::uint64_t>(_mm_extract_epi64(low, 0)),
                  static_cast<std::uint64_t>(_mm_extract_epi64(low, 1)),
                  static_cast<std::uint64_t>(_mm_extract_epi64(high, 0)),
                  static_cast<std::uint64_t>(_mm_extract_epi64(high, 1)));
}

__attribute__((target("pclmul,sse4.1"))) gf128 multiply_pclmul(const gf128& a, const gf128& b) {
    const __m128i zero = _mm_setzero_si128();
    accumulator sum{zero, zero, zero};
    add_product(sum, to_vector(a), to_vector(b));
    return fold(sum);
}

/// Eight symbols a step: one reduction for eight products.
__attribute__((target("pclmul,sse4.1"))) gf128 evaluate_pclmul(const std::array<gf128, 8>& powers, bytes_view bytes,
                                                               gf128 value) {
    const __m128i zero = _mm_setzero_si128();
    std::array<__m128i, 8> r{};
    for (std::size_t i = 0; i < 8; ++i) r[i] = to_vector(powers[i]);
    while (bytes.size() >= 128) {
        accumulator sum{zero, zero, zero};
        for (std::size_t i = 0; i < 8; ++i) {
            __m128i m = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes.data() + 16 * i));
            if (i == 0) m = _mm_xor_si128(m, to_vector(value));
            add_product(sum, m, r[7 - i]);
        }
        value = fold(sum);
        bytes = bytes.subspan(128);
    }
    while (bytes.size() >= 16) {
        accumulator sum{zero, zero, zero};
        add_product(sum, to_vector(value ^ gf128::load(bytes.data())), r[0]);
        value = fold(sum);
        bytes = bytes.subspan(16);
    }
    if (!bytes.empty()) {
        std::array<std::byte, 16> last{};
        std::memcpy(last.data(), bytes.data(), bytes.size());
        value = multiply_pclmul(value ^ gf128::load(last.data()), powers[0]);
    }
    return value;
}

bool has_pclmul() {
    static const bool yes = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
    return yes;
}
#endif

gf128 evaluate_portable(const gf128& r, bytes_view bytes, gf128 value) {
    while (!bytes.empty()) {
        std::array<std::byte, 16> symbol{};
        const std::size_t size = bytes.size() < 16 ? bytes.size() : 16;
        std::memcpy(symbol.data(), bytes.data(), size);
        value = multiply(value ^ gf128::load(symbol.data()), r);
        bytes = bytes.subspan(size);
    }
    return value;
}

}  // namespace

gf128 gf128::load(const std::byte* bytes16) {
    gf128 value;
    std::memcpy(&value.low, bytes16, 8);
    std::memcpy(&value.high, bytes16 + 8, 8);
    return value;
}

void gf128::store(std::byte* bytes16) const {
    std::memcpy(bytes16, &low, 8);
    std::memcpy(bytes16 + 8, &high, 8);
}

gf128 multiply(const gf128& a, const gf128& b) {
#if defined(__x86_64__)
    if (has_pclmul()) return multiply_pclmul(a, b);
#endif
    const product256 p = multiply_portable(a, b);
    return reduce(p.w0, p.w1, p.w2, p.w3);
}

gf128 power(gf128 base, std::uint64_t exponent) {
    gf128 value{1, 0};
    for (; exponent != 0; exponent >>= 1U) {
        if ((exponent & 1U) != 0) value = multiply(value, base);
        base = multiply(base, base);
    }
    return value;
}

gf128_point::gf128_point(const gf128& r) {
    powers_[0] = r;
    for (std::size_t i = 1; i < powers_.size(); ++i) powers_[i] = multiply(powers_[i - 1], r);
}

gf128 gf128_point::evaluate(bytes_view bytes, gf128 start) const {
#if defined(__x86_64__)
    if (has_pclmul()) return evaluate_pclmul(powers_, bytes, start);
#endif
    return evaluate_portable(powers_[0], bytes, start);
}

}  // namespace warifu
