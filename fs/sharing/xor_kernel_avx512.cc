#include <cstdint>

#include "fs/sharing/xor_kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>

// Only the functions of this region may use avx512; inline functions of other headers must not be compiled for it,
// because the linker may keep that copy for everybody.
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)

namespace warifu::xor_avx512 {
namespace {

using vec = __m512i;
constexpr std::size_t vec_size = sizeof(vec);
inline vec load(const std::byte* from) {
    return _mm512_loadu_si512(from);
}
inline void store(std::byte* to, vec value) {
    _mm512_storeu_si512(to, value);
}
inline vec both(vec a, vec b) {
    return _mm512_xor_si512(a, b);
}

}  // namespace

#include "fs/sharing/xor_kernel_body.inc"

}  // namespace warifu::xor_avx512

#pragma clang attribute pop
#endif
