#include "backends/block/log_format.h"

#include <type_traits>

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"

namespace warifu {
namespace {

constexpr std::uint32_t batch_magic = 0x574c4231;    // "WLB1"
constexpr std::uint32_t segment_magic = 0x574c5331;  // "WLS1"
constexpr std::size_t batch_checksum_at = 4;
constexpr std::uint64_t sector_limit = store_size_max / sector_size;

enum class entry_type : std::uint8_t { volume = 1, share, remove, record, cut, promise, zeroed };

void put_extents(writer& w, const extent_list& extents) {
    WARIFU_ASSERT(extents.size() <= extent_count_max);
    w.put_be(static_cast<std::uint16_t>(extents.size()));
    for (const extent& e : extents) w.put_be(e.first).put_be(e.count);
}

result<extent_list> take_extents(reader& r) {
    TRY(const auto count, r.take_be<std::uint16_t>());
    if (count > extent_count_max) return fail(errc::too_large, "log: too many extents");
    extent_list out;
    for (unsigned i = 0; i < count; ++i) {
        extent e;
        TRY(e.first, r.take_be<std::uint64_t>());
        TRY(e.count, r.take_be<std::uint32_t>());
        if (e.first < data_first || e.first >= sector_limit || e.count == 0)
            return fail(errc::bad_format, "log: extent out of range");
        out.push_back(e);
    }
    return out;
}

void put_body(writer& w, const volume_entry& e) {
    w.put_be(e.number).put(e.volume);
}
void put_body(writer& w, const share_entry& e) {
    w.put_be(e.volume).put(e.chunk).put_be(e.generation).put_be(e.head_checksum).put_be(e.head_sectors);
    put_extents(w, e.extents);
}
void put_body(writer& w, const remove_entry& e) {
    w.put_be(e.volume).put(e.chunk);
}
void put_body(writer& w, const record_entry& e) {
    w.put_be(e.volume).put_be(e.sequence).put(e.epoch).put_be(static_cast<std::uint8_t>(e.restart ? 1 : 0));
    w.put_be(e.blob_size).put_be(e.blob_checksum);
    put_extents(w, e.extents);
    w.put_bytes(e.blob);
}
void put_body(writer& w, const cut_entry& e) {
    w.put_be(e.volume).put_be(e.first);
}
void put_body(writer& w, const promise_entry& e) {
    w.put_be(e.volume).put(e.promised);
}
void put_body(writer& w, const zeroed_entry& e) {
    w.put_be(e.end);
}

result<log_entry> take_volume(reader& r) {
    volume_entry e;
    TRY(e.number, r.take_be<std::uint32_t>());
    TRY_VOID(r.take(e.volume));
    return e;
}
result<log_entry> take_share(reader& r) {
    share_entry e;
    TRY(e.volume, r.take_be<std::uint32_t>());
    TRY(e.chunk, r.take<chunk_id>());
    TRY(e.generation, r.take_be<std::uint32_t>());
    TRY(e.head_checksum, r.take_be<std::uint32_t>());
    TRY(e.head_sectors, r.take_be<std::uint32_t>());
    TRY(e.extents, take_extents(r));
    if (e.head_sectors == 0 || e.head_sectors > sectors_of(e.extents))
        return fail(errc::bad_format, "log: a share without a head");
    return e;
}
result<log_entry> take_remove(reader& r) {
    remove_entry e;
    TRY(e.volume, r.take_be<std::uint32_t>());
    TRY(e.chunk, r.take<chunk_id>());
    return e;
}
result<log_entry> take_record(reader& r) {
    record_entry e;
    TRY(e.volume, r.take_be<std::uint32_t>());
    TRY(e.sequence, r.take_be<std::uint64_t>());
    TRY(e.epoch, r.take<ballot>());
    TRY(const auto restart, r.take_be<std::uint8_t>());
    e.restart = restart != 0;
    TRY(e.blob_size, r.take_be<std::uint32_t>());
    TRY(e.blob_checksum, r.take_be<std::uint32_t>());
    TRY(e.extents, take_extents(r));
    const bytes_view blob = r.take_rest();
    if (e.sequence == 0 || e.blob_size > record_blob_size_max) return fail(errc::bad_format, "log: bad record");
    if (e.extents.empty() ? blob.size() != e.blob_size
                          : !blob.empty() || sectors_of(e.extents) != divide_up(e.blob_size, sector_size))
        return fail(errc::bad_format, "log: a record of another size");
    e.blob.assign(blob.begin(), blob.end());
    return e;
}
result<log_entry> take_cut(reader& r) {
    cut_entry e;
    TRY(e.volume, r.take_be<std::uint32_t>());
    TRY(e.first, r.take_be<std::uint64_t>());
    return e;
}
result<log_entry> take_promise(reader& r) {
    promise_entry e;
    TRY(e.volume, r.take_be<std::uint32_t>());
    TRY(e.promised, r.take<ballot>());
    return e;
}
result<log_entry> take_zeroed(reader& r) {
    zeroed_entry e;
    TRY(e.end, r.take_be<std::uint64_t>());
    if (e.end < data_first || e.end > sector_limit) return fail(errc::bad_format, "log: zeroed end out of range");
    return e;
}

result<log_entry> take_entry(reader& in) {
    TRY(const auto type, in.take_be<std::uint8_t>());
    TRY(const auto body, in.take_sized(log_batch_size_max));
    reader r(body);
    result<log_entry> out = fail(errc::bad_format, "log: unknown entry");
    switch (static_cast<entry_type>(type)) {
        case entry_type::volume:
            out = take_volume(r);
            break;
        case entry_type::share:
            out = take_share(r);
            break;
        case entry_type::remove:
            out = take_remove(r);
            break;
        case entry_type::record:
            out = take_record(r);
            break;
        case entry_type::cut:
            out = take_cut(r);
            break;
        case entry_type::promise:
            out = take_promise(r);
            break;
        case entry_type::zeroed:
            out = take_zeroed(r);
            break;
    }
    if (out) TRY_VOID(r.done());
    return out;
}

}  // namespace

void encode_log_entry(byte_vector& out, const log_entry& entry) {
    const std::size_t at = out.size();
    writer w(std::move(out));
    w.put_be(static_cast<std::uint8_t>(entry.index() + 1)).put_be<std::uint32_t>(0);
    std::visit([&w](const auto& e) { put_body(w, e); }, entry);
    out = w.take();
    store_be32(out.data() + at + 1, static_cast<std::uint32_t>(out.size() - at - 5));
}
static_assert(std::is_same_v<std::variant_alternative_t<static_cast<std::size_t>(entry_type::zeroed) - 1, log_entry>,
                             zeroed_entry>);

std::size_t log_entry_size(const share_entry& entry) {
    return 5 + 4 + 24 + 4 + 4 + 4 + 2 + std::size_t{12} * entry.extents.size();
}

std::size_t log_entry_size(const record_entry& entry) {
    return 5 + 4 + 8 + 16 + 1 + 4 + 4 + 2 + std::size_t{12} * entry.extents.size() + entry.blob.size();
}

byte_vector encode_segment_header(const segment_header& header) {
    writer w(sector_size);
    w.put_be(segment_magic).put_be<std::uint32_t>(0).put(header.store).put_be(header.number).put_be(header.sector);
    w.put_be(header.next);
    byte_vector out = w.take();
    out.resize(sector_size);
    store_be32(out.data() + batch_checksum_at, crc32c_around(out, batch_checksum_at));
    return out;
}

result<segment_header> decode_segment_header(bytes_view sector) {
    if (sector.size() != sector_size) return fail(errc::bad_format, "log segment: not one sector");
    reader r(sector);
    TRY(const auto magic, r.take_be<std::uint32_t>());
    TRY(const auto checksum, r.take_be<std::uint32_t>());
    if (magic != segment_magic) return fail(errc::bad_format, "not a log segment");
    if (checksum != crc32c_around(sector, batch_checksum_at))
        return fail(errc::bad_checksum, "log segment: bad checksum");
    segment_header out;
    TRY_VOID(r.take(out.store));
    TRY(out.number, r.take_be<std::uint64_t>());
    TRY(out.sector, r.take_be<std::uint64_t>());
    TRY(out.next, r.take_be<std::uint64_t>());
    if (out.next < data_first || out.next >= sector_limit)
        return fail(errc::bad_format, "log segment: next out of range");
    return out;
}

void encode_batch(bytes_span out, batch_header header, bytes_view entries) {
    header.sector_count = batch_sectors(entries.size());
    WARIFU_ASSERT(out.size() == header.sector_count * sector_size);
    writer w(batch_header_size);
    w.put_be(batch_magic).put_be<std::uint32_t>(0).put(header.store).put_be(header.sequence).put_be(header.segment);
    w.put_be(header.sector_count).put_be(static_cast<std::uint32_t>(entries.size()));
    w.put_be<std::uint64_t>(0).put_be<std::uint64_t>(0);
    WARIFU_ASSERT(w.size() == batch_header_size);
    std::memcpy(out.data(), w.view().data(), batch_header_size);
    if (!entries.empty()) std::memcpy(out.data() + batch_header_size, entries.data(), entries.size());
    const std::size_t used = batch_header_size + entries.size();
    std::memset(out.data() + used, 0, out.size() - used);
    store_be32(out.data() + batch_checksum_at, crc32c_around(out, batch_checksum_at));
}

result<batch_header> peek_batch(bytes_view sectors) {
    reader r(sectors);
    TRY(const auto magic, r.take_be<std::uint32_t>());
    if (magic != batch_magic) return fail(errc::bad_format, "not a log batch");
    TRY_VOID(r.take_be<std::uint32_t>());
    batch_header out;
    TRY_VOID(r.take(out.store));
    TRY(out.sequence, r.take_be<std::uint64_t>());
    TRY(out.segment, r.take_be<std::uint64_t>());
    TRY(out.sector_count, r.take_be<std::uint32_t>());
    TRY(out.entry_bytes, r.take_be<std::uint32_t>());
    if (out.entry_bytes > log_batch_size_max || out.sector_count != batch_sectors(out.entry_bytes))
        return fail(errc::bad_format, "log batch: its size does not follow from its entries");
    return out;
}

result<decoded_batch> decode_batch(bytes_view sectors) {
    decoded_batch out;
    TRY(out.header, peek_batch(sectors));
    const std::size_t size = out.header.sector_count * sector_size;
    if (sectors.size() < size) return fail(errc::bad_format, "log batch: ends early");
    sectors = sectors.first(size);
    reader stored(sectors.subspan(batch_checksum_at));
    TRY(const auto checksum, stored.take_be<std::uint32_t>());
    if (checksum != crc32c_around(sectors, batch_checksum_at))
        return fail(errc::bad_checksum, "log batch: bad checksum");
    reader r(sectors.subspan(batch_header_size, out.header.entry_bytes));
    while (r.left() != 0) {
        TRY(auto entry, take_entry(r));
        out.entries.push_back(std::move(entry));
    }
    return out;
}

byte_vector encode_record_blob(const std::vector<chunk_id>& chunks, bytes_view share) {
    writer w(4 + 24 * chunks.size() + share.size());
    w.put_be(static_cast<std::uint32_t>(chunks.size()));
    for (const chunk_id& chunk : chunks) w.put(chunk);
    w.put_bytes(share);
    return w.take();
}

result<record_blob> decode_record_blob(bytes_view blob) {
    reader r(blob);
    record_blob out;
    TRY(const auto count, r.take_count(24, record_chunk_count_max));
    out.chunks.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        TRY(const auto chunk, r.take<chunk_id>());
        out.chunks.push_back(chunk);
    }
    out.share = r.take_rest();
    return out;
}

}  // namespace warifu
