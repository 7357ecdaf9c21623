// Any sector as a superblock. What decodes must encode to the same meaning.

#include "backends/block/fuzz_seal.h"
#include "backends/block/superblock.h"
#include "fs/base/assert.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace warifu;
    byte_vector sector = copy_of_input(data, size);
    static_cast<void>(decode_superblock(sector, 0));
    sector.resize(sector_size);
    seal(sector, 12);
    const auto block = decode_superblock(sector, 0);
    if (!block) return 0;
    const auto again = decode_superblock(encode_superblock(*block, 0), 0);
    WARIFU_ASSERT(again && *again == *block);
    return 0;
}
