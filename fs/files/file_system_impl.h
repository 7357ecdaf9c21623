#pragma once
// The one implementation of `file_system`. Its parts:
//
//   names.cc     operations on names and attributes
//   files.cc     open, write, read, flush, release, fsync, drain
//   ranges.cc    truncate, fallocate, lseek, copy_file_range
//   redo.cc      what a daemon that crashes leaves to the next one
//   sealing.cc   dirty bytes join the namespace; inodes without a name are forgotten
//
// Lock order: inode_table.h. Every mutation of the namespace looks like this: check_writable(); take names_lock();
// settle() what memory knows better (times of late writes); mutate; refresh() the states of the inodes that it changed;
// changed().

#include <set>

#include "fs/files/committer.h"
#include "fs/files/file_reader.h"
#include "fs/files/file_system.h"

namespace warifu {

/// The time of what this thread does: now, or, when it is done again after a crash, when it was done first.
time_stamp operation_time();

class file_system_impl final : public file_system {
  public:
    file_system_impl(asio::io_context& core, volume& v, file_system_options options);
    ~file_system_impl() override;
    void start();

    const file_system_options& options() const override { return options_; }

    result<inode> get_attributes(inode_number number) override;
    result<inode> lookup(inode_number parent, std::string_view name) override;
    result<inode> create(inode_number parent, std::string_view name, const new_inode& fresh,
                         std::uint32_t umask) override;
    result<inode> link(inode_number number, inode_number parent, std::string_view name) override;
    result<void> unlink(inode_number parent, std::string_view name) override;
    result<void> remove_directory(inode_number parent, std::string_view name) override;
    result<void> rename(inode_number from, std::string_view from_name, inode_number to, std::string_view to_name,
                        rename_mode mode) override;
    result<std::string> read_link(inode_number number) override;
    result<std::vector<directory_entry>> list(inode_number directory, std::uint64_t cookie, std::size_t count) override;
    result<inode> set_attributes(inode_number number, const attribute_change& change) override;
    result<std::string> get_attribute(inode_number number, std::string_view name) override;
    result<std::vector<std::string>> list_attributes(inode_number number) override;
    result<void> set_attribute(inode_number number, std::string_view name, std::string_view value,
                               name_space::attribute_mode mode) override;
    result<void> remove_attribute(inode_number number, std::string_view name) override;
    void remember(inode_number number, std::uint64_t count) override;
    void forget(inode_number number, std::uint64_t count) override;

    result<void> replay() override;
    result<file_handle> open(inode_number number, bool for_writing) override;
    result<void> adopt(file_handle handle, inode_number number, bool for_writing) override;
    result<write_progress> write(file_handle handle, std::uint64_t offset, bytes_view bytes, bool append) override;
    task<> wait_for_room(std::uint64_t size, interrupt_flag interrupted) override;
    void wake_waiting() override;
    intake taken_in() const override;
    void cover(std::uint64_t gone, std::uint64_t bytes, deadline key_at) override {
        budget_.cover(gone, bytes, key_at);
    }
    void cover_less(std::uint64_t gone, std::uint64_t bytes) override { budget_.cover_less(gone, bytes); }
    void on_cover_wanted(std::function<void()> wanted) override { budget_.on_cover_wanted(std::move(wanted)); }
    result<read_plan> plan_read(file_handle handle, std::uint64_t offset, std::uint64_t size) override;
    task<std::vector<slice>> fetch(read_plan plan) override;
    result<void> flush(file_handle handle) override;
    void release(file_handle handle) override;
    result<std::uint64_t> begin_sync(file_handle handle) override;
    result<std::uint64_t> begin_sync_all() override;
    std::uint64_t begin_sync_names() override;
    task<> finish_sync(std::uint64_t ticket) override;
    result<void> allocate(file_handle handle, int mode, std::uint64_t offset, std::uint64_t size) override;
    result<std::uint64_t> seek(file_handle handle, std::uint64_t offset, bool data) override;
    result<std::uint64_t> copy_range(file_handle from, std::uint64_t from_offset, file_handle to,
                                     std::uint64_t to_offset, std::uint64_t size) override;
    space statistics() override;
    file_system_counters counters() const override;
    task<> drain(std::function<void(std::uint64_t)> progress) override;

  private:
    using state_pointer = std::shared_ptr<inode_state>;

    name_space& names() { return volume_.names(); }
    /// Whether changes are accepted at all.
    result<void> check_writable() const;
    /// Errors: no_space when `size` more bytes would not fit with what was accepted before.
    result<void> check_space(std::uint64_t size) const;
    result<std::shared_ptr<open_file>> file_of(file_handle handle) const;
    result<std::shared_ptr<open_file>> writable_file_of(file_handle handle) const;

    // names.cc
    /// The inode as the volume has it. In a follower one that is not there is a stale_handle, upon which the kernel
    /// looks its name up again; else not_found.
    result<inode> get_stored(inode_number number);
    /// In a follower: takes over what the volume knows by now of an open file. stale_handle: it was removed.
    result<inode> follow(inode_number number);
    /// In a follower: a plan all of whose parts belong to one state of the file.
    result<read_plan> plan_followed(open_file& file, std::uint64_t offset, std::uint64_t size);
    result<std::string> get_access_list(inode_number number);
    result<void> set_access_list(inode_number number, std::string_view value, name_space::attribute_mode mode);

    // names.cc; REQUIRES names_lock held.
    void settle(inode_number number);
    void refresh(const inode& now);
    void refresh(inode_number number);
    /// The inode lost its last name: it lives while it is referenced or open.
    void removed(const inode& last);
    inode overlay(const inode& stored);

    // files.cc
    committer::hooks commit_hooks();
    result<std::shared_ptr<open_file>> open_file_of(inode_number number, bool for_writing);
    void close_file(const open_file& file);

    // redo.cc
    /// Keeps a mutation that was just made. REQUIRES names_lock held, or for a write the state's mutex.
    void keep(redo_operation operation, const byte_vector& payload = {});
    /// Whether the redo log can take a write of this size; else writers are held until a commit makes room.
    bool has_redo_room(std::size_t size);
    void keep_write(inode_state& state, std::uint64_t offset, bytes_view bytes, bool append);
    /// None of the file's bytes is only in memory now. REQUIRES names_lock and state.mutex held.
    void keep_sealed(inode_state& state);
    result<void> redo(const redo_operation& operation);
    static byte_vector encode(const attribute_change& change);
    result<file_handle> redo_handle(inode_number number);
    result<void> redo_create(const redo_operation& operation);
    result<void> redo_write(const redo_operation& operation);
    result<void> redo_attributes(const redo_operation& operation);
    result<void> redo_allocate(const redo_operation& operation);
    result<void> redo_copy(const redo_operation& operation);

    // ranges.cc; REQUIRES names_lock held, and the state's mutex if there is a state.
    result<inode> resize(const state_pointer& state, const inode& changed, std::uint64_t size);
    result<void> punch(inode_state& state, const inode& changed, std::uint64_t offset, std::uint64_t end);
    void account(const dirty_ranges& now, std::uint64_t bytes_before, std::size_t memory_before);
    /// Reads the extents of a range so that RocksDB has them in memory when they are read again under the lock.
    void warm(inode_number number, std::uint64_t offset, std::uint64_t size);

    // sealing.cc
    void list_dirty(const state_pointer& state);
    /// Every dirty run (only_full: every full one) gets its place. Takes the locks.
    result<void> seal(const state_pointer& state, bool only_full);
    /// REQUIRES names_lock and state->mutex held.
    result<void> seal_locked(inode_state& state, bool only_full);
    result<void> seal_run(inode_state& state, const dirty_run& run);
    void seal_dirty();
    /// Drops the state when nothing needs it. REQUIRES names_lock held.
    void let_go(const state_pointer& state);
    void forget_later(inode_number number);
    bool forget_orphan(inode_number number);
    void forget_old_orphans();
    result<void> flush_file(const open_file& file);

    asio::io_context& core_;
    volume& volume_;
    const file_system_options options_;
    const std::size_t chunk_size_;
    const bool follows_;  // the volume was opened read-only: it changes without us
    const std::shared_ptr<redo_log> redo_;
    const bool resumed_;  // an earlier daemon served this mount
    handle_table handles_;
    reference_table references_;

    std::unordered_map<inode_number, file_handle> redo_handles_;  // while replay() runs

    std::mutex dirty_mutex_;
    std::vector<state_pointer> dirty_;  // guarded by dirty_mutex_

    std::atomic<std::uint64_t> bytes_written_ = 0, bytes_read_ = 0, orphans_ = 0;
    std::atomic<bool> closing_ = false;
    const std::shared_ptr<int> alive_ = std::make_shared<int>(0);
    /// What coroutines of the core thread refer to. Abandoned, not destroyed, when the file system goes without drain()
    /// while the core thread runs on: what is in flight cannot be called back.
    struct parts {
        parts(asio::io_context& core, volume& v, const file_system_options& options, committer::hooks calls);
        dirty_budget budget;
        inode_table inodes;
        chunk_writer writer;
        file_reader reader;
        asio::thread_pool worker{1};  // RocksDB work that the core thread asks for
        committer commits;
    };
    std::unique_ptr<parts> parts_;
    dirty_budget& budget_;
    inode_table& inodes_;
    chunk_writer& writer_;
    file_reader& reader_;
    asio::thread_pool& worker_;
    committer& committer_;
};

}  // namespace warifu
