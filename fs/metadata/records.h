#pragma once
// The records of the namespace: keys and values as bytes (fs/metadata/FORMAT.md). Encoding is pure; nothing here reads.

#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/codec.h"
#include "fs/metadata/name_hash.h"
#include "fs/metadata/name_space.h"

namespace warifu {

enum class record_kind : std::uint8_t {
    header = 'H',
    counters = 'C',
    epoch = 'B',
    inode = 'I',
    entry = 'E',
    symlink = 'L',
    attribute = 'A',
    extent = 'X',
    piece = 'P',
    freed = 'F',
    orphan = 'O',
};

inline constexpr std::uint16_t name_space_version = 1;

/// Epochs (16 bytes) are numbered from 1 on in the order in which the namespace met them, so that a chunk's name is
/// short.
using epoch_number = std::uint32_t;

struct header_record {
    name_hash_key hash_key{};
};

struct counters_record {
    std::uint64_t inodes = 0;
    std::uint64_t stored_bytes = 0;
    std::uint64_t next_ticket = 1;
    std::uint64_t inodes_reserved = root_inode + 1;  // numbers below may be in use
    bool operator==(const counters_record&) const = default;
};

/// One name of a directory, or (type 0) the placeholder that keeps a chain of colliding names together.
struct entry_record {
    std::uint32_t type = 0;  // S_IFMT bits
    inode_number number = 0;
    std::uint8_t last_collision = 0;  // only at collision number 0: the highest that the chain uses
    std::string name;
    bool is_placeholder() const { return type == 0; }
};

/// A chunk's short name.
struct chunk_key {
    epoch_number epoch = 0;
    std::uint64_t sequence = 0;
    auto operator<=>(const chunk_key&) const = default;
};

struct extent_record {
    extent value;  // chunk.epoch is left zero: `epoch` names it
    epoch_number epoch = 0;
};

struct piece_record {
    std::uint32_t references = 0;
    std::uint16_t placement = 0;
    std::uint32_t piece_size = 0;
    std::uint32_t first_unit = 0;
};

struct freed_record {
    chunk_key chunk;
    std::uint16_t piece = 0;
    std::uint16_t placement = 0;
    std::uint32_t piece_size = 0;
    std::uint32_t first_unit = 0;
};

// Keys. A key that begins another record's key is its *prefix*; prefix_end is the least key after all that begin with
// it.
std::string header_key();
std::string counters_key();
std::string epoch_prefix();
std::string epoch_key(epoch_number number);
std::string inode_key(inode_number number);
std::string entry_prefix(inode_number directory);
std::string entry_key(inode_number directory, std::uint64_t cookie);
std::string symlink_key(inode_number number);
std::string attribute_prefix(inode_number number);
std::string attribute_key(inode_number number, std::string_view name);
std::string extent_prefix(inode_number number);
/// Extents are keyed by where they end, so that the first one after an offset is one seek away.
std::string extent_key(inode_number number, std::uint64_t end);
std::string piece_prefix();
std::string piece_prefix(epoch_number epoch);
std::string piece_prefix(const chunk_key& chunk);
std::string piece_key(const chunk_key& chunk, std::uint16_t piece);
std::string freed_prefix();
std::string freed_key(std::uint64_t ticket);
std::string orphan_prefix();
std::string orphan_key(inode_number number);
std::string prefix_end(std::string prefix);

// Parts of keys, back from bytes.
result<epoch_number> decode_epoch_key(std::string_view key);
result<std::uint64_t> decode_entry_cookie(std::string_view key);
result<std::uint64_t> decode_freed_ticket(std::string_view key);
result<inode_number> decode_orphan_key(std::string_view key);
struct stored_piece {
    chunk_key chunk;
    std::uint16_t piece = 0;
};
result<stored_piece> decode_piece_key(std::string_view key);

// Values.
std::string encode(const header_record& r);
std::string encode(const counters_record& r);
std::string encode(const ballot& b);
std::string encode(const inode& i);
std::string encode(const entry_record& r);
std::string encode(const extent_record& r);
std::string encode(const piece_record& r);
std::string encode(const freed_record& r);

result<header_record> decode_header(std::string_view value);
result<counters_record> decode_counters(std::string_view value);
result<ballot> decode_epoch(std::string_view value);
result<inode> decode_inode(inode_number number, std::string_view value);
result<entry_record> decode_entry(std::string_view value);
/// Takes the extent's end from its key.
result<extent_record> decode_extent(std::string_view key, std::string_view value);
result<piece_record> decode_piece(std::string_view value);
result<freed_record> decode_freed(std::string_view value);

}  // namespace warifu
