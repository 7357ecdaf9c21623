#include "fs/sharing/xor_kernel.h"

#include <vector>

namespace warifu {

std::span<const named_xor_kernel> available_xor_kernels() {
    static const std::vector<named_xor_kernel> kernels = [] {
        std::vector<named_xor_kernel> found{{"portable", &xor_portable::xor_blocks}};
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx2")) found.push_back({"avx2", &xor_avx2::xor_blocks});
        if (__builtin_cpu_supports("avx512f")) found.push_back({"avx512", &xor_avx512::xor_blocks});
#endif
        return found;
    }();
    return kernels;
}

xor_kernel best_xor_kernel() {
    static const xor_kernel best = available_xor_kernels().back().run;
    return best;
}

}  // namespace warifu
