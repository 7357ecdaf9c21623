#pragma once
// Inodes and handles in memory, and the kernel's references.
//
// An inode_state exists for each inode that is open, has dirty bytes, or is removed but still referenced: not for every
// inode that the kernel knows (a `find` over a million files must not cost their states), whose counts are in a compact
// table.
//
// Lock order, outermost first:
//   1. volume::names_lock()      all namespace mutations; insertion into and removal from the inode table
//   2. inode_state::mutex        one at a time, except copy_range: the lower inode number first
//   3. leaves, never held while taking another lock: chunk_writer's, read_cache's, handle_table's, reference_table's,
//      inode_table's shard, open_file::mutex, file_system_impl::dirty_mutex_
// None is held across I/O to the sites; 1 and 2 are held for RocksDB calls whose records were read just before without
// a lock.

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "fs/files/dirty_ranges.h"
#include "fs/metadata/name_space.h"

namespace warifu {

struct inode_state {
    inode_state(const inode& from, std::size_t chunk_size) : number(from.number), attributes(from), dirty(chunk_size) {}

    const inode_number number;

    std::mutex mutex;
    // Guarded by mutex.
    inode attributes;  // the namespace's record; mtime and ctime may be newer (attributes_dirty)
    bool attributes_dirty = false;
    dirty_ranges dirty;
    bool no_capability = false;     // known to have no security.capability (asked before every write(2))
    std::uint64_t last_change = 0;  // the generation in which its last bytes or attributes joined the namespace

    std::vector<std::uint64_t> unsealed;  // where the redo log keeps its dirty bytes

    // Guarded by names_lock.
    std::uint32_t open_count = 0;
    bool forgotten = false;  // the kernel has no reference any more, and gets none because it is removed
    bool removed = false;  // has no name left; open_count or the kernel keeps it

    // Guarded by file_system_impl::dirty_mutex_.
    bool listed_dirty = false;

    /// What stat shows: with the bytes that have not joined the namespace. REQUIRES mutex held.
    inode visible() const {
        inode shown = attributes;
        shown.size = std::max(shown.size, dirty.end());
        shown.stored_size += dirty.bytes();
        return shown;
    }
};

/// One open(2).
struct open_file {
    std::shared_ptr<inode_state> state;
    bool for_writing = false;

    // How it is read: a guess at sequential access. Guarded by mutex.
    std::mutex mutex;
    std::uint64_t next_offset = 0;  // one past the highest byte asked for in this run of sequential reads
    std::uint64_t ahead_end = 0;    // up to here blocks were asked for
    std::uint64_t window = 0;       // bytes to be ahead; 0: random access
};

class inode_table {
  public:
    std::shared_ptr<inode_state> find(inode_number number) const;
    // REQUIRES names_lock held.
    void insert(std::shared_ptr<inode_state> state);
    void erase(inode_number number);

  private:
    struct shard {
        mutable std::mutex mutex;
        std::unordered_map<inode_number, std::shared_ptr<inode_state>> states;  // guarded by mutex
    };
    static constexpr std::size_t shard_count = 16;
    shard& of(inode_number number) { return shards_[number % shard_count]; }
    const shard& of(inode_number number) const { return shards_[number % shard_count]; }
    std::array<shard, shard_count> shards_;
};

class handle_table {
  public:
    /// Handles of a mount's daemons must differ.
    explicit handle_table(std::uint64_t first) : next_(first) {}
    std::uint64_t add(std::shared_ptr<open_file> file);
    /// False when there is such a handle already.
    bool adopt(std::uint64_t handle, std::shared_ptr<open_file> file);
    std::shared_ptr<open_file> find(std::uint64_t handle) const;
    std::shared_ptr<open_file> remove(std::uint64_t handle);
    std::size_t size() const;

  private:
    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, std::shared_ptr<open_file>> files_;
    std::uint64_t next_;
};

/// How often the kernel holds each inode (FUSE's lookup count): 17 bytes an inode at most about twice.
class reference_table {
  public:
    void add(inode_number number, std::uint64_t count);
    /// The kernel has references from before: any inode may be held until the kernel forgets it. Before use.
    void inherit() { inherited_ = true; }
    /// True when the last reference went.
    bool remove(inode_number number, std::uint64_t count);
    bool contains(inode_number number) const;

  private:
    struct shard {
        mutable std::mutex mutex;
        boost::unordered_flat_map<inode_number, std::uint64_t> counts;  // guarded by mutex
    };
    static constexpr std::size_t shard_count = 16;
    shard& of(inode_number number) { return shards_[number % shard_count]; }
    const shard& of(inode_number number) const { return shards_[number % shard_count]; }
    std::array<shard, shard_count> shards_;
    bool inherited_ = false;
};

}  // namespace warifu
