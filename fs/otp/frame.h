#pragma once
// A sealed frame (fs/otp/FORMAT.md). On the wire:
//
//     u64 offset   absolute pad offset of the first ciphertext byte      } in clear
//     u32 length   ciphertext bytes, 1 .. frame_payload_size_max          }
//     length bytes ciphertext = plaintext XOR pad
//     16 bytes     tag = Poly1305(r, s; header block || ciphertext)
//
// A frame consumes length + 16 pad bytes: the 16 after those of the ciphertext are its mask s, and its tag takes their
// place. The first 16 bytes of a pad window are the window's r and never leave the process. The header block also holds
// the frame's number in its direction of the connection, which is not sent: a frame that was dropped or moved makes the
// next one fail.

#include "fs/base/codec.h"
#include "fs/base/limits.h"
#include "fs/otp/mac.h"

namespace warifu {

struct frame_header {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
};

inline constexpr std::size_t frame_header_size = 12;
inline constexpr std::size_t frame_header_block_size = 16;  // what the MAC covers: u64 offset, u32 length, u32 number
inline constexpr std::size_t frame_overhead = frame_header_size + mac_tag_size;
inline constexpr std::size_t frame_size_max = frame_overhead + frame_payload_size_max;
static_assert(sizeof(frame_header::offset) + sizeof(frame_header::length) == frame_header_size);
static_assert(frame_header_size + sizeof(std::uint32_t) == frame_header_block_size);

using frame_header_bytes = std::array<std::byte, frame_header_size>;

frame_header_bytes encode_frame_header(const frame_header& header);
/// Errors: bad_format (too short, or a length that no frame has): nothing else may be allocated or read for such a
/// frame.
result<frame_header> decode_frame_header(bytes_view bytes);

/// What the MAC covers before the ciphertext. `number` counts the frames of one direction of one connection from 0,
/// modulo 2^32 (offsets only grow, so a wrap joins no two frames).
std::array<std::byte, frame_header_block_size> frame_header_block(const frame_header& header, std::uint32_t number);

}  // namespace warifu
