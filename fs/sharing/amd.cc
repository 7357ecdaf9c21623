#include "fs/sharing/amd.h"

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/gf128.h"
#include "fs/sharing/layout.h"

namespace warifu {
namespace {

constexpr std::size_t symbol = 16;
constexpr std::size_t x_offset = 16;
constexpr std::size_t header_offset = 32;
constexpr std::uint8_t format_version = 1;

/// The tag over header and payload, `symbols` (unpadded).
gf128 tag_of(const gf128& x, bytes_view symbols) {
    const std::uint64_t d = divide_up(symbols.size(), symbol);
    const std::uint64_t e = (d + 2) | 1U;  // the least odd number >= d + 2
    return power(x, e) ^ gf128_point(x).evaluate(symbols);
}

struct header {
    std::uint8_t k = 0, n = 0;
    std::uint32_t length = 0;
    codeword_name name;
};

byte_vector encode_header(const header& h) {
    writer out(codeword_header_size);
    out.put_bytes(as_bytes_view("WAMD")).put_be(format_version).put_be(static_cast<std::uint8_t>(h.name.type));
    out.put_be(h.k).put_be(h.n).put_be(h.length).put_be(h.name.piece);
    out.put(h.name.volume).put(h.name.epoch).put_be(h.name.sequence).put_be(std::uint64_t{0});
    WARIFU_ASSERT(out.size() == codeword_header_size);
    return out.take();
}

result<header> decode_header(bytes_view bytes) {
    reader in(bytes);
    header h;
    TRY(const auto magic, in.take_bytes(4));
    TRY(const auto version, in.take_be<std::uint8_t>());
    TRY(const auto type, in.take_be<std::uint8_t>());
    TRY(h.k, in.take_be<std::uint8_t>());
    TRY(h.n, in.take_be<std::uint8_t>());
    TRY(h.length, in.take_be<std::uint32_t>());
    TRY(h.name.piece, in.take_be<std::uint32_t>());
    TRY(h.name.volume, in.take<volume_id>());
    TRY(h.name.epoch, in.take<ballot>());
    TRY(h.name.sequence, in.take_be<std::uint64_t>());
    TRY(const auto reserved, in.take_be<std::uint64_t>());
    TRY_VOID(in.done());
    if (as_text(magic) != "WAMD" || version != format_version || reserved != 0)
        return fail(errc::bad_tag, "no codeword header");
    if (type < static_cast<std::uint8_t>(codeword_type::volume_record) ||
        type > static_cast<std::uint8_t>(codeword_type::hash_table))
        return fail(errc::bad_tag, "a codeword of no known type");
    h.name.type = static_cast<codeword_type>(type);
    return h;
}

bool all_zero(bytes_view bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

std::size_t codeword_share_size(const scheme& shape, std::size_t payload_size) {
    return piece_layout(shape, codeword_size(payload_size)).share_size();
}

result<buffer> encode_codeword(const scheme& shape, const codeword_name& name, bytes_view payload,
                               random_source& randomness) {
    if (payload.size() > codeword_payload_size_max)
        return fail(errc::too_large, "a codeword's payload is over its limit");
    buffer out(codeword_share_size(shape, payload.size()));
    const header h{static_cast<std::uint8_t>(shape.k()), static_cast<std::uint8_t>(shape.n()),
                   static_cast<std::uint32_t>(payload.size()), name};
    const byte_vector header_bytes = encode_header(h);
    const bytes_span x = out.span(x_offset, symbol);
    TRY_VOID(randomness.fill(x));
    std::ranges::copy(header_bytes, out.data() + header_offset);
    std::ranges::copy(payload, out.data() + codeword_overhead);
    std::fill(out.data() + codeword_size(payload.size()), out.data() + out.size(), std::byte{0});
    const bytes_view symbols = out.view(header_offset, codeword_header_size + payload.size());
    tag_of(gf128::load(x.data()), symbols).store(out.data());
    return out;
}

result<decoded_codeword> decode_codeword(const scheme& shape, bytes_view received) {
    if (received.size() < codeword_overhead || received.size() > codeword_share_size(shape, codeword_payload_size_max))
        return fail(errc::bad_tag, "too short or too long for a codeword");
    TRY(const header h, decode_header(received.subspan(header_offset, codeword_header_size)));
    if (h.length > codeword_payload_size_max || codeword_share_size(shape, h.length) != received.size())
        return fail(errc::bad_tag, "a codeword's length is not what was received");
    const bytes_view symbols = received.subspan(header_offset, codeword_header_size + h.length);
    std::array<std::byte, symbol> expected{};
    tag_of(gf128::load(received.data() + x_offset), symbols).store(expected.data());
    if (!equal_constant_time(expected, received.first(symbol)))
        return fail(errc::bad_tag, "a codeword does not verify");
    if (!all_zero(received.subspan(codeword_size(h.length))))
        return fail(errc::bad_tag, "a codeword's padding was changed");
    if (h.k != shape.k() || h.n != shape.n()) return fail(errc::bad_tag, "a codeword of another scheme");
    return decoded_codeword{h.name, received.subspan(codeword_overhead, h.length)};
}

result<bytes_view> open_codeword(const scheme& shape, const codeword_name& expected, bytes_view received,
                                 std::optional<std::size_t> payload_size) {
    TRY(const decoded_codeword decoded, decode_codeword(shape, received));
    const codeword_name& name = decoded.name;
    if (name.volume != expected.volume) return fail(errc::bad_tag, "a codeword of another volume");
    if (name.type != expected.type) return fail(errc::bad_tag, "a codeword of another type");
    if (name.epoch != expected.epoch) return fail(errc::bad_tag, "a codeword of another epoch");
    if (name.sequence != expected.sequence) return fail(errc::bad_tag, "a codeword of another sequence number");
    if (name.piece != expected.piece) return fail(errc::bad_tag, "a codeword of another piece");
    if (payload_size && decoded.payload.size() != *payload_size)
        return fail(errc::bad_tag, "a codeword of another length");
    return decoded.payload;
}

}  // namespace warifu
