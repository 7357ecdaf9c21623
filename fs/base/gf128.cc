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
    sum.middle =
        _mm_xor_si128(sum.middle, _mm_xor_si128(_mm_clmulepi64_si128(a, b, 0x01), _mm_clmulepi64_si128(a, b, 0x10)));
}

__attribute__((target("pclmul,sse4.1"))) inline gf128 from_vector(__m128i a) {
    return {static_cast<std::uint64_t>(_mm_extract_epi64(a, 0)), static_cast<std::uint64_t>(_mm_extract_epi64(a, 1))};
}

/// The sum of products modulo x^128 + x^7 + x^2 + x + 1: x^128 = 0x87, so the upper half folds down in two products.
__attribute__((target("pclmul,sse4.1"))) inline __m128i fold(const accumulator& sum) {
    const __m128i reduction = _mm_set_epi64x(0, 0x87);
    __m128i low = _mm_xor_si128(sum.low, _mm_slli_si128(sum.middle, 8));
    __m128i high = _mm_xor_si128(sum.high, _mm_srli_si128(sum.middle, 8));
    const __m128i upper = _mm_clmulepi64_si128(high, reduction, 0x01);
    low = _mm_xor_si128(low, _mm_slli_si128(upper, 8));
    high = _mm_xor_si128(high, _mm_srli_si128(upper, 8));
    return _mm_xor_si128(low, _mm_clmulepi64_si128(high, reduction, 0x00));
}

__attribute__((target("pclmul,sse4.1"))) gf128 multiply_pclmul(const gf128& a, const gf128& b) {
    const __m128i zero = _mm_setzero_si128();
    accumulator sum{zero, zero, zero};
    add_product(sum, to_vector(a), to_vector(b));
    return from_vector(fold(sum));
}

using powers_array = std::array<gf128, gf128_point::power_count>;

/// Products of whole symbols with the powers that end at r^1. REQUIRES: at most power_count of them.
__attribute__((target("pclmul,sse4.1"))) inline __m128i step_pclmul(const powers_array& powers, const std::byte* bytes,
                                                                    std::size_t symbols, __m128i value) {
    const __m128i zero = _mm_setzero_si128();
    accumulator sum{zero, zero, zero};
    const gf128* power = powers.data() + powers.size() - symbols;
    for (std::size_t i = 0; i < symbols; ++i) {
        __m128i m = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 16 * i));
        if (i == 0) m = _mm_xor_si128(m, value);
        add_product(sum, m, _mm_loadu_si128(reinterpret_cast<const __m128i*>(power + i)));
    }
    return fold(sum);
}

/// One reduction for 16 products, so that its latency is hidden behind them.
__attribute__((target("pclmul,sse4.1"))) gf128 evaluate_pclmul(const powers_array& powers, bytes_view bytes,
                                                               gf128 start) {
    constexpr std::size_t step = 16;
    __m128i value = to_vector(start);
    for (; bytes.size() >= 16 * step; bytes = bytes.subspan(16 * step))
        value = step_pclmul(powers, bytes.data(), step, value);
    const std::size_t whole = bytes.size() / 16;
    if (whole != 0) value = step_pclmul(powers, bytes.data(), whole, value);
    bytes = bytes.subspan(whole * 16);
    if (!bytes.empty()) {
        std::array<std::byte, 16> last{};
        std::memcpy(last.data(), bytes.data(), bytes.size());
        value = step_pclmul(powers, last.data(), 1, value);
    }
    return from_vector(value);
}

// The two wider kernels are written out: a template over them cannot carry their targets, so that nothing is inlined
// into it, which costs 40 % (measured).

/// The same with two symbols a register, for processors without AVX-512. REQUIRES: `vectors` <= power_count / 2.
__attribute__((target("avx2,vpclmulqdq,pclmul,sse4.1"))) inline __m128i step_vpclmul256(const powers_array& powers,
                                                                                        const std::byte* bytes,
                                                                                        std::size_t vectors,
                                                                                        __m128i value) {
    __m256i low = _mm256_setzero_si256(), middle = low, high = low;
    const gf128* power = powers.data() + powers.size() - 2 * vectors;
    for (std::size_t v = vectors; v-- > 0;) {  // the value enters last, when everything else is under way
        __m256i m = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes + 32 * v));
        if (v == 0) m = _mm256_xor_si256(m, _mm256_zextsi128_si256(value));
        const __m256i p = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(power + 2 * v));
        low = _mm256_xor_si256(low, _mm256_clmulepi64_epi128(m, p, 0x00));
        high = _mm256_xor_si256(high, _mm256_clmulepi64_epi128(m, p, 0x11));
        middle = _mm256_xor_si256(
            middle, _mm256_xor_si256(_mm256_clmulepi64_epi128(m, p, 0x01), _mm256_clmulepi64_epi128(m, p, 0x10)));
    }
    const auto lanes = [](__m256i a) __attribute__((target("avx2"))) {
        return _mm_xor_si128(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    };
    return fold(accumulator{lanes(low), lanes(middle), lanes(high)});
}

__attribute__((target("avx2,vpclmulqdq,pclmul,sse4.1"))) gf128 evaluate_vpclmul256(const powers_array& powers,
                                                                                   bytes_view bytes, gf128 start) {
    constexpr std::size_t vectors_max = gf128_point::power_count / 2;
    __m128i value = to_vector(start);
    for (; bytes.size() >= 32 * vectors_max; bytes = bytes.subspan(32 * vectors_max))
        value = step_vpclmul256(powers, bytes.data(), vectors_max, value);
    const std::size_t whole = bytes.size() / 32;
    if (whole != 0) value = step_vpclmul256(powers, bytes.data(), whole, value);
    return evaluate_pclmul(powers, bytes.subspan(whole * 32), from_vector(value));
}

/// The same with four symbols a register. REQUIRES: `vectors` <= power_count / 4.
__attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.1"))) inline __m128i step_vpclmul(const powers_array& powers,
                                                                                        const std::byte* bytes,
                                                                                        std::size_t vectors,
                                                                                        __m128i value) {
    __m512i low = _mm512_setzero_si512(), middle = low, high = low;
    const gf128* power = powers.data() + powers.size() - 4 * vectors;
    for (std::size_t v = vectors; v-- > 0;) {  // the value enters last, when everything else is under way
        __m512i m = _mm512_loadu_si512(bytes + 64 * v);
        if (v == 0) m = _mm512_xor_si512(m, _mm512_zextsi128_si512(value));
        const __m512i p = _mm512_loadu_si512(power + 4 * v);
        low = _mm512_xor_si512(low, _mm512_clmulepi64_epi128(m, p, 0x00));
        high = _mm512_xor_si512(high, _mm512_clmulepi64_epi128(m, p, 0x11));
        middle = _mm512_xor_si512(
            middle, _mm512_xor_si512(_mm512_clmulepi64_epi128(m, p, 0x01), _mm512_clmulepi64_epi128(m, p, 0x10)));
    }
    const auto lanes = [](__m512i a) __attribute__((target("avx512f"))) {
        const __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
        return _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    };
    return fold(accumulator{lanes(low), lanes(middle), lanes(high)});
}

__attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.1"))) gf128 evaluate_vpclmul(const powers_array& powers,
                                                                                   bytes_view bytes, gf128 start) {
    constexpr std::size_t vectors_max = gf128_point::power_count / 4;
    __m128i value = to_vector(start);
    for (; bytes.size() >= 64 * vectors_max; bytes = bytes.subspan(64 * vectors_max))
        value = step_vpclmul(powers, bytes.data(), vectors_max, value);
    const std::size_t whole = bytes.size() / 64;
    if (whole != 0) value = step_vpclmul(powers, bytes.data(), whole, value);
    return evaluate_pclmul(powers, bytes.subspan(whole * 64), from_vector(value));
}

bool has_pclmul() {
    static const bool yes = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
    return yes;
}
bool has_vpclmul256() {
    static const bool yes = has_pclmul() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq");
    return yes;
}
bool has_vpclmul() {
    static const bool yes = has_pclmul() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
    return yes;
}
#endif

gf128 evaluate_portable(const gf128& r, bytes_view bytes, gf128 value) {
    while (!bytes.empty()) {
        std::array<std::byte, 16> symbol{};
        const std::size_t size = bytes.size() < 16 ? bytes.size() : 16;
        std::memcpy(symbol.data(), bytes.data(), size);
        const product256 p = multiply_portable(value ^ gf128::load(symbol.data()), r);
        value = reduce(p.w0, p.w1, p.w2, p.w3);
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

std::span<const gf128_kernel> available_gf128_kernels() {
    static constexpr std::array<gf128_kernel, 4> all{gf128_kernel::portable, gf128_kernel::pclmul,
                                                     gf128_kernel::vpclmul256, gf128_kernel::vpclmul};
    std::size_t count = 1;
#if defined(__x86_64__)
    if (has_pclmul()) count = 2;
    if (has_vpclmul256()) count = 3;
    if (has_vpclmul256() && has_vpclmul()) count = 4;
#endif
    return std::span(all).first(count);
}

gf128_point::gf128_point(const gf128& r) {
    powers_.back() = r;
    for (std::size_t i = powers_.size() - 1; i-- > 0;) powers_[i] = multiply(powers_[i + 1], r);
}

gf128 gf128_point::evaluate(bytes_view bytes, gf128 start) const {
    static const gf128_kernel best = available_gf128_kernels().back();
    return evaluate_with(best, bytes, start);
}

gf128 gf128_point::evaluate_with(gf128_kernel kernel, bytes_view bytes, gf128 start) const {
#if defined(__x86_64__)
    if (kernel == gf128_kernel::vpclmul) return evaluate_vpclmul(powers_, bytes, start);
    if (kernel == gf128_kernel::vpclmul256) return evaluate_vpclmul256(powers_, bytes, start);
    if (kernel == gf128_kernel::pclmul) return evaluate_pclmul(powers_, bytes, start);
#else
    static_cast<void>(kernel);
#endif
    return evaluate_portable(powers_.back(), bytes, start);
}

}  // namespace warifu
