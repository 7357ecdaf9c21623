#include "fs/otp/xor.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace warifu::detail {

__attribute__((target("avx2"))) void xor_avx2(std::byte* out, const std::byte* a, const std::byte* b,
                                              std::size_t size) {
    const auto load = [](const std::byte* p) __attribute__((target("avx2"))) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    };
    std::size_t i = 0;
    for (; i + 128 <= size; i += 128) {
        const __m256i w0 = _mm256_xor_si256(load(a + i), load(b + i));
        const __m256i w1 = _mm256_xor_si256(load(a + i + 32), load(b + i + 32));
        const __m256i w2 = _mm256_xor_si256(load(a + i + 64), load(b + i + 64));
        const __m256i w3 = _mm256_xor_si256(load(a + i + 96), load(b + i + 96));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), w0);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i + 32), w1);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i + 64), w2);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i + 96), w3);
    }
    for (; i + 32 <= size; i += 32)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_xor_si256(load(a + i), load(b + i)));
    xor_portable(out + i, a + i, b + i, size - i);
}

}  // namespace warifu::detail
#endif
