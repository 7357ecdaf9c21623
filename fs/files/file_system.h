#pragma once
// POSIX semantics over one volume: open files, write-behind, read-ahead, packing of small files into chunks, group
// commit. fs/mount translates FUSE requests into these calls and errors into errno; tools/restore reads through it.
//
// How history is kept in order (contract D2): the bytes of a file join the namespace (chunk id, extents, size) under
// the namespace lock at close, at fsync, when a chunk is full, and at a commit; their chunk may reach the sites later,
// but before the journal record that names it. So every namespace operation after a close is later in the journal than
// the closed file's bytes.
//
// Threads: plain methods may be called from any thread but the core thread, at once; they wait for RocksDB at most, and
// hold no lock meanwhile. The `task` methods run on the core thread: co_spawn them there.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/files/redo_log.h"
#include "fs/metadata/name_space.h"
#include "fs/volume/volume.h"

namespace warifu {

struct file_system_options {
    std::size_t dirty_size_max =
        192U << 20U;  // memory of bytes accepted and not yet at the sites; writers wait above 3/4 of it
    std::size_t read_ahead_size = 16U << 20U;  // per sequential reader, bytes
    std::size_t read_cache_size = 96U << 20U;  // all read-ahead together, bytes
    std::uint32_t commit_interval_ms = 1000;
    bool sync_close = false;         // read by fs/mount: close waits like fsync
    std::shared_ptr<redo_log> redo;  // what a daemon that crashes leaves to the next one; null: nothing
};

using file_handle = std::uint64_t;

struct file_system_counters {
    std::uint64_t bytes_written = 0, bytes_read = 0, commits = 0, commits_failed = 0, chunks_put = 0, puts_failed = 0;
    std::uint64_t dirty_bytes = 0, dirty_memory = 0, open_files = 0, read_cache_bytes = 0, orphans = 0;
    bool uncommitted = false;  // something was changed that is not durable yet
};

/// What write() took.
struct write_progress {
    std::uint64_t size = 0;  // bytes accepted: all of them, or 0
    bool wait = false;       // wait_for_room() before the caller is told (size > 0) or before trying again (size == 0)
};

/// A part of a read: bytes in memory, or a range of a piece that must be fetched.
class cached_block;
struct read_part {
    std::uint32_t size = 0;
    slice bytes;                          // set when they are in memory
    extent where;                         // otherwise: this piece,
    std::uint32_t piece_offset = 0;       // from here,
    std::shared_ptr<cached_block> block;  // through this block of the read cache if set
    std::uint32_t block_offset = 0;       // where in the block
    bool ready() const { return bytes.size() == size; }
};
struct read_plan {
    file_handle handle = 0;
    std::uint64_t offset = 0, size = 0;
    std::vector<read_part> parts;
    bool ready() const {
        for (const auto& part : parts)
            if (!part.ready()) return false;
        return true;
    }
};

/// Set by whoever gives up a wait (an interrupted request); then call wake_waiting().
using interrupt_flag = std::shared_ptr<std::atomic<bool>>;

class file_system {
  public:
    virtual ~file_system() = default;
    /// Starts the committer and, when writable, forgets the orphans of earlier runs in the background. `v` and `core`
    /// outlive it. Core thread, or before it runs. Call drain() before destroying it, unless what is not durable is to
    /// be lost.
    static std::unique_ptr<file_system> make(asio::io_context& core, volume& v, file_system_options options);
    virtual const file_system_options& options() const = 0;
    /// Does again what an earlier daemon of the same mount did and could not commit. Before serving, not on the core
    /// thread, which runs meanwhile. Errors: redo_log::prepare's; then what was lost cannot be told from what was not,
    /// and the mount must not go on.
    virtual result<void> replay() = 0;

    // Namespace. Attributes include bytes that are still in memory (size, times). Errors: name_space.h's; read_only,
    // stale_epoch and what else volume::check_writable() says for changes.
    virtual result<inode> get_attributes(inode_number number) = 0;
    virtual result<inode> lookup(inode_number parent, std::string_view name) = 0;
    /// `umask` is taken off the mode unless the directory has a default access control list, which then decides.
    virtual result<inode> create(inode_number parent, std::string_view name, const new_inode& fresh,
                                 std::uint32_t umask = 0) = 0;
    virtual result<inode> link(inode_number number, inode_number parent, std::string_view name) = 0;
    virtual result<void> unlink(inode_number parent, std::string_view name) = 0;
    virtual result<void> remove_directory(inode_number parent, std::string_view name) = 0;
    virtual result<void> rename(inode_number from, std::string_view from_name, inode_number to,
                                std::string_view to_name, rename_mode mode) = 0;
    virtual result<std::string> read_link(inode_number number) = 0;
    virtual result<std::vector<directory_entry>> list(inode_number directory, std::uint64_t cookie,
                                                      std::size_t count) = 0;
    struct attribute_change {
        std::optional<std::uint32_t> mode;  // permission bits; the type stays
        std::optional<std::uint32_t> uid, gid;
        std::optional<std::uint64_t> size;  // truncates or extends with a hole
        std::optional<time_stamp> access_time, modify_time;
        std::optional<time_stamp> change_time;  // default: now
    };
    /// The attributes after it. A changed size moves mtime unless modify_time is given.
    virtual result<inode> set_attributes(inode_number number, const attribute_change& change) = 0;
    // Extended attributes. system.posix_acl_access and the mode bits follow each other.
    virtual result<std::string> get_attribute(inode_number number, std::string_view name) = 0;
    virtual result<std::vector<std::string>> list_attributes(inode_number number) = 0;
    virtual result<void> set_attribute(inode_number number, std::string_view name, std::string_view value,
                                       name_space::attribute_mode mode) = 0;
    virtual result<void> remove_attribute(inode_number number, std::string_view name) = 0;

    // The kernel's references (FUSE lookup counts): an unlinked inode lives while it is referenced or open.
    virtual void remember(inode_number number, std::uint64_t count) = 0;
    virtual void forget(inode_number number, std::uint64_t count) = 0;

    // Files. A handle keeps its inode alive until release().
    virtual result<file_handle> open(inode_number number, bool for_writing) = 0;
    /// The kernel goes on using a handle that an earlier daemon of the same mount gave out: it is valid after this.
    virtual result<void> adopt(file_handle handle, inode_number number, bool for_writing) = 0;
    /// Copies the bytes into memory of the budget; all or nothing. `append`: at the end of the file. Never waits: says
    /// when the caller should. Errors: no_space (nothing was taken), file_too_big, the file's sticky error.
    virtual result<write_progress> write(file_handle handle, std::uint64_t offset, bytes_view bytes, bool append) = 0;
    /// Returns when the budget has room for `size` bytes, or cancelled when `interrupted` was set and wake_waiting()
    /// called, or drain() is done. 0: the bytes of the caller were taken, and only its answer waits. Core thread.
    virtual task<> wait_for_room(std::uint64_t size, interrupt_flag interrupted) = 0;
    /// Any thread.
    virtual void wake_waiting() = 0;

    /// Bytes that writes ever brought or are bringing, how many of them are at the sites or were given up, and how many
    /// more wait until key is set aside for them. `came` may be less than before when a write fails. Any thread.
    struct intake {
        std::uint64_t came = 0, gone = 0, uncovered = 0;
    };
    virtual intake taken_in() const = 0;
    /// Key is set aside for `bytes` of what had not gone when taken_in() said `gone`: write() accepts no more, and
    /// wait_for_room fails with no_key when no more is covered and no key came (at `key_at` for the last time) for
    /// key_wait_timeout_ms. Never called: without bound. Core thread.
    virtual void cover(std::uint64_t gone, std::uint64_t bytes, deadline key_at) = 0;
    /// As cover(), when it covers less than before: key is about to be given back. taken_in() says afterwards what came
    /// until then.
    virtual void cover_less(std::uint64_t gone, std::uint64_t bytes) = 0;
    /// `wanted` is called on any thread when half of what is covered has come, and when a writer waits for more. Before
    /// anything is written.
    virtual void on_cover_wanted(std::function<void()> wanted) = 0;

    /// Finds where the bytes are; clipped at the end of the file. When the plan is ready() nothing more is needed.
    virtual result<read_plan> plan_read(file_handle handle, std::uint64_t offset, std::uint64_t size) = 0;
    /// Fetches what the plan lacks, several parts at once. Core thread.
    virtual task<std::vector<slice>> fetch(read_plan plan) = 0;

    /// close(2) of one descriptor: the file's bytes join the namespace. Reports the file's sticky error.
    virtual result<void> flush(file_handle handle) = 0;
    virtual void release(file_handle handle) = 0;

    /// fsync in two steps. begin_*: the file's bytes join the namespace; returns a ticket. finish_sync (core thread):
    /// returns when everything up to the ticket is durable at every member, or why not; the error sticks until the data
    /// is safe or rewritten (contract D1).
    virtual result<std::uint64_t> begin_sync(file_handle handle) = 0;
    virtual result<std::uint64_t> begin_sync_all() = 0;
    /// For fsyncdir: every namespace operation before this call; open files' bytes are left alone.
    virtual std::uint64_t begin_sync_names() = 0;
    virtual task<> finish_sync(std::uint64_t ticket) = 0;

    /// fallocate(2): mode 0, FALLOC_FL_KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; others unsupported.
    virtual result<void> allocate(file_handle handle, int mode, std::uint64_t offset, std::uint64_t size) = 0;
    /// SEEK_DATA / SEEK_HOLE; no_such_address at or after the end.
    virtual result<std::uint64_t> seek(file_handle handle, std::uint64_t offset, bool data) = 0;
    /// Shares the pieces: no bytes move. Returns how many bytes were cloned (at most copy_range_size_max a call; 0 at
    /// the end).
    virtual result<std::uint64_t> copy_range(file_handle from, std::uint64_t from_offset, file_handle to,
                                             std::uint64_t to_offset, std::uint64_t size) = 0;

    struct space {
        std::uint64_t capacity = 0, free = 0, inodes = 0;  // bytes, bytes, count
    };
    virtual space statistics() = 0;
    virtual file_system_counters counters() const = 0;

    /// Commits everything and stops the committer; reports what it waits for through `progress` (bytes not yet at the
    /// sites) about once a second. On an error the bytes stay in memory and it may be called again. Core thread.
    virtual task<> drain(std::function<void(std::uint64_t)> progress) = 0;

    // For tools and tests, from any thread but the core thread: they block.
    result<std::vector<slice>> read(asio::io_context& core, file_handle handle, std::uint64_t offset,
                                    std::uint64_t size);
    result<void> write_all(asio::io_context& core, file_handle handle, std::uint64_t offset, bytes_view bytes);
    result<void> sync(asio::io_context& core, file_handle handle);
};

}  // namespace warifu
