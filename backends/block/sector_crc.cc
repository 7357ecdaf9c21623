#include "backends/block/sector_crc.h"

#include "fs/base/assert.h"
#include "fs/base/crc32c.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace warifu {
namespace {

constexpr std::size_t lanes = 4;

#if defined(__x86_64__)
/// Four sectors side by side: the instruction has a latency of three cycles and starts every cycle.
__attribute__((target("sse4.2"))) void four_sectors_sse42(const std::byte* p, std::uint32_t* out) {
    std::uint64_t crc[lanes] = {0xffffffffU, 0xffffffffU, 0xffffffffU, 0xffffffffU};
    for (std::size_t i = 0; i < sector_size; i += 8) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            std::uint64_t word = 0;
            std::memcpy(&word, p + lane * sector_size + i, 8);
            crc[lane] = _mm_crc32_u64(crc[lane], word);
        }
    }
    for (std::size_t lane = 0; lane < lanes; ++lane) out[lane] = ~static_cast<std::uint32_t>(crc[lane]);
}
#endif

void four_sectors_portable(const std::byte* p, std::uint32_t* out) {
    for (std::size_t lane = 0; lane < lanes; ++lane) out[lane] = crc32c({p + lane * sector_size, sector_size});
}

using four_sectors_function = void (*)(const std::byte*, std::uint32_t*);

four_sectors_function choose() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return four_sectors_sse42;
#endif
    return four_sectors_portable;
}

void checksum_run(bytes_view sectors, std::uint32_t* out) {
    static const four_sectors_function four_sectors = choose();
    WARIFU_ASSERT(sectors.size() % sector_size == 0);
    const std::size_t count = sectors.size() / sector_size;
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) four_sectors(sectors.data() + i * sector_size, out + i);
    for (; i < count; ++i) out[i] = crc32c(sectors.subspan(i * sector_size, sector_size));
}

}  // namespace

std::vector<std::uint32_t> sector_checksums(std::span<const bytes_view> views) {
    std::size_t count = 0;
    for (const bytes_view view : views) count += view.size() / sector_size;
    std::vector<std::uint32_t> out(count);
    std::size_t at = 0;
    for (const bytes_view view : views) {
        checksum_run(view, out.data() + at);
        at += view.size() / sector_size;
    }
    return out;
}

bool sectors_match(bytes_view sectors, std::span<const std::uint32_t> checksums) {
    std::uint32_t found[64];
    for (std::size_t at = 0; at < sectors.size(); at += sizeof found / 4 * sector_size) {
        const bytes_view run = sectors.subspan(at, std::min(sectors.size() - at, sizeof found / 4 * sector_size));
        checksum_run(run, found);
        for (std::size_t i = 0; i < run.size() / sector_size; ++i)
            if (found[i] != checksums[at / sector_size + i]) return false;
    }
    return true;
}

}  // namespace warifu
