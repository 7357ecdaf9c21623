// The stream side of file_map: changes to bytes and back.

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/limits.h"
#include "fs/volume/metadata_file_map.h"

namespace warifu {
namespace {

/// Data bytes of one append edit of a snapshot; a batch's appends are bounded by its size.
constexpr std::uint64_t append_size_max = 256U << 20U;

std::size_t name_size(const std::string& name) {
    return 1 + name.size();
}

std::size_t table_size(const std::string& name, const table_layout& table) {
    return 1 + name_size(name) + 8 + 4 + table.chunks.size() * table_chunk_encoded_size;
}

static_assert(1 + 1 + metadata_file_name_size_max + 8 + 4 + table_chunk_count_max * table_chunk_encoded_size + 1 <=
                  edit_batch_size_min,
              "the largest table edit fits into the smallest batch");

}  // namespace

std::size_t file_map::encoded_size(const change& c) {
    switch (c.kind) {
        case edit_kind::append:
            return append_overhead + c.name.size() + c.size;
        case edit_kind::truncate:
            return 1 + name_size(c.name) + 8;
        case edit_kind::rename:
            return 1 + name_size(c.name) + name_size(c.new_name);
        case edit_kind::table:
            return table_size(c.name, *c.table);
        case edit_kind::abandon:
            return 1 + 4 + c.chunks.size() * table_chunk_encoded_size;
        default:
            return 1 + name_size(c.name);
    }
}

void file_map::encode(writer& out, const change& c, std::uint64_t append_size) {
    switch (c.kind) {
        case edit_kind::append:
            put_edit_append(out, c.name, c.offset, static_cast<std::uint32_t>(append_size));
            c.bytes->for_each_part(c.offset, append_size, [&out](bytes_view part) { out.put_bytes(part); });
            break;
        case edit_kind::truncate:
            put_edit_truncate(out, c.name, c.size);
            break;
        case edit_kind::rename:
            put_edit_rename(out, c.name, c.new_name);
            break;
        case edit_kind::table:
            put_edit_table(out, c.name, c.table->size(), c.table->chunks);
            break;
        case edit_kind::abandon:
            put_edit_abandon(out, c.chunks);
            break;
        default:
            put_edit_name(out, c.kind, c.name);
            break;
    }
}

edit_batch file_map::take(std::size_t size_max) {
    WARIFU_ASSERT(size_max >= edit_batch_size_min);
    edit_batch batch;
    if (pending_.empty()) return batch;
    std::size_t expected = 1;
    for (const auto& c : pending_) expected += encoded_size(c);
    writer out(std::min(expected, size_max));  // exact, so that no plaintext stays behind in outgrown memory
    out.put_be(edits_version);
    while (!pending_.empty()) {
        change& c = pending_.front();
        const std::size_t left = size_max - out.size();
        const std::size_t whole = encoded_size(c);
        if (c.kind == edit_kind::table && batch.chunks.size() + c.table->chunks.size() > record_chunk_count_max) break;
        if (whole > left) {
            if (c.kind != edit_kind::append || left <= append_overhead + c.name.size()) break;
            change head = c;
            head.size = left - append_overhead - c.name.size();
            encode(out, head, head.size);
            apply(taken_, head, nullptr);
            c.offset += head.size;
            c.size -= head.size;
            break;
        }
        encode(out, c, c.size);
        if (c.kind == edit_kind::table)
            for (const auto& chunk : c.table->chunks) batch.chunks.push_back(chunk.chunk);
        apply(taken_, c, &batch.dead);
        pending_.pop_front();
    }
    batch.bytes = out.take();
    return batch;
}

std::size_t file_map::snapshot_size() const {
    std::size_t size = 1;
    for (const auto& name : taken_.directories) size += 1 + name_size(name);
    for (const auto& [name, entry] : taken_.files) {
        if (entry.table) {
            size += table_size(name, *entry.table);
        } else {
            size += 1 + name_size(name) + entry.size;
            size += divide_up(entry.size, append_size_max) * (append_overhead + name.size());
        }
    }
    return size;
}

byte_vector file_map::snapshot() const {
    const std::size_t size = snapshot_size();
    writer out(size);
    out.put_be(edits_version);
    for (const auto& name : taken_.directories) put_edit_name(out, edit_kind::make_directory, name);
    for (const auto& [name, entry] : taken_.files) {
        if (entry.table) {
            put_edit_table(out, name, entry.table->size(), entry.table->chunks);
            continue;
        }
        put_edit_name(out, edit_kind::create, name);
        for (std::uint64_t offset = 0; offset < entry.size; offset += append_size_max) {
            const std::uint64_t part = std::min(append_size_max, entry.size - offset);
            put_edit_append(out, name, offset, static_cast<std::uint32_t>(part));
            entry.bytes->for_each_part(offset, part, [&out](bytes_view bytes) { out.put_bytes(bytes); });
        }
    }
    WARIFU_ASSERT(out.size() == size);
    return out.take();
}

result<file_map::change> file_map::change_of_append(edit e) {
    const auto it = live_.files.find(e.name);
    if (it == live_.files.end() || !it->second.bytes) return fail(errc::bad_format, "an append to no metadata file");
    if (it->second.size != e.size) return fail(errc::bad_format, "an append is not at the end of its metadata file");
    if (e.size + e.data.size() > metadata_file_size_max) return fail(errc::too_large, "a metadata file is too large");
    it->second.bytes->append(e.data);
    return change{.kind = e.kind,
                  .name = std::move(e.name),
                  .new_name = {},
                  .bytes = it->second.bytes,
                  .offset = e.size,
                  .size = e.data.size(),
                  .table = {},
                  .chunks = {}};
}

result<file_map::change> file_map::change_of_truncate(edit e) {
    const auto it = live_.files.find(e.name);
    if (it == live_.files.end() || !it->second.bytes) return fail(errc::bad_format, "a cut of no metadata file");
    if (e.size > it->second.size) return fail(errc::bad_format, "a cut beyond the end of a metadata file");
    auto cut = std::make_shared<file_bytes>();
    it->second.bytes->for_each_part(0, e.size, [&cut](bytes_view part) { cut->append(part); });
    cut->name = std::exchange(it->second.bytes->name, {});
    return change{.kind = e.kind,
                  .name = std::move(e.name),
                  .new_name = {},
                  .bytes = std::move(cut),
                  .size = e.size,
                  .table = {},
                  .chunks = {}};
}

result<file_map::change> file_map::change_of(edit e) {
    change c{.kind = e.kind, .name = e.name, .new_name = e.new_name, .bytes = {}, .table = {}, .chunks = {}};
    switch (e.kind) {
        case edit_kind::append:
            return change_of_append(std::move(e));
        case edit_kind::truncate:
            return change_of_truncate(std::move(e));
        case edit_kind::create:
            displace_live(e.name);
            c.bytes = std::make_shared<file_bytes>();
            c.bytes->name = e.name;
            break;
        case edit_kind::rename: {
            const auto it = live_.files.find(e.name);
            if (it == live_.files.end() || e.name == e.new_name)
                return fail(errc::bad_format, "a renaming of no metadata file");
            displace_live(e.new_name);
            if (it->second.bytes) it->second.bytes->name = e.new_name;
            break;
        }
        case edit_kind::remove:
            if (!live_.files.contains(e.name)) return fail(errc::bad_format, "a removal of no metadata file");
            displace_live(e.name);
            break;
        case edit_kind::table:
            displace_live(e.name);
            c.table = std::make_shared<const table_layout>(std::move(e.chunks));
            break;
        case edit_kind::make_directory:
            if (live_.directories.contains(e.name)) return fail(errc::bad_format, "a metadata directory twice");
            break;
        case edit_kind::remove_directory:
            if (!live_.directories.contains(e.name))
                return fail(errc::bad_format, "a removal of no metadata directory");
            break;
        case edit_kind::abandon:
            break;
    }
    return c;
}

result<void> file_map::load(bytes_view edits) {
    if (has_edits()) return fail(errc::conflict, "metadata files changed since they were loaded");
    if (edits.empty()) return {};
    reader in(edits);
    TRY(const auto version, in.take_be<std::uint8_t>());
    if (version != edits_version) return fail(errc::bad_version, "metadata file edits of another version");
    while (in.left() > 0) {
        TRY(edit e, take_edit(in));
        TRY(const change c, change_of(std::move(e)));
        apply(live_, c, nullptr);
        apply(taken_, c, nullptr);
    }
    return {};
}

}  // namespace warifu
