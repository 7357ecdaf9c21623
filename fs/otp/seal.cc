#include "fs/otp/seal.h"

#include "fs/base/assert.h"
#include "fs/otp/xor.h"

namespace warifu {
namespace {

constexpr std::size_t pass_size = 16U << 10U;  // XORed, then tagged while still in the first-level cache

}  // namespace

void sealer::start_window(std::uint64_t offset, bytes_span pad) {
    WARIFU_ASSERT(pad.size() >= mac_point_size);
    WARIFU_ASSERT(offset >= sealed_below_);
    std::memcpy(r_.data(), pad.data(), r_.size());
    wipe(pad.first(r_.size()));
    base_ = offset;
    pad_ = pad;
    next_ = mac_point_size;
    sealed_below_ = base_ + next_;
}

void sealer::end_window() {
    base_ = cursor();
    pad_ = {};
    next_ = 0;
    wipe(r_);
}

std::size_t sealer::room() const {
    const std::size_t left = pad_.size() - next_;
    return left > mac_mask_size ? left - mac_mask_size : 0;
}

sealer::sealed sealer::seal(std::span<const bytes_view> parts) {
    std::size_t size = 0;
    for (const auto& part : parts) size += part.size();
    WARIFU_ASSERT(size > 0 && size <= frame_payload_size_max && size <= room());
    WARIFU_ASSERT(cursor() >= sealed_below_);

    const frame_header header{cursor(), static_cast<std::uint32_t>(size)};
    const bytes_span text = pad_.subspan(next_, size);
    const bytes_span mask = pad_.subspan(next_ + size, mac_mask_size);
    sealed_below_ = header.offset + size + mac_mask_size;
    next_ += size + mac_mask_size;

    mac_.begin(r_, mask);
    mac_.update(frame_header_block(header, static_cast<std::uint32_t>(frame_count_++)));
    std::size_t encrypted = 0;
    std::size_t tagged = 0;
    for (bytes_view part : parts) {
        while (!part.empty()) {
            const std::size_t step = std::min(part.size(), pass_size - (encrypted - tagged));
            const bytes_span target = text.subspan(encrypted, step);
            xor_to(target, target, part.first(step));
            part = part.subspan(step);
            encrypted += step;
            if (encrypted - tagged == pass_size) {
                mac_.update(text.subspan(tagged, pass_size));
                tagged = encrypted;
            }
        }
    }
    mac_.update(text.subspan(tagged));
    const mac_tag tag = mac_.finish();
    std::memcpy(mask.data(), tag.data(), tag.size());
    return {encode_frame_header(header), pad_.subspan(next_ - size - mac_mask_size, size + mac_mask_size)};
}

}  // namespace warifu
