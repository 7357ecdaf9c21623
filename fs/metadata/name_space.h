#pragma once
// The namespace of one volume as records in RocksDB: inodes, directory entries, extended attributes, extents,
// references to pieces, the list of pieces to remove. Pure translation of POSIX outcomes into write batches; knows
// nothing of shares, sites or FUSE. Each mutation is one atomic WriteBatch (RocksDB's log orders them).
//
// Thread safety: reads may run on any thread at any time. Mutations: one at a time (REQUIRES the caller's namespace
// lock). A read may block when RocksDB has to fetch a file piece from the sites.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"
#include "fs/base/ids.h"

namespace rocksdb {
class DB;
class WriteBatch;
}  // namespace rocksdb

namespace warifu {

using inode_number = std::uint64_t;
inline constexpr inode_number root_inode = 1;

struct time_stamp {
    std::int64_t seconds = 0;  // since 1970-01-01 UTC, may be negative
    std::uint32_t nanoseconds = 0;
    auto operator<=>(const time_stamp&) const = default;
    static time_stamp now();
};

struct inode {
    inode_number number = 0;
    std::uint32_t mode = 0;  // type and permission bits, as st_mode
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint32_t link_count = 0;
    std::uint64_t size = 0;         // bytes; of a symlink: length of its target; of a directory: entries
    std::uint64_t stored_size = 0;  // bytes covered by extents (st_blocks = divide_up(stored_size, 512))
    std::uint64_t device = 0;       // st_rdev
    inode_number parent = 0;        // directories only: for ".."
    time_stamp access_time, modify_time, change_time, birth_time;

    bool operator==(const inode&) const = default;
};

/// A run of a file's bytes inside one piece of one chunk.
struct extent {
    std::uint64_t file_offset = 0;
    std::uint32_t size = 0;  // bytes
    chunk_id chunk;
    std::uint16_t piece = 0;
    std::uint16_t placement = 0;     // scheme and site list, a number in the volume's placement table
    std::uint32_t piece_size = 0;    // secret bytes of the whole piece
    std::uint32_t piece_offset = 0;  // where this extent starts in the piece
    std::uint32_t first_unit = 0;    // sharing units of the chunk before this piece (places the piece's tags)

    std::uint64_t end() const { return file_offset + size; }
    bool operator==(const extent&) const = default;
};

/// A piece that no extent refers to any more: to be removed at the sites after the commit that freed it is durable.
struct freed_piece {
    std::uint64_t ticket = 0;  // ascending; acknowledge_removed takes it
    chunk_id chunk;
    std::uint16_t piece = 0;
    std::uint16_t placement = 0;
    std::uint32_t piece_size = 0;
    std::uint32_t first_unit = 0;
    bool last_of_chunk = false;  // no other piece of the chunk is alive: the whole chunk can go
};

struct live_piece {
    chunk_id chunk;
    std::uint16_t piece = 0;
    std::uint16_t placement = 0;
    std::uint32_t piece_size = 0;
    std::uint32_t first_unit = 0;
    std::uint32_t references = 0;
};

struct directory_entry {
    std::string name;
    inode_number number = 0;
    std::uint32_t type = 0;    // S_IFMT bits
    std::uint64_t cookie = 0;  // resume readdir after this entry; stable while the entry lives
};

struct new_inode {
    std::uint32_t mode = 0;  // with type bits
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint64_t device = 0;
    std::string symlink_target;
    time_stamp now;
    inode_number number = 0;  // 0: the next one; else this one, which no inode has: what a crash took is done again
};

enum class rename_mode : std::uint8_t { replace, no_replace, exchange };

/// What rename changed beyond the moved entry.
struct rename_outcome {
    std::optional<inode> replaced;  // its state after losing the name (link_count may be 0)
};

struct space_use {
    std::uint64_t inodes = 0;
    std::uint64_t stored_bytes = 0;
};

inline constexpr std::size_t name_size_max = 255;
inline constexpr std::size_t symlink_size_max = 4095;
inline constexpr std::size_t attribute_name_size_max = 255;
inline constexpr std::size_t attribute_value_size_max = 65536;
inline constexpr std::uint32_t link_count_max = 65000;
inline constexpr std::uint64_t file_size_max = 1ULL << 50U;

class name_space {
  public:
    /// `db` outlives this object. A fresh database must be given format() first. Tests cut names' hashes with
    /// `hash_mask` so that names collide; a volume must always be used with one mask.
    explicit name_space(rocksdb::DB& db, std::uint64_t hash_mask = ~std::uint64_t{0});
    ~name_space();

    /// Creates the root directory and the counters. conflict when there is one already.
    result<void> format(std::uint32_t root_mode, std::uint32_t uid, std::uint32_t gid, time_stamp now);
    /// Reads the counters (next inode, space use); bad_format if the records are not ours.
    result<void> open();

    // Reads. not_found where POSIX says ENOENT, not_directory, is_directory, no_attribute likewise.
    result<inode> get(inode_number number) const;
    result<inode> lookup(inode_number parent, std::string_view name) const;
    result<std::string> read_link(inode_number number) const;
    /// Entries after `cookie` (0: from the start), at most `count`; not "." and "..".
    result<std::vector<directory_entry>> list(inode_number directory, std::uint64_t cookie, std::size_t count) const;
    /// Extents that touch [offset, offset + size), ascending.
    result<std::vector<extent>> extents(inode_number number, std::uint64_t offset, std::uint64_t size) const;
    /// The first extent that ends after `offset` (SEEK_DATA).
    result<std::optional<extent>> next_extent(inode_number number, std::uint64_t offset) const;
    result<std::string> get_attribute(inode_number number, std::string_view name) const;
    result<std::vector<std::string>> list_attributes(inode_number number) const;
    space_use use() const;
    /// RocksDB's number of the last mutation, and what it was at open(): a recovered namespace holds exactly the
    /// mutations up to that one.
    std::uint64_t sequence() const;
    std::uint64_t opened_sequence() const;

    // Mutations. Each returns the state after it. Parents' mtime and ctime, link counts, ctime rules: as POSIX says.
    result<inode> create(inode_number parent, std::string_view name, const new_inode& fresh);
    result<inode> link(inode_number number, inode_number parent, std::string_view name, time_stamp now);
    /// Removes a name of a non-directory. When the last name goes the inode stays as an *orphan* until forget_orphan().
    result<inode> unlink(inode_number parent, std::string_view name, time_stamp now);
    result<inode> remove_directory(inode_number parent, std::string_view name, time_stamp now);
    /// Refuses to move a directory below itself (bad_argument). Two names of one inode: nothing happens, success.
    result<rename_outcome> rename(inode_number from, std::string_view from_name, inode_number to,
                                  std::string_view to_name, rename_mode mode, time_stamp now);
    /// Writes the attributes (permission bits, owner, size, times) of an existing inode as given; extents are not
    /// touched. Link count, parent, stored size and a directory's or symlink's size stay what they are.
    result<void> set(const inode& changed);
    enum class attribute_mode : std::uint8_t { any, create_only, replace_only };
    result<void> set_attribute(inode_number number, std::string_view name, std::string_view value, attribute_mode mode,
                               time_stamp now);
    result<void> remove_attribute(inode_number number, std::string_view name, time_stamp now);

    /// Puts `fresh` (ascending, not overlapping) in place of whatever [offset, offset + size) held, clips extents at
    /// the edges, counts references of pieces (a piece whose last reference goes joins the freed list), writes
    /// `changed` as the inode's attributes as set() does (its stored_size is computed here and returned). size may be
    /// 2^64-1-offset for "to the end". A piece of `fresh` must be live or new; one that was freed may not come back.
    result<inode> replace_extents(const inode& changed, std::uint64_t offset, std::uint64_t size,
                                  const std::vector<extent>& fresh);
    /// Makes [to_offset, +size) of `to` share the pieces of [from_offset, +size) of `from`: copy_file_range as
    /// metadata.
    result<inode> clone(inode_number from, std::uint64_t from_offset, const inode& to_changed, std::uint64_t to_offset,
                        std::uint64_t size);

    /// Orphans: inodes without a name (unlinked while open). After a crash all of them are to be forgotten.
    result<std::vector<inode_number>> orphans(std::size_t count) const;
    /// Drops an orphan: its attributes, extents (pieces to the freed list). At most `extent_budget` extents a call:
    /// returns true when it is gone, false when it must be called again.
    result<bool> forget_orphan(inode_number number, std::size_t extent_budget);

    /// The freed list in ticket order. last_of_chunk says what is so at this moment (of every freed piece of such a
    /// chunk).
    result<std::vector<freed_piece>> freed(std::uint64_t after_ticket, std::size_t count) const;
    /// The chunks of which pieces were freed after the ticket, each at least once, in ticket order.
    result<std::vector<chunk_id>> freed_chunks(std::uint64_t after_ticket) const;
    /// The newest ticket that was given out: at a commit's capture, what is freed up to it is freed by that commit.
    std::uint64_t last_freed_ticket() const;
    /// These pieces were removed at every site of the view.
    result<void> acknowledge_removed(const std::vector<std::uint64_t>& tickets);

    /// Live pieces in chunk order, strictly after (chunk, piece), at most `count`: what heal and scrub walk.
    result<std::vector<live_piece>> live_pieces(chunk_id after_chunk, std::uint16_t after_piece,
                                                std::size_t count) const;

  private:
    class impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace warifu
