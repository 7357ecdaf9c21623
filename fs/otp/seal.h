#pragma once
// The sender's half: seals plaintext into a pad window, in place, strictly forward.

#include <span>

#include "fs/otp/frame.h"

namespace warifu {

/// Seals the frames of one direction of one connection, window after window. Holds views only: the pad memory of a
/// window belongs to the caller and must stay until the frame's bytes have been written to the socket. Core thread
/// only.
class sealer {
  public:
    /// Starts the next window: `pad` holds the bytes of the stream from absolute `offset` on. Takes r from its first 16
    /// bytes and wipes them: no key is left in the pad's memory below cursor(), only ciphertext and tags.
    /// REQUIRES: pad.size() >= 16 and offset at or after the end of everything sealed before (a pad byte is used once).
    void start_window(std::uint64_t offset, bytes_span pad);

    /// The window's memory goes: nothing can be sealed until the next one starts.
    void end_window();

    /// The longest plaintext that still fits into the window as one frame; 0: start another window.
    std::size_t room() const;
    /// Absolute offset of the first pad byte that no frame has used.
    std::uint64_t cursor() const { return base_ + next_; }

    struct sealed {
        frame_header_bytes header;
        bytes_view body;  // ciphertext and tag, in the pad's memory
    };
    /// Encrypts the concatenation of `parts` over the pad and tags it, in one cache-sized pass.
    /// REQUIRES: 1 <= total size <= min(room(), frame_payload_size_max).
    sealed seal(std::span<const bytes_view> parts);

    std::uint64_t frame_count() const { return frame_count_; }

    sealer() = default;
    ~sealer() { wipe(r_); }
    sealer(const sealer&) = delete;
    sealer& operator=(const sealer&) = delete;

  private:
    one_time_mac mac_;
    std::array<std::byte, mac_point_size> r_{};
    std::uint64_t base_ = 0;
    bytes_span pad_;
    std::size_t next_ = 0;             // in pad_
    std::uint64_t sealed_below_ = 0;   // absolute; no frame may begin below it
    std::uint64_t frame_count_ = 0;
};

}  // namespace warifu
