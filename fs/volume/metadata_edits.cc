#include "fs/volume/metadata_edits.h"

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

static_assert(metadata_file_name_size_max <= 255, "a name's size is one byte");

void put_name(writer& out, std::string_view name) {
    WARIFU_ASSERT(is_edit_name(name));
    out.put_be(static_cast<std::uint8_t>(name.size())).put_bytes(as_bytes_view(name));
}

void put_chunks(writer& out, const std::vector<table_chunk>& chunks) {
    out.put_be(static_cast<std::uint32_t>(chunks.size()));
    for (const auto& chunk : chunks) out.put(chunk.chunk).put_be(chunk.placement).put_be(chunk.payload_size);
}

result<std::string> take_name(reader& in) {
    TRY(const auto size, in.take_be<std::uint8_t>());
    TRY(const auto bytes, in.take_bytes(size));
    std::string name(as_text(bytes));
    if (!is_edit_name(name)) return fail(errc::bad_format, "a metadata file has an impossible name");
    return name;
}

result<std::vector<table_chunk>> take_chunks(reader& in) {
    TRY(const auto count, in.take_count(table_chunk_encoded_size, table_chunk_count_max));
    std::vector<table_chunk> chunks;
    chunks.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        TRY(const auto id, in.take<chunk_id>());
        TRY(const auto placement, in.take_be<std::uint16_t>());
        TRY(const auto payload_size, in.take_be<std::uint32_t>());
        if (payload_size == 0 || payload_size > chunk_size_max)
            return fail(errc::bad_format, "a table chunk has an impossible size");
        chunks.push_back({id, placement, payload_size});
    }
    return chunks;
}

result<void> take_table(reader& in, edit& e) {
    TRY(e.size, in.take_be<std::uint64_t>());
    TRY(e.chunks, take_chunks(in));
    std::uint64_t sum = 0;
    for (const auto& chunk : e.chunks) sum += chunk.payload_size;
    if (sum != e.size) return fail(errc::bad_format, "a table's size is not that of its chunks");
    return {};
}

}  // namespace

bool is_edit_name(std::string_view name) {
    if (name.empty() || name.size() > metadata_file_name_size_max) return false;
    if (name.find('\0') != std::string_view::npos) return false;
    while (true) {
        const auto slash = name.find('/');
        const auto component = name.substr(0, slash);
        if (component.empty() || component == "." || component == "..") return false;
        if (slash == std::string_view::npos) return true;
        name.remove_prefix(slash + 1);
    }
}

void put_edit_name(writer& out, edit_kind kind, std::string_view name) {
    out.put_be(static_cast<std::uint8_t>(kind));
    put_name(out, name);
}

void put_edit_append(writer& out, std::string_view name, std::uint64_t offset, std::uint32_t size) {
    put_edit_name(out, edit_kind::append, name);
    out.put_be(offset).put_be(size);
}

void put_edit_truncate(writer& out, std::string_view name, std::uint64_t size) {
    put_edit_name(out, edit_kind::truncate, name);
    out.put_be(size);
}

void put_edit_rename(writer& out, std::string_view name, std::string_view new_name) {
    put_edit_name(out, edit_kind::rename, name);
    put_name(out, new_name);
}

void put_edit_table(writer& out, std::string_view name, std::uint64_t size, const std::vector<table_chunk>& chunks) {
    put_edit_name(out, edit_kind::table, name);
    out.put_be(size);
    put_chunks(out, chunks);
}

void put_edit_abandon(writer& out, const std::vector<table_chunk>& chunks) {
    out.put_be(static_cast<std::uint8_t>(edit_kind::abandon));
    put_chunks(out, chunks);
}

result<edit> take_edit(reader& in) {
    TRY(const auto kind, in.take_be<std::uint8_t>());
    edit e;
    e.kind = static_cast<edit_kind>(kind);
    if (e.kind == edit_kind::abandon) {
        TRY(e.chunks, take_chunks(in));
        return e;
    }
    if (kind < static_cast<std::uint8_t>(edit_kind::create) || kind > static_cast<std::uint8_t>(edit_kind::abandon))
        return fail(errc::bad_format, "an unknown kind of metadata file edit");
    TRY(e.name, take_name(in));
    switch (e.kind) {
        case edit_kind::append: {
            TRY(e.size, in.take_be<std::uint64_t>());
            TRY(e.data, in.take_sized(metadata_file_size_max));
            break;
        }
        case edit_kind::truncate: {
            TRY(e.size, in.take_be<std::uint64_t>());
            break;
        }
        case edit_kind::rename: {
            TRY(e.new_name, take_name(in));
            break;
        }
        case edit_kind::table:
            TRY_VOID(take_table(in, e));
            break;
        default:
            break;
    }
    return e;
}

}  // namespace warifu
