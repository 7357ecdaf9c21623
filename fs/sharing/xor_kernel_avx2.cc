#include <cstdint>

#include "fs/sharing/xor_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

// Only the functions of this region may use avx2; inline functions of other headers must not be compiled for it,
// because the linker may keep that copy for everybody.
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)

namespace warifu::xor_avx2 {
namespace {

using vec = __m256i;
constexpr std::size_t vec_size = sizeof(vec);
inline vec load(const std::byte* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
inline void store(std::byte* to, vec value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), value);
}
inline vec both(vec a, vec b) {
    return _mm256_xor_si256(a, b);
}

}  // namespace

#include "fs/sharing/xor_kernel_body.inc"

}  // namespace warifu::xor_avx2

#pragma clang attribute pop
#endif
