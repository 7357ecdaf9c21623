#pragma once
// XOR of byte runs: the encryption itself. One kernel per instruction set, chosen once at start and compared in tests.

#include <string_view>
#include <vector>

#include "fs/base/bytes.h"

namespace warifu {

/// out[i] = a[i] ^ b[i]. REQUIRES: equal sizes; `out` equals `a` or `b` or overlaps neither. No alignment needed.
void xor_to(bytes_span out, bytes_view a, bytes_view b);

/// One kernel: out[0..size) = a ^ b, same aliasing rule as xor_to.
struct xor_kernel {
    std::string_view name;
    void (*run)(std::byte* out, const std::byte* a, const std::byte* b, std::size_t size);
};

/// The kernels that this processor can run, the portable one first, the chosen one last.
const std::vector<xor_kernel>& xor_kernels();

namespace detail {
void xor_portable(std::byte* out, const std::byte* a, const std::byte* b, std::size_t size);
void xor_avx2(std::byte* out, const std::byte* a, const std::byte* b, std::size_t size);
}  // namespace detail

}  // namespace warifu
