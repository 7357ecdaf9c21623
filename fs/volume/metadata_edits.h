#pragma once
// Edits: the changes of RocksDB's files as bytes of journal records (fs/volume/FORMAT.md, "Metadata file edits").

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/bytes.h"
#include "fs/base/codec.h"
#include "fs/base/error.h"
#include "fs/volume/metadata_files.h"

namespace warifu {

inline constexpr std::uint8_t edits_version = 1;
/// The fixed bytes of an append besides its name and its data: kind, name size, offset, data size.
inline constexpr std::size_t append_overhead = 1 + 1 + 8 + 4;
inline constexpr std::size_t table_chunk_encoded_size = 24 + 2 + 4;

enum class edit_kind : std::uint8_t {
    create = 1,    // an empty file, in place of whatever has the name
    append = 2,    // bytes at the end of a file
    truncate = 3,  // cuts a file to a smaller size
    rename = 4,    // replaces what has the new name
    remove = 5,
    table = 6,  // a whole table file
    make_directory = 7,
    remove_directory = 8,
    abandon = 9,  // table chunks that were put but became part of no file
};

/// One decoded edit; `data` points into the input.
struct edit {
    edit_kind kind = edit_kind::create;
    std::string name;
    std::string new_name;             // rename
    std::uint64_t size = 0;           // append: offset; truncate and table: size of the file
    bytes_view data;                  // append
    std::vector<table_chunk> chunks;  // table, abandon
};

/// True for a relative path of 1 to metadata_file_name_size_max bytes without empty, "." or ".." components and without
/// NUL.
bool is_edit_name(std::string_view name);

/// REQUIRES: is_edit_name of the names. `put_edit_append` leaves the data to the caller, who adds `size` bytes after
/// it.
void put_edit_name(writer& out, edit_kind kind, std::string_view name);
void put_edit_append(writer& out, std::string_view name, std::uint64_t offset, std::uint32_t size);
void put_edit_truncate(writer& out, std::string_view name, std::uint64_t size);
void put_edit_rename(writer& out, std::string_view name, std::string_view new_name);
void put_edit_table(writer& out, std::string_view name, std::uint64_t size, const std::vector<table_chunk>& chunks);
void put_edit_abandon(writer& out, const std::vector<table_chunk>& chunks);

/// Takes one edit from the front of `in`. bad_format or too_large on anything that is not one.
result<edit> take_edit(reader& in);

}  // namespace warifu
