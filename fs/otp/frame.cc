#include "fs/otp/frame.h"

namespace warifu {
namespace {

template <typename T>
void store_be(std::byte* out, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
        out[i] = static_cast<std::byte>((static_cast<std::uint64_t>(value) >> (8 * (sizeof(T) - 1 - i))) & 0xffU);
}

}  // namespace

frame_header_bytes encode_frame_header(const frame_header& header) {
    frame_header_bytes bytes;
    store_be(bytes.data(), header.offset);
    store_be(bytes.data() + 8, header.length);
    return bytes;
}

result<frame_header> decode_frame_header(bytes_view bytes) {
    reader in(bytes);
    frame_header header;
    TRY(header.offset, in.take_be<std::uint64_t>());
    TRY(header.length, in.take_be<std::uint32_t>());
    if (header.length == 0 || header.length > frame_payload_size_max)
        return fail(errc::bad_format, "a frame's length is out of range");
    return header;
}

std::array<std::byte, frame_header_block_size> frame_header_block(const frame_header& header, std::uint32_t number) {
    std::array<std::byte, frame_header_block_size> block;
    store_be(block.data(), header.offset);
    store_be(block.data() + 8, header.length);
    store_be(block.data() + 12, number);
    return block;
}

}  // namespace warifu
