#include "fs/metadata/records.h"

#include <sys/stat.h>

#include "fs/base/assert.h"
#include "fs/metadata/packing.h"

namespace warifu {
namespace {

constexpr std::string_view magic = "wrfn";

// Flags of an inode record: which fields follow because they are not what they usually are.
constexpr std::uint8_t has_parent = 1;
constexpr std::uint8_t has_device = 2;
constexpr std::uint8_t has_stored_size = 4;   // otherwise stored_size == size
constexpr std::uint8_t has_modify_time = 8;   // otherwise modify_time == birth_time
constexpr std::uint8_t has_change_time = 16;  // otherwise change_time == modify_time
constexpr std::uint8_t has_access_time = 32;  // otherwise access_time == birth_time
constexpr std::uint8_t inode_flags = 63;

constexpr std::uint8_t has_last_collision = 0x80;  // of an entry's first byte; the low four bits are S_IFMT >> 12
constexpr unsigned type_shift = 12;

constexpr std::uint8_t whole_piece = 1;  // of an extent: it is all of its piece

void put_time(writer& out, const time_stamp& time, std::int64_t base_seconds) {
    WARIFU_ASSERT(time.nanoseconds < 1'000'000'000);
    const std::uint64_t delta = static_cast<std::uint64_t>(time.seconds) - static_cast<std::uint64_t>(base_seconds);
    put_varint(out, zigzag(static_cast<std::int64_t>(delta)));
    put_varint(out, time.nanoseconds);
}

result<time_stamp> take_time(reader& in, std::int64_t base_seconds) {
    TRY(const auto delta, take_varint(in));
    TRY(const auto nanoseconds, take_varint_as<std::uint32_t>(in));
    if (nanoseconds >= 1'000'000'000) return fail(errc::bad_format, "a time stamp has too many nanoseconds");
    const std::uint64_t seconds =
        static_cast<std::uint64_t>(base_seconds) + static_cast<std::uint64_t>(unzigzag(delta));
    return time_stamp{static_cast<std::int64_t>(seconds), nanoseconds};
}

std::uint8_t flags_of(const inode& i) {
    std::uint8_t flags = 0;
    if (i.parent != 0) flags |= has_parent;
    if (i.device != 0) flags |= has_device;
    if (i.stored_size != i.size) flags |= has_stored_size;
    if (i.modify_time != i.birth_time) flags |= has_modify_time;
    if (i.change_time != i.modify_time) flags |= has_change_time;
    if (i.access_time != i.birth_time) flags |= has_access_time;
    return flags;
}

}  // namespace

std::string encode(const header_record& r) {
    writer out;
    out.put_bytes(as_bytes_view(magic)).put_be(name_space_version).put_bytes(r.hash_key);
    return text_of(out);
}

result<header_record> decode_header(std::string_view value) {
    reader in(as_bytes_view(value));
    TRY(const auto start, in.take_bytes(magic.size()));
    if (as_text(start) != magic) return fail(errc::bad_format, "not a namespace's header");
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != name_space_version) return fail(errc::bad_version, "a namespace of another version");
    header_record r;
    TRY(const auto key, in.take_bytes(r.hash_key.size()));
    std::memcpy(r.hash_key.data(), key.data(), key.size());
    TRY_VOID(in.done());
    return r;
}

std::string encode(const counters_record& r) {
    writer out;
    put_varint(out, r.inodes);
    put_varint(out, r.stored_bytes);
    put_varint(out, r.next_ticket);
    put_varint(out, r.inodes_reserved);
    return text_of(out);
}

result<counters_record> decode_counters(std::string_view value) {
    reader in(as_bytes_view(value));
    counters_record r;
    TRY(r.inodes, take_varint(in));
    TRY(r.stored_bytes, take_varint(in));
    TRY(r.next_ticket, take_varint(in));
    TRY(r.inodes_reserved, take_varint(in));
    TRY_VOID(in.done());
    return r;
}

std::string encode(const ballot& b) {
    writer out;
    out.put(b);
    return text_of(out);
}

result<ballot> decode_epoch(std::string_view value) {
    reader in(as_bytes_view(value));
    TRY(const auto b, in.take<ballot>());
    TRY_VOID(in.done());
    return b;
}

std::string encode(const inode& i) {
    writer out(64);
    const std::uint8_t flags = flags_of(i);
    out.put_be(flags);
    put_varint(out, i.mode);
    put_varint(out, i.uid);
    put_varint(out, i.gid);
    put_varint(out, i.link_count);
    put_varint(out, i.size);
    put_time(out, i.birth_time, 0);
    if (flags & has_parent) put_varint(out, i.parent);
    if (flags & has_device) put_varint(out, i.device);
    if (flags & has_stored_size) put_varint(out, i.stored_size);
    if (flags & has_modify_time) put_time(out, i.modify_time, i.birth_time.seconds);
    if (flags & has_change_time) put_time(out, i.change_time, i.birth_time.seconds);
    if (flags & has_access_time) put_time(out, i.access_time, i.birth_time.seconds);
    return text_of(out);
}

result<inode> decode_inode(inode_number number, std::string_view value) {
    reader in(as_bytes_view(value));
    inode i;
    i.number = number;
    TRY(const auto flags, in.take_be<std::uint8_t>());
    if (flags & ~inode_flags) return fail(errc::bad_format, "an inode has unknown flags");
    TRY(i.mode, take_varint_as<std::uint32_t>(in));
    TRY(i.uid, take_varint_as<std::uint32_t>(in));
    TRY(i.gid, take_varint_as<std::uint32_t>(in));
    TRY(i.link_count, take_varint_as<std::uint32_t>(in));
    TRY(i.size, take_varint(in));
    TRY(i.birth_time, take_time(in, 0));
    i.stored_size = i.size;
    i.access_time = i.modify_time = i.birth_time;
    if (flags & has_parent) {
        TRY(i.parent, take_varint(in));
    }
    if (flags & has_device) {
        TRY(i.device, take_varint(in));
    }
    if (flags & has_stored_size) {
        TRY(i.stored_size, take_varint(in));
    }
    if (flags & has_modify_time) {
        TRY(i.modify_time, take_time(in, i.birth_time.seconds));
    }
    i.change_time = i.modify_time;
    if (flags & has_change_time) {
        TRY(i.change_time, take_time(in, i.birth_time.seconds));
    }
    if (flags & has_access_time) {
        TRY(i.access_time, take_time(in, i.birth_time.seconds));
    }
    TRY_VOID(in.done());
    return i;
}

std::string encode(const entry_record& r) {
    writer out(32);
    const auto type = static_cast<std::uint8_t>(r.type >> type_shift);
    out.put_be(static_cast<std::uint8_t>(r.last_collision != 0 ? type | has_last_collision : type));
    if (r.last_collision != 0) out.put_be(r.last_collision);
    if (r.is_placeholder()) return text_of(out);
    put_varint(out, r.number);
    out.put_bytes(as_bytes_view(r.name));
    return text_of(out);
}

result<entry_record> decode_entry(std::string_view value) {
    reader in(as_bytes_view(value));
    entry_record r;
    TRY(const auto first, in.take_be<std::uint8_t>());
    if (first & 0x70U) return fail(errc::bad_format, "a directory entry has unknown flags");
    if (first & has_last_collision) {
        TRY(r.last_collision, in.take_be<std::uint8_t>());
    }
    r.type = static_cast<std::uint32_t>(first & 0x0fU) << type_shift;
    if (r.is_placeholder()) {
        TRY_VOID(in.done());
        return r;
    }
    TRY(r.number, take_varint(in));
    r.name = as_text(in.take_rest());
    return r;
}

std::string encode(const extent_record& r) {
    const extent& e = r.value;
    writer out(32);
    const bool whole = e.size == e.piece_size && e.piece_offset == 0;
    out.put_be(whole ? whole_piece : std::uint8_t{0});
    put_varint(out, r.epoch);
    put_varint(out, e.chunk.sequence);
    put_varint(out, e.piece);
    put_varint(out, e.placement);
    put_varint(out, e.first_unit);
    put_varint(out, e.piece_size);
    if (!whole) {
        put_varint(out, e.size);
        put_varint(out, e.piece_offset);
    }
    return text_of(out);
}

result<extent_record> decode_extent(std::string_view key, std::string_view value) {
    reader key_in(as_bytes_view(key.substr(1)));
    TRY_VOID(take_ordered(key_in));
    TRY(const auto end, take_ordered(key_in));
    reader in(as_bytes_view(value));
    extent_record r;
    extent& e = r.value;
    TRY(const auto flags, in.take_be<std::uint8_t>());
    if (flags & ~whole_piece) return fail(errc::bad_format, "an extent has unknown flags");
    TRY(r.epoch, take_varint_as<epoch_number>(in));
    TRY(e.chunk.sequence, take_varint(in));
    TRY(e.piece, take_varint_as<std::uint16_t>(in));
    TRY(e.placement, take_varint_as<std::uint16_t>(in));
    TRY(e.first_unit, take_varint_as<std::uint32_t>(in));
    TRY(e.piece_size, take_varint_as<std::uint32_t>(in));
    e.size = e.piece_size;
    if (flags == 0) {
        TRY(e.size, take_varint_as<std::uint32_t>(in));
        TRY(e.piece_offset, take_varint_as<std::uint32_t>(in));
    }
    TRY_VOID(in.done());
    if (e.size == 0 || e.size > end || std::uint64_t{e.piece_offset} + e.size > e.piece_size)
        return fail(errc::bad_format, "an extent is not inside its piece");
    e.file_offset = end - e.size;
    return r;
}

std::string encode(const piece_record& r) {
    writer out(16);
    put_varint(out, r.references);
    put_varint(out, r.placement);
    put_varint(out, r.piece_size);
    put_varint(out, r.first_unit);
    return text_of(out);
}

result<piece_record> decode_piece(std::string_view value) {
    reader in(as_bytes_view(value));
    piece_record r;
    TRY(r.references, take_varint_as<std::uint32_t>(in));
    TRY(r.placement, take_varint_as<std::uint16_t>(in));
    TRY(r.piece_size, take_varint_as<std::uint32_t>(in));
    TRY(r.first_unit, take_varint_as<std::uint32_t>(in));
    TRY_VOID(in.done());
    if (r.references == 0) return fail(errc::bad_format, "a live piece without references");
    return r;
}

std::string encode(const freed_record& r) {
    writer out(24);
    put_varint(out, r.chunk.epoch);
    put_varint(out, r.chunk.sequence);
    put_varint(out, r.piece);
    put_varint(out, r.placement);
    put_varint(out, r.piece_size);
    put_varint(out, r.first_unit);
    return text_of(out);
}

result<freed_record> decode_freed(std::string_view value) {
    reader in(as_bytes_view(value));
    freed_record r;
    TRY(r.chunk.epoch, take_varint_as<epoch_number>(in));
    TRY(r.chunk.sequence, take_varint(in));
    TRY(r.piece, take_varint_as<std::uint16_t>(in));
    TRY(r.placement, take_varint_as<std::uint16_t>(in));
    TRY(r.piece_size, take_varint_as<std::uint32_t>(in));
    TRY(r.first_unit, take_varint_as<std::uint32_t>(in));
    TRY_VOID(in.done());
    return r;
}

}  // namespace warifu
