#include "backends/block/share_head.h"

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"

namespace warifu {
namespace {

constexpr std::string_view share_head_magic = "WRFSHARE";
constexpr std::uint16_t head_version = 1;
constexpr std::size_t head_checksum_at = 12;
constexpr std::size_t data_sectors_max = share_size_max / sector_size + chunk_piece_count_max;
static_assert(share_head_fixed_size + extent_count_max * extent_encoded_size <= sector_size,
              "the outline of a head lies in its first sector");
static_assert(share_head_fixed_size + extent_count_max * extent_encoded_size + 4 * chunk_piece_count_max +
                  4 * data_sectors_max + share_side_size_max <=
              share_head_sectors_max * sector_size);

/// Counts of the tables, as the fixed part gives them.
struct head_counts {
    std::uint32_t head_sectors = 0;
    std::uint32_t pieces = 0;
    std::uint32_t side = 0;
    std::uint32_t data_sectors = 0;
    std::uint32_t extents = 0;
};

result<head_counts> check_counts(head_counts c) {
    if (c.pieces == 0 || c.pieces > chunk_piece_count_max || c.side > share_side_size_max ||
        c.data_sectors > data_sectors_max || c.extents == 0 || c.extents > extent_count_max)
        return fail(errc::bad_format, "share head: a count is over its limit");
    if (c.head_sectors != share_head_sectors(c.extents, c.pieces, c.data_sectors, c.side))
        return fail(errc::bad_format, "share head: its size does not follow from its counts");
    return c;
}

result<head_counts> decode_fixed(reader& r, share_head& head) {
    head_counts c;
    TRY(const auto found_magic, r.take_bytes(share_head_magic.size()));
    if (as_text(found_magic) != share_head_magic) return fail(errc::bad_format, "not a share head");
    TRY(const auto version, r.take_be<std::uint16_t>());
    if (version != head_version) return fail(errc::bad_version, "share head of another version");
    TRY(c.head_sectors, r.take_be<std::uint16_t>());
    TRY_VOID(r.take_be<std::uint32_t>());
    TRY_VOID(r.take(head.store));
    TRY_VOID(r.take(head.volume));
    TRY(head.chunk, r.take<chunk_id>());
    TRY(head.generation, r.take_be<std::uint32_t>());
    TRY(head.description.index.value, r.take_be<std::uint8_t>());
    TRY_VOID(r.take_bytes(3));
    TRY_VOID(r.take(head.description.policy));
    TRY(c.pieces, r.take_be<std::uint32_t>());
    TRY(c.side, r.take_be<std::uint32_t>());
    TRY(c.data_sectors, r.take_be<std::uint32_t>());
    TRY(c.extents, r.take_be<std::uint32_t>());
    TRY_VOID(r.take_bytes(16));
    return check_counts(c);
}

result<extent_list> decode_extents(reader& r, std::uint32_t count) {
    extent_list out;
    for (std::uint32_t i = 0; i < count; ++i) {
        extent e;
        TRY(e.first, r.take_be<std::uint64_t>());
        TRY(e.count, r.take_be<std::uint32_t>());
        if (e.first < data_first || e.first > store_size_max / sector_size || e.count == 0 ||
            e.count > share_head_sectors_max + data_sectors_max)
            return fail(errc::bad_format, "share head: extent out of range");
        out.push_back(e);
    }
    return out;
}

}  // namespace

std::uint64_t share_head::first_sector_of(std::uint32_t part) const {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < part; ++i) sum += divide_up(description.piece_sizes[i], sector_size);
    return sum;
}

std::size_t share_head::memory_size() const {
    return sizeof *this + extents.size() * sizeof(extent) +
           4 * (description.piece_sizes.size() + sector_checksums.size()) + side.size() + 128;
}

std::uint32_t share_head_sectors(std::size_t extent_count, std::size_t piece_count, std::size_t data_sectors,
                                 std::size_t side_size) {
    const std::size_t size =
        share_head_fixed_size + extent_count * extent_encoded_size + 4 * piece_count + 4 * data_sectors + side_size;
    return static_cast<std::uint32_t>(divide_up(size, sector_size));
}

encoded_head encode_share_head(const share_head& head) {
    const auto& d = head.description;
    const std::uint32_t sectors =
        share_head_sectors(head.extents.size(), d.piece_sizes.size(), head.sector_checksums.size(), head.side.size());
    WARIFU_ASSERT(!head.extents.empty() && head.extents.size() <= extent_count_max && d.side_size == head.side.size());
    writer w(sectors * sector_size);
    w.put_bytes(as_bytes_view(share_head_magic)).put_be(head_version).put_be(static_cast<std::uint16_t>(sectors));
    w.put_be<std::uint32_t>(0).put(head.store).put(head.volume).put(head.chunk).put_be(head.generation);
    w.put_be(d.index.value).put_be<std::uint8_t>(0).put_be<std::uint16_t>(0).put(d.policy);
    w.put_be(static_cast<std::uint32_t>(d.piece_sizes.size())).put_be(d.side_size);
    w.put_be(static_cast<std::uint32_t>(head.sector_checksums.size()));
    w.put_be(static_cast<std::uint32_t>(head.extents.size()));
    w.put_be(head.extents.front().first).put_be<std::uint64_t>(0);
    WARIFU_ASSERT(w.size() == share_head_fixed_size);
    for (const extent& e : head.extents) w.put_be(e.first).put_be(e.count);
    for (const std::uint32_t size : d.piece_sizes) w.put_be(size);
    for (const std::uint32_t checksum : head.sector_checksums) w.put_be(checksum);
    w.put_bytes(head.side);
    encoded_head out;
    out.bytes = buffer::zeroed(sectors * sector_size);
    std::memcpy(out.bytes.data(), w.view().data(), w.size());
    out.checksum = crc32c_around(out.bytes.view(), head_checksum_at);
    store_be32(out.bytes.data() + head_checksum_at, out.checksum);
    return out;
}

std::uint32_t share_head_checksum(bytes_view first_sector) {
    return load_be32(first_sector.subspan(head_checksum_at, 4));
}

result<share_head_outline> outline_share_head(bytes_view first_sector) {
    if (first_sector.size() != sector_size) return fail(errc::bad_format, "share head: not one sector");
    reader r(first_sector);
    share_head head;
    TRY(const head_counts counts, decode_fixed(r, head));
    share_head_outline out;
    out.head_sectors = counts.head_sectors;
    TRY(out.extents, decode_extents(r, counts.extents));
    if (sectors_of(out.extents) != std::uint64_t{counts.head_sectors} + counts.data_sectors)
        return fail(errc::bad_format, "share head: extents do not cover the share");
    return out;
}

result<share_head> decode_share_head(bytes_view sectors) {
    if (sectors.empty() || sectors.size() % sector_size != 0)
        return fail(errc::bad_format, "share head: not whole sectors");
    reader r(sectors);
    share_head head;
    TRY(const head_counts counts, decode_fixed(r, head));
    if (counts.head_sectors * sector_size != sectors.size()) return fail(errc::bad_format, "share head: wrong size");
    if (crc32c_around(sectors, head_checksum_at) != share_head_checksum(sectors))
        return fail(errc::bad_checksum, "share head: bad checksum");
    TRY(head.extents, decode_extents(r, counts.extents));
    if (sectors_of(head.extents) != std::uint64_t{counts.head_sectors} + counts.data_sectors)
        return fail(errc::bad_format, "share head: extents do not cover the share");
    std::uint64_t data_sectors = 0;
    for (std::uint32_t i = 0; i < counts.pieces; ++i) {
        TRY(const auto size, r.take_be<std::uint32_t>());
        if (size > share_size_max) return fail(errc::bad_format, "share head: piece too large");
        head.description.piece_sizes.push_back(size);
        data_sectors += divide_up(size, sector_size);
    }
    if (data_sectors != counts.data_sectors) return fail(errc::bad_format, "share head: pieces do not fill the share");
    for (std::uint32_t i = 0; i < counts.data_sectors; ++i) {
        TRY(const auto checksum, r.take_be<std::uint32_t>());
        head.sector_checksums.push_back(checksum);
    }
    TRY(const auto side, r.take_bytes(counts.side));
    head.side.assign(side.begin(), side.end());
    head.description.side_size = counts.side;
    return head;
}

}  // namespace warifu
