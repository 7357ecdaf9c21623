#pragma once
// The receiver's half: accepts each pad offset once, in order, and only under a tag that verifies.

#include <deque>
#include <optional>

#include "fs/otp/frame.h"

namespace warifu {

/// Why frames were refused. Nothing of a refused frame is ever used.
struct open_counters {
    std::uint64_t accepted = 0;
    std::uint64_t replayed = 0;      // begins below what was accepted
    std::uint64_t out_of_place = 0;  // begins where no frame can begin, or does not fit into its window
    std::uint64_t forged = 0;        // the tag does not verify
    std::uint64_t retired = 0;       // windows given up after verification_failures_max failures
};

/// The windows that one direction of one connection may use, in order. Holds views of the pad memory. Core thread only.
class window_table {
  public:
    /// Adds a window behind the others; its first 16 bytes are wiped when they are taken. REQUIRES: offset at or after
    /// the last window's end; pad.size() >= 16.
    void add(std::uint64_t offset, bytes_span pad);

    /// Verifies a frame and moves the cursor over it. Returns the pad bytes to XOR its ciphertext with (valid until the
    /// next call, which wipes them). A frame may begin at the cursor or at the start of a later window; windows before
    /// that one count as used up. Errors: bad_tag, nothing moves except the failure count of the window; no_key when
    /// that window is or becomes retired.
    result<bytes_view> accept(const frame_header& header, bytes_view ciphertext, bytes_view tag);

    /// Windows wholly behind the cursor's window since the last call: how many the owner may drop from its front. No
    /// key is left in them.
    std::size_t take_finished() { return std::exchange(finished_, 0); }

    /// The windows' memory goes: no frame is accepted until another is added.
    void clear();

    /// Absolute offset of the first pad byte that no accepted frame has used (0 without windows).
    std::uint64_t cursor() const { return windows_.empty() ? 0 : windows_.front().offset + windows_.front().next; }
    std::size_t window_count() const { return windows_.size(); }
    const open_counters& counters() const { return counters_; }

    window_table() = default;
    ~window_table();
    window_table(const window_table&) = delete;
    window_table& operator=(const window_table&) = delete;

  private:
    struct window {
        std::uint64_t offset = 0;
        bytes_span pad;
        std::size_t next = mac_point_size;
        unsigned failures = 0;
        std::array<std::byte, mac_point_size> r{};
    };
    std::optional<std::size_t> find(const frame_header& header);

    one_time_mac mac_;
    std::deque<window> windows_;
    bytes_span opened_;  // pad of the frame that was accepted last
    std::size_t finished_ = 0;
    std::uint64_t frame_count_ = 0;
    open_counters counters_;
};

}  // namespace warifu
