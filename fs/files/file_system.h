#pragma once
// POSIX semantics over one volume: open files, write-behind, read-ahead, packing of small files into chunks, group commit.
// fs/mount translates FUSE requests into these calls and errors into errno; tools/restore reads through it.
//
// How history is kept in order (contract D2): the bytes of a file join the namespace (chunk id, extents, size) under the
// namespace lock at close, at fsync, when a chunk is full, and at every commit; their chunk may reach the sites later, but before
// the journal record that names it. So every namespace operation after a close is later in the journal than the closed
// file's bytes.
//
// Threads: all methods may be called from any thread but the core thread, at once. The `task` methods run on the core thread:
// co_spawn them there. Namespace methods block for RocksDB only.

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fs/metadata/name_space.h"
#include "fs/volume/volume.h"

namespace warifu {

struct file_system_options {
    std::size_t dirty_size_max = 192U << 20U;      // bytes accepted and not yet at the sites; writers wait above it
    std::size_t read_ahead_size = 16U << 20U;      // per sequential reader, bytes
    std::size_t read_cache_size = 96U << 20U;      // all read-ahead together, bytes
    std::uint32_t commit_interval_ms = 1000;
    bool sync_close = false;
};

using file_handle = std::uint64_t;

struct file_system_counters {
    std::uint64_t bytes_written = 0, bytes_read = 0, commits = 0, chunks_put = 0, dirty_bytes = 0, open_files = 0;
};

class file_system {
  public:
    virtual ~file_system() = default;
    /// Starts the committer. `v` outlives it. Core thread.
    static std::unique_ptr<file_system> make(asio::io_context& core, volume& v, file_system_options options);

    // Namespace. Attributes include bytes that are still in memory (size, times).
    virtual result<inode> get_attributes(inode_number number) = 0;
    virtual result<inode> lookup(inode_number parent, std::string_view name) = 0;
    virtual result<inode> create(inode_number parent, std::string_view name, const new_inode& fresh) = 0;
    virtual result<inode> link(inode_number number, inode_number parent, std::string_view name) = 0;
    virtual result<void> unlink(inode_number parent, std::string_view name) = 0;
    virtual result<void> remove_directory(inode_number parent, std::string_view name) = 0;
    virtual result<void> rename(inode_number from, std::string_view from_name, inode_number to, std::string_view to_name,
                                rename_mode mode) = 0;
    virtual result<std::string> read_link(inode_number number) = 0;
    virtual result<std::vector<directory_entry>> list(inode_number directory, std::uint64_t cookie, std::size_t count) = 0;
    struct attribute_change {
        std::optional<std::uint32_t> mode, uid, gid;
        std::optional<std::uint64_t> size;
        std::optional<time_stamp> access_time, modify_time;
        std::optional<time_stamp> change_time;
    };
    virtual result<inode> set_attributes(inode_number number, const attribute_change& change) = 0;
    virtual result<std::string> get_attribute(inode_number number, std::string_view name) = 0;
    virtual result<std::vector<std::string>> list_attributes(inode_number number) = 0;
    virtual result<void> set_attribute(inode_number number, std::string_view name, std::string_view value,
                                       name_space::attribute_mode mode) = 0;
    virtual result<void> remove_attribute(inode_number number, std::string_view name) = 0;

    // The kernel's references (FUSE lookup counts): an unlinked inode lives while it is referenced.
    virtual void remember(inode_number number, std::uint64_t count) = 0;
    virtual void forget(inode_number number, std::uint64_t count) = 0;

    // Files.
    virtual result<file_handle> open(inode_number number, bool for_writing) = 0;
    /// Copies the bytes; returns when they are in budgeted memory (waits while dirty_size_max is reached). `append`: at the end.
    virtual task<std::uint64_t> write(file_handle handle, std::uint64_t offset, slice bytes, bool append) = 0;
    virtual task<std::vector<slice>> read(file_handle handle, std::uint64_t offset, std::uint64_t size) = 0;
    /// close(2) of one descriptor: the file's bytes join the namespace. With sync_close: durable when it returns.
    virtual task<> flush(file_handle handle) = 0;
    virtual void release(file_handle handle) = 0;
    /// Durable, or the error, which sticks until the data is safe or rewritten (contract D1).
    virtual task<> sync(file_handle handle) = 0;
    virtual task<> sync_directory(inode_number directory) = 0;
    virtual task<> sync_all() = 0;
    virtual result<void> allocate(file_handle handle, int mode, std::uint64_t offset, std::uint64_t size) = 0;
    /// SEEK_DATA / SEEK_HOLE.
    virtual result<std::uint64_t> seek(file_handle handle, std::uint64_t offset, bool data) = 0;
    /// Shares the pieces: no bytes move. Returns how many bytes were cloned.
    virtual task<std::uint64_t> copy_range(file_handle from, std::uint64_t from_offset, file_handle to, std::uint64_t to_offset,
                                           std::uint64_t size) = 0;

    struct space {
        std::uint64_t capacity = 0, free = 0, inodes = 0;  // bytes, bytes, count
    };
    virtual space statistics() = 0;
    virtual file_system_counters counters() const = 0;

    /// Commits everything and stops. Reports what it waits for through `progress` (bytes still dirty). Core thread.
    virtual task<> drain(std::function<void(std::uint64_t)> progress) = 0;
};

}  // namespace warifu
