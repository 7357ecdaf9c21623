#include "backends/block/superblock.h"

#include <algorithm>

#include "fs/base/codec.h"
#include "fs/base/crc32c.h"

namespace warifu {
namespace {

constexpr std::string_view superblock_magic = "WRFSTORE";
constexpr std::size_t superblock_checksum_at = 12;
constexpr std::uint32_t flag_free_is_clean = 1;
static_assert(superblock_magic.size() == 8);

result<void> check_values(const superblock& block) {
    if (block.sector_count < store_size_min / sector_size || block.sector_count > store_size_max / sector_size)
        return fail(errc::bad_format, "superblock: size out of range");
    if (block.segment_sectors < 4 || block.segment_sectors > block.sector_count)
        return fail(errc::bad_format, "superblock: segment size out of range");
    if (block.log_sector < data_first || block.log_sector > block.sector_count - block.segment_sectors)
        return fail(errc::bad_format, "superblock: log outside of the device");
    if (block.zeroed_end < data_first || block.zeroed_end > block.sector_count)
        return fail(errc::bad_format, "superblock: zeroed end outside of the device");
    if (block.sequence == 0 || block.log_batch == 0 || block.uuid.is_zero() || block.incarnation.is_zero())
        return fail(errc::bad_format, "superblock: a number is zero");
    return {};
}

}  // namespace

byte_vector encode_superblock(const superblock& block, unsigned copy) {
    writer w(sector_size);
    w.put_bytes(as_bytes_view(superblock_magic)).put_be(store_version).put_be(static_cast<std::uint16_t>(copy));
    w.put_be<std::uint32_t>(0).put(block.uuid).put(block.incarnation).put_be(block.sequence).put_be(block.sector_count);
    w.put_be(block.segment_sectors).put_be(block.free_is_clean ? flag_free_is_clean : std::uint32_t{0});
    w.put_be(block.log_sector).put_be(block.log_segment).put_be(block.log_batch).put_be(block.checkpoint_batch);
    w.put_be(block.zeroed_end);
    byte_vector out = w.take();
    static_assert(superblock_size_used == 8 + 2 + 2 + 4 + 16 + 16 + 8 + 8 + 4 + 4 + 5 * 8);
    out.resize(sector_size);
    store_be32(out.data() + superblock_checksum_at, crc32c_around(out, superblock_checksum_at));
    return out;
}

result<superblock> decode_superblock(bytes_view sector, unsigned copy) {
    if (sector.size() != sector_size) return fail(errc::bad_format, "superblock: not one sector");
    if (std::ranges::all_of(sector, [](std::byte b) { return b == std::byte{0}; }))
        return fail(errc::not_found, "no store here");
    reader r(sector);
    TRY(const auto found_magic, r.take_bytes(superblock_magic.size()));
    if (as_text(found_magic) != superblock_magic) return fail(errc::bad_format, "not a share store");
    TRY(const auto version, r.take_be<std::uint16_t>());
    if (version != store_version)
        return fail(errc::bad_version, "store format " + std::to_string(version) + "; this program knows 1");
    TRY(const auto found_copy, r.take_be<std::uint16_t>());
    TRY(const auto checksum, r.take_be<std::uint32_t>());
    if (checksum != crc32c_around(sector, superblock_checksum_at))
        return fail(errc::bad_checksum, "superblock: bad checksum");
    if (found_copy != copy) return fail(errc::bad_checksum, "superblock: a copy in another's place");
    superblock out;
    TRY_VOID(r.take(out.uuid));
    TRY_VOID(r.take(out.incarnation));
    TRY(out.sequence, r.take_be<std::uint64_t>());
    TRY(out.sector_count, r.take_be<std::uint64_t>());
    TRY(out.segment_sectors, r.take_be<std::uint32_t>());
    TRY(const auto flags, r.take_be<std::uint32_t>());
    out.free_is_clean = (flags & flag_free_is_clean) != 0;
    TRY(out.log_sector, r.take_be<std::uint64_t>());
    TRY(out.log_segment, r.take_be<std::uint64_t>());
    TRY(out.log_batch, r.take_be<std::uint64_t>());
    TRY(out.checkpoint_batch, r.take_be<std::uint64_t>());
    TRY(out.zeroed_end, r.take_be<std::uint64_t>());
    TRY_VOID(check_values(out));
    return out;
}

result<superblock> choose_superblock(std::span<const result<superblock>> copies) {
    const superblock* best = nullptr;
    bool any = false;
    for (const auto& one : copies) {
        if (!one) continue;
        any = true;
        const auto agree = std::ranges::count_if(copies, [&one](const auto& other) { return other && *other == *one; });
        if (agree >= 2 && (best == nullptr || one->sequence > best->sequence)) best = &*one;
    }
    if (best != nullptr) return *best;
    if (any) return fail(errc::bad_checksum, "no two copies of the superblock agree");
    for (const errc code : {errc::bad_checksum, errc::bad_version, errc::bad_format, errc::not_found})
        for (const auto& one : copies)
            if (one.error().code == code) return fail(one.error());
    return fail(errc::bad_format, "no superblock");
}

}  // namespace warifu
