// A receiver of sealed frames against an adversary on the wire: whatever is dropped, changed, moved, repeated or made
// up, what it accepts is the honest sender's next frame, bit for bit. Input: a script, see `step`.

#include <cstdlib>
#include <cstring>
#include <vector>

#include "fs/otp/open.h"
#include "fs/otp/seal.h"

namespace {

using namespace warifu;

struct frame {
    frame_header_bytes header{};
    byte_vector body;  // ciphertext and tag
    byte_vector plaintext;
};

void require(bool holds) {
    if (!holds) std::abort();
}

/// Both ends of one direction, with three short windows of the same made-up pad.
class wire {
  public:
    wire() {
        std::uint64_t state = 1;
        for (std::size_t i = 0; i < window_count; ++i) {
            for (auto& b : sender_pad_[i])
                b = static_cast<std::byte>((state = state * 6364136223846793005U + 1) >> 56U);
            receiver_pad_[i] = sender_pad_[i];
            table_.add(window_offsets[i], receiver_pad_[i]);
        }
    }

    /// u8 what, then: 0 seal (u8 size - 1, bytes), 1 deliver frame (u8), 2 deliver frame (u8) with byte (u16) XOR (u8),
    /// 3 deliver 12 + 16 + length bytes of the script as they are, 4 the sender's next window.
    bool step(reader& in) {
        const auto what = in.take_be<std::uint8_t>();
        if (!what) return false;
        switch (*what % 5) {
            case 0:
                return seal(in);
            case 1:
            case 2:
                return deliver_sealed(in, *what % 5 == 2);
            case 3:
                return deliver_made_up(in);
            default:
                next_window();
                return true;
        }
    }

  private:
    static constexpr std::size_t window_count = 3;
    static constexpr std::size_t window_size = 512;
    static constexpr std::array<std::uint64_t, window_count> window_offsets{4096, 4608, 1U << 20U};

    void next_window() {
        if (started_ == window_count) return;
        sealer_.start_window(window_offsets[started_], sender_pad_[started_]);
        ++started_;
    }

    bool seal(reader& in) {
        const auto size = in.take_be<std::uint8_t>();
        if (!size) return false;
        const auto plaintext = in.take_bytes(std::min<std::size_t>(*size + 1U, in.left()));
        if (plaintext->empty()) return false;
        if (started_ == 0 || sealer_.room() < plaintext->size()) next_window();
        if (sealer_.room() < plaintext->size()) return true;
        const bytes_view part = *plaintext;
        const auto sealed = sealer_.seal({&part, 1});
        frame made;
        made.header = sealed.header;
        made.body.assign(sealed.body.begin(), sealed.body.end());
        made.plaintext.assign(part.begin(), part.end());
        sent_.push_back(std::move(made));
        return true;
    }

    bool deliver_sealed(reader& in, bool changed) {
        const auto which = in.take_be<std::uint8_t>();
        if (!which || sent_.empty()) return which.has_value();
        frame copy = sent_[*which % sent_.size()];
        if (changed) {
            const auto place = in.take_be<std::uint16_t>();
            const auto mask = in.take_be<std::uint8_t>();
            if (!place || !mask) return false;
            const std::size_t at = *place % (copy.header.size() + copy.body.size());
            auto& byte = at < copy.header.size() ? copy.header[at] : copy.body[at - copy.header.size()];
            byte ^= static_cast<std::byte>(*mask);
        }
        deliver(copy.header, copy.body);
        return true;
    }

    bool deliver_made_up(reader& in) {
        const auto header = in.take_bytes(frame_header_size);
        if (!header) return false;
        frame_header_bytes copy{};
        std::memcpy(copy.data(), header->data(), copy.size());
        deliver(copy, in.take_rest());
        return true;
    }

    void deliver(const frame_header_bytes& header_bytes, bytes_view body) {
        const auto header = decode_frame_header(header_bytes);
        if (!header || body.size() < header->length + mac_tag_size) return;
        const bytes_view ciphertext = body.first(header->length);
        const auto pad = table_.accept(*header, ciphertext, body.subspan(header->length, mac_tag_size));
        if (!pad) return;
        require(accepted_ < sent_.size());
        const frame& expected = sent_[accepted_++];
        require(header_bytes == expected.header && pad->size() == ciphertext.size());
        for (std::size_t i = 0; i < ciphertext.size(); ++i)
            require((ciphertext[i] ^ (*pad)[i]) == expected.plaintext[i]);
    }

    std::array<std::array<std::byte, window_size>, window_count> sender_pad_{};
    std::array<std::array<std::byte, window_size>, window_count> receiver_pad_{};
    std::size_t started_ = 0;
    sealer sealer_;
    window_table table_;
    std::vector<frame> sent_;
    std::size_t accepted_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    wire w;
    reader in(std::as_bytes(std::span(data, size)));
    while (w.step(in)) {
    }
    return 0;
}
