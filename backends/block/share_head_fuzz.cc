// Any sectors as the head of a share. What decodes must encode to the same meaning.

#include "backends/block/fuzz_seal.h"
#include "backends/block/share_head.h"
#include "fs/base/assert.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace warifu;
    byte_vector sectors = copy_of_input(data, size);
    static_cast<void>(decode_share_head(sectors));
    sectors.resize(std::max<std::size_t>(1, sectors.size() / sector_size) * sector_size);
    seal(sectors, 12);
    static_cast<void>(outline_share_head(bytes_view(sectors).first(sector_size)));
    const auto head = decode_share_head(sectors);
    if (!head) return 0;
    const auto encoded = encode_share_head(*head);
    const auto again = decode_share_head(encoded.bytes.view());
    WARIFU_ASSERT(again && *again == *head);
    return 0;
}
