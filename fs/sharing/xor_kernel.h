#pragma once
// The one inner loop of sharing: out = XOR of several sources. One translation unit per instruction set, chosen once.

#include <cstddef>
#include <span>
#include <string_view>

namespace warifu {

/// out[0, size) = sources[0] ^ ... ^ sources[count-1]. REQUIRES: count >= 1, size a multiple of 16, no overlap of `out`
/// with a source. No alignment is needed.
using xor_kernel = void (*)(std::byte* out, const std::byte* const* sources, std::size_t count, std::size_t size);

struct named_xor_kernel {
    std::string_view name;  // "portable", "avx2", "avx512"
    xor_kernel run;
};

/// The kernels that this processor can run, slowest first; the portable one is always there.
std::span<const named_xor_kernel> available_xor_kernels();

/// The fastest of them. Chosen at the first call.
xor_kernel best_xor_kernel();

namespace xor_portable {
void xor_blocks(std::byte* out, const std::byte* const* sources, std::size_t count, std::size_t size);
}
namespace xor_avx2 {
void xor_blocks(std::byte* out, const std::byte* const* sources, std::size_t count, std::size_t size);
}
namespace xor_avx512 {
void xor_blocks(std::byte* out, const std::byte* const* sources, std::size_t count, std::size_t size);
}

}  // namespace warifu
