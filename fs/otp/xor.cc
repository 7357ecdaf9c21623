#include "fs/otp/xor.h"

#include "fs/base/assert.h"

namespace warifu {
namespace detail {

void xor_portable(std::byte* out, const std::byte* a, const std::byte* b, std::size_t size) {
    std::size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        std::uint64_t x = 0;
        std::uint64_t y = 0;
        std::memcpy(&x, a + i, 8);
        std::memcpy(&y, b + i, 8);
        x ^= y;
        std::memcpy(out + i, &x, 8);
    }
    for (; i < size; ++i) out[i] = a[i] ^ b[i];
}

}  // namespace detail

const std::vector<xor_kernel>& xor_kernels() {
    static const std::vector<xor_kernel> kernels = [] {
        std::vector<xor_kernel> found{{"portable", detail::xor_portable}};
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx2")) found.push_back({"avx2", detail::xor_avx2});
#endif
        return found;
    }();
    return kernels;
}

void xor_to(bytes_span out, bytes_view a, bytes_view b) {
    WARIFU_ASSERT(a.size() == out.size() && b.size() == out.size());
    static const auto run = xor_kernels().back().run;
    run(out.data(), a.data(), b.data(), out.size());
}

}  // namespace warifu
