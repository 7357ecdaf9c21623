#include "fs/sharing/share_hash.h"

#include "fs/base/assert.h"
#include "fs/base/codec.h"

namespace warifu {

share_hasher::share_hasher(const gf128_point& point, const piece_name& name, share_index index, std::size_t piece_size,
                           std::size_t tags_size)
    : point_(&point) {
    WARIFU_ASSERT(piece_size % 16 == 0 && tags_size % 16 == 0);
    writer prefix(48);
    prefix.put_bytes(as_bytes_view("whsh")).put_be(static_cast<std::uint32_t>(index.value) << 24U).put_be(name.piece);
    prefix.put_be(static_cast<std::uint32_t>(piece_size)).put(name.chunk).put_be(std::uint64_t{tags_size});
    WARIFU_ASSERT(prefix.size() == 48);
    value_ = point.evaluate(prefix.view());
}

share_hash share_hasher::value() const {
    share_hash hash{};
    value_.store(hash.data());
    return hash;
}

share_hash hash_share(const gf128_point& point, const piece_name& name, share_index index, bytes_view piece,
                      bytes_view tags) {
    share_hasher hasher(point, name, index, piece.size(), tags.size());
    hasher.add(piece);
    hasher.add(tags);
    return hasher.value();
}

hash_table::hash_table(unsigned n, std::span<const std::uint32_t> payload_sizes)
    : n_(n), bytes_(buffer::zeroed(payload_sizes.size() * entry_size(n))) {
    for (std::size_t piece = 0; piece < payload_sizes.size(); ++piece)
        for (unsigned i = 0; i < 4; ++i)
            bytes_.data()[piece * entry_size(n) + i] = static_cast<std::byte>(payload_sizes[piece] >> (24U - 8U * i));
}

result<hash_table> hash_table::decode(unsigned n, std::size_t piece_count, bytes_view payload) {
    if (piece_count == 0 || piece_count > chunk_piece_count_max || payload.size() != piece_count * entry_size(n))
        return fail(errc::bad_format, "a hash table of another number of pieces");
    hash_table table(n, buffer::copy_of(payload));
    for (std::size_t piece = 0; piece < piece_count; ++piece)
        if (table.payload_size(piece) == 0 || table.payload_size(piece) > chunk_size_max)
            return fail(errc::bad_format, "a hash table with an impossible piece size");
    return table;
}

std::uint32_t hash_table::payload_size(std::size_t piece) const {
    std::uint32_t size = 0;
    for (const std::byte b : bytes_.view(piece * entry_size(n_), 4))
        size = (size << 8U) | std::to_integer<std::uint32_t>(b);
    return size;
}

std::size_t hash_table::place_of(std::size_t piece, share_index index) const {
    WARIFU_ASSERT(piece < piece_count() && index.value < n_);
    return piece * entry_size(n_) + 4 + index.value * share_hash_size;
}

void hash_table::set(std::size_t piece, share_index index, const share_hash& hash) {
    std::memcpy(bytes_.data() + place_of(piece, index), hash.data(), hash.size());
}

bool hash_table::matches(std::size_t piece, share_index index, const share_hash& hash) const {
    return equal_constant_time(bytes_.view(place_of(piece, index), share_hash_size), hash);
}

}  // namespace warifu
