#include "fs/otp/open.h"

#include "fs/base/assert.h"

namespace warifu {

window_table::~window_table() {
    clear();
}

void window_table::clear() {
    for (auto& w : windows_) wipe(w.r);
    windows_.clear();
    opened_ = {};
}

void window_table::add(std::uint64_t offset, bytes_span pad) {
    WARIFU_ASSERT(pad.size() >= mac_point_size);
    WARIFU_ASSERT(windows_.empty() || offset >= windows_.back().offset + windows_.back().pad.size());
    window w;
    w.offset = offset;
    w.pad = pad;
    std::memcpy(w.r.data(), pad.data(), w.r.size());
    wipe(pad.first(w.r.size()));
    windows_.push_back(w);
    wipe(w.r);
}

/// The window in which a frame may begin at this offset; counts what it refuses.
std::optional<std::size_t> window_table::find(const frame_header& header) {
    if (!windows_.empty() && header.offset < cursor()) {
        ++counters_.replayed;
        return std::nullopt;
    }
    for (std::size_t i = 0; i < windows_.size(); ++i) {
        const window& w = windows_[i];
        if (header.offset != w.offset + w.next) continue;
        if (header.length + mac_mask_size > w.pad.size() - w.next) break;
        return i;
    }
    ++counters_.out_of_place;
    return std::nullopt;
}

result<bytes_view> window_table::accept(const frame_header& header, bytes_view ciphertext, bytes_view tag) {
    WARIFU_ASSERT(ciphertext.size() == header.length && tag.size() == mac_tag_size);
    wipe(std::exchange(opened_, {}));
    const auto index = find(header);
    if (!index) return fail(errc::bad_tag, "a frame begins at a pad offset that is not next");
    window& w = windows_[*index];
    if (w.failures >= verification_failures_max) return fail(errc::no_key, "the pad window is retired");

    const bytes_view pad = w.pad.subspan(w.next, header.length);
    mac_.begin(w.r, w.pad.subspan(w.next + header.length, mac_mask_size));
    mac_.update(frame_header_block(header, static_cast<std::uint32_t>(frame_count_)));
    mac_.update(ciphertext);
    if (!equal_constant_time(mac_.finish(), tag)) {
        ++counters_.forged;
        if (++w.failures < verification_failures_max) return fail(errc::bad_tag, "a frame's tag does not verify");
        ++counters_.retired;
        return fail(errc::no_key, "a frame's tag does not verify; the pad window is retired");
    }
    ++frame_count_;
    ++counters_.accepted;
    opened_ = w.pad.subspan(w.next, header.length + mac_mask_size);
    w.next += header.length + mac_mask_size;
    for (std::size_t i = 0; i < *index; ++i) {
        window& finished = windows_.front();
        wipe(finished.pad.subspan(finished.next));
        wipe(finished.r);
        windows_.pop_front();
        ++finished_;
    }
    return pad;
}

}  // namespace warifu
