#include "fs/volume/metadata_file_map.h"

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/clock.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

std::int64_t now_seconds() {
    return realtime_ns() / 1'000'000'000;
}

}  // namespace

void file_bytes::append(bytes_view data) {
    while (!data.empty()) {
        const std::size_t at = size_ % block_size;
        if (at == 0) blocks_.emplace_back(block_size);
        const std::size_t part = std::min(data.size(), block_size - at);
        std::memcpy(blocks_.back().data() + at, data.data(), part);
        size_ += part;
        data = data.subspan(part);
    }
}

std::size_t file_bytes::read(std::uint64_t offset, bytes_span out) const {
    if (offset >= size_) return 0;
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), size_ - offset));
    for_each_part(offset, size, [&out](bytes_view part) {
        std::memcpy(out.data(), part.data(), part.size());
        out = out.subspan(part.size());
    });
    return size;
}

table_layout::table_layout(std::vector<table_chunk> list) : chunks(std::move(list)) {
    std::uint64_t end = 0;
    ends.reserve(chunks.size());
    for (const auto& chunk : chunks) ends.push_back(end += chunk.payload_size);
}

void file_map::displace_live(const std::string& name) {
    const auto it = live_.files.find(name);
    if (it != live_.files.end() && it->second.bytes) it->second.bytes->name.clear();
}

void file_map::record(change c) {
    apply(live_, c, nullptr);
    pending_.push_back(std::move(c));
}

std::shared_ptr<file_bytes> file_map::create(const std::string& name) {
    displace_live(name);
    auto bytes = std::make_shared<file_bytes>();
    bytes->name = name;
    record({.kind = edit_kind::create, .name = name, .new_name = {}, .bytes = bytes, .table = {}, .chunks = {}});
    return bytes;
}

void file_map::append(const std::shared_ptr<file_bytes>& file, bytes_view data) {
    const std::uint64_t offset = file->size();
    file->append(data);
    if (file->name.empty() || data.empty()) return;
    auto& entry = live_.files.at(file->name);
    entry.size = file->size();
    entry.modify_time = now_seconds();
    if (!pending_.empty()) {
        auto& last = pending_.back();
        if (last.kind == edit_kind::append && last.bytes == file && last.name == file->name) {
            last.size += data.size();
            return;
        }
    }
    pending_.push_back({.kind = edit_kind::append,
                        .name = file->name,
                        .new_name = {},
                        .bytes = file,
                        .offset = offset,
                        .size = data.size(),
                        .table = {},
                        .chunks = {}});
}

std::shared_ptr<file_bytes> file_map::truncate(const std::shared_ptr<file_bytes>& file, std::uint64_t size) {
    WARIFU_ASSERT(size <= file->size());
    auto cut = std::make_shared<file_bytes>();
    file->for_each_part(0, size, [&cut](bytes_view part) { cut->append(part); });
    cut->name = std::exchange(file->name, {});
    if (!cut->name.empty())
        record({.kind = edit_kind::truncate,
                .name = cut->name,
                .new_name = {},
                .bytes = cut,
                .size = size,
                .table = {},
                .chunks = {}});
    return cut;
}

bool file_map::rename(const std::string& name, const std::string& new_name) {
    const auto it = live_.files.find(name);
    if (it == live_.files.end()) return false;
    if (name == new_name) return true;
    displace_live(new_name);
    if (it->second.bytes) it->second.bytes->name = new_name;
    record({.kind = edit_kind::rename, .name = name, .new_name = new_name, .bytes = {}, .table = {}, .chunks = {}});
    return true;
}

bool file_map::remove(const std::string& name) {
    if (!live_.files.contains(name)) return false;
    displace_live(name);
    record({.kind = edit_kind::remove, .name = name, .new_name = {}, .bytes = {}, .table = {}, .chunks = {}});
    return true;
}

void file_map::put_table(const std::string& name, std::shared_ptr<const table_layout> table) {
    displace_live(name);
    record(
        {.kind = edit_kind::table, .name = name, .new_name = {}, .bytes = {}, .table = std::move(table), .chunks = {}});
}

bool file_map::make_directory(const std::string& name) {
    if (live_.directories.contains(name)) return false;
    record({.kind = edit_kind::make_directory, .name = name, .new_name = {}, .bytes = {}, .table = {}, .chunks = {}});
    return true;
}

bool file_map::remove_directory(const std::string& name) {
    if (!live_.directories.contains(name)) return false;
    record({.kind = edit_kind::remove_directory, .name = name, .new_name = {}, .bytes = {}, .table = {}, .chunks = {}});
    return true;
}

void file_map::abandon(std::vector<table_chunk> chunks) {
    if (chunks.empty()) return;
    record({.kind = edit_kind::abandon,
            .name = {},
            .new_name = {},
            .bytes = {},
            .table = {},
            .chunks = std::move(chunks)});
}

void file_map::drop(file_view& view, const std::string& name, std::vector<table_chunk>* dead) {
    const auto it = view.files.find(name);
    if (it == view.files.end()) return;
    if (dead != nullptr && it->second.table)
        dead->insert(dead->end(), it->second.table->chunks.begin(), it->second.table->chunks.end());
    view.files.erase(it);
}

void file_map::apply(file_view& view, const change& c, std::vector<table_chunk>* dead) {
    switch (c.kind) {
        case edit_kind::create:
            drop(view, c.name, dead);
            view.files[c.name] = {.bytes = c.bytes, .table = {}, .size = 0, .modify_time = now_seconds()};
            break;
        case edit_kind::append:
            view.files.at(c.name).size = c.offset + c.size;
            break;
        case edit_kind::truncate:
            view.files.at(c.name) = {.bytes = c.bytes, .table = {}, .size = c.size, .modify_time = now_seconds()};
            break;
        case edit_kind::rename: {
            drop(view, c.new_name, dead);
            auto node = view.files.extract(c.name);
            node.key() = c.new_name;
            view.files.insert(std::move(node));
            break;
        }
        case edit_kind::remove:
            drop(view, c.name, dead);
            break;
        case edit_kind::table:
            drop(view, c.name, dead);
            view.files[c.name] = {.bytes = {}, .table = c.table, .size = c.table->size(), .modify_time = now_seconds()};
            break;
        case edit_kind::make_directory:
            view.directories.insert(c.name);
            break;
        case edit_kind::remove_directory:
            view.directories.erase(c.name);
            break;
        case edit_kind::abandon:
            if (dead != nullptr) dead->insert(dead->end(), c.chunks.begin(), c.chunks.end());
            break;
    }
}

}  // namespace warifu
