#include "fs/sharing/tags.h"

#include <algorithm>
#include <array>

#include "fs/base/assert.h"
#include "fs/base/buffer.h"
#include "fs/base/codec.h"

namespace warifu {
namespace {

constexpr std::size_t prefix_size = 48;

void put_be32(std::byte* out, std::uint32_t value) {
    for (unsigned i = 0; i < 4; ++i) out[i] = static_cast<std::byte>(value >> (24U - 8U * i));
}

/// The three symbols before the data; `size`, `length` and `number` are filled in for each sub-block.
std::array<std::byte, prefix_size> prefix_of(const piece_name& name) {
    writer fields(prefix_size);
    fields.put_bytes(as_bytes_view("wtag")).put_be(std::uint32_t{0}).put_be(std::uint32_t{0}).put_be(name.piece);
    fields.put(name.chunk).put_be(std::uint32_t{0}).put_be(std::uint32_t{0});
    WARIFU_ASSERT(fields.size() == prefix_size);
    std::array<std::byte, prefix_size> prefix{};
    std::ranges::copy(fields.view(), prefix.begin());
    return prefix;
}

/// The Horner value over `present` and then zeros up to `size` bytes.
gf128 evaluate_padded(const gf128_point& point, bytes_view present, std::size_t size, gf128 start) {
    const std::size_t whole = present.size() / 16 * 16;
    gf128 value = point.evaluate(present.first(whole), start);
    if (whole == size) return value;
    static constexpr std::array<std::byte, sub_block_size> zeros{};
    std::size_t left = size - whole;
    if (present.size() != whole) {
        value = point.evaluate(present.subspan(whole), value);  // one symbol, zero-padded
        left -= 16;
    }
    return point.evaluate(bytes_view(zeros).first(left), value);
}

}  // namespace

void compute_tags(const gf128_point& point, const piece_name& name, const scheme& shape, const piece_layout& layout,
                  unit_range range, bytes_view secret, bytes_span out) {
    const byte_range bytes = layout.share_bytes_of(range);
    WARIFU_ASSERT(secret.size() <= bytes.size && out.size() == layout.tag_bytes_of(range, 0).size);
    auto prefix = prefix_of(name);
    const std::uint32_t first = range.first * shape.sub_blocks();
    for (std::uint32_t i = 0; i < range.count * shape.sub_blocks(); ++i) {
        const sub_block_place place = layout.place_of(first + i);
        put_be32(prefix.data() + 4, static_cast<std::uint32_t>(place.size));
        put_be32(prefix.data() + 8, static_cast<std::uint32_t>(place.length));
        put_be32(prefix.data() + 40, place.number);
        const std::size_t at = place.offset - bytes.offset;
        const std::size_t present = at < secret.size() ? std::min(place.size, secret.size() - at) : 0;
        const bytes_view data = present != 0 ? secret.subspan(at, present) : bytes_view{};
        evaluate_padded(point, data, place.size, point.evaluate(prefix)).store(out.data() + std::size_t{i} * tag_size);
    }
}

result<void> verify_tags(const gf128_point& point, const piece_name& name, const scheme& shape,
                         const piece_layout& layout, unit_range range, bytes_view secret, bytes_view tags) {
    const std::size_t size = layout.tag_bytes_of(range, 0).size;
    if (tags.size() != size || secret.size() != layout.share_bytes_of(range).size)
        return fail(errc::bad_argument, "tags or data of another range");
    buffer expected(size);
    compute_tags(point, name, shape, layout, range, secret, expected.span());
    if (!equal_constant_time(expected.view(), tags)) return fail(errc::bad_tag, "data does not match its tags");
    return {};
}

}  // namespace warifu
