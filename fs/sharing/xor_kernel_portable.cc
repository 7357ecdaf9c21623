#include <cstdint>

#include "fs/sharing/xor_kernel.h"

namespace warifu::xor_portable {
namespace {

using vec = std::uint64_t;
constexpr std::size_t vec_size = sizeof(vec);
inline vec load(const std::byte* from) {
    vec value;
    __builtin_memcpy(&value, from, vec_size);
    return value;
}
inline void store(std::byte* to, vec value) {
    __builtin_memcpy(to, &value, vec_size);
}
inline vec both(vec a, vec b) {
    return a ^ b;
}

}  // namespace

#include "fs/sharing/xor_kernel_body.inc"

}  // namespace warifu::xor_portable
