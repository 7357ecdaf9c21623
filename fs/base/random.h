#pragma once
// Random bytes with a claim (DESIGN section 4, "Randomness").

#include <memory>

#include "fs/base/bytes.h"
#include "fs/base/error.h"
#include "fs/base/ids.h"

namespace warifu {

/// What the bytes can promise. A volume shows the weakest of its randomness and its pads.
enum class claim : std::uint8_t { computational = 1, simulated = 2, information_theoretic = 3 };
std::string_view to_string(claim c);

/// Fills from the kernel (getrandom). For ids, nonces and seeds; 0.4 GB/s. Aborts if the kernel refuses.
void fill_kernel_random(bytes_span out);
std::uint64_t kernel_random_u64();
template <typename Id>
Id random_uuid() {
    Id id;
    fill_kernel_random(id.bytes);
    return id;
}

/// Where sharing randomness comes from. Not thread-safe: one instance per thread.
class random_source {
  public:
    virtual ~random_source() = default;
    virtual claim strength() const = 0;
    /// Starts a new chunk (drbg: draws a fresh key from the kernel).
    virtual result<void> begin_chunk() = 0;
    /// Fills `out`; no byte is ever given out twice. Errors: no_key when the source ran dry.
    virtual result<void> fill(bytes_span out) = 0;
};

/// AES-256-CTR, rekeyed from the kernel by begin_chunk() (8.7 GB/s). Claim: computational.
std::unique_ptr<random_source> make_drbg();

}  // namespace warifu
