// Arbitrary bytes as the header of a pad file: a value within the limits or a clear error. The input is extended by
// zeros, and every second time given the checksum that it should have, so that the fields behind it are reached.

#include <algorithm>
#include <cstdint>

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "keyd/pool/pad_file.h"

namespace {

using namespace warifu;

void check(bytes_view sector) {
    const auto header = decode_pad_header(sector);
    if (!header) {
        WARIFU_ASSERT(!header.error().text.empty());
        return;
    }
    WARIFU_ASSERT(check_block_header(header->block));
    const auto again = decode_pad_header(encode_pad_header(*header));
    WARIFU_ASSERT(again && again->block == header->block && again->data_crc == header->data_crc);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const bytes_view input = std::as_bytes(std::span(data, size));
    check(input);
    byte_vector sector(pad_header_size);
    std::ranges::copy(input.first(std::min(size, sector.size())), sector.begin());
    check(sector);
    writer crc;
    crc.put_be(crc32c(bytes_view(sector).first(pad_header_size - 4)));
    std::ranges::copy(crc.view(), sector.end() - 4);
    check(sector);
    return 0;
}
