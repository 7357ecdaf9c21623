// Dirty bytes join the namespace; inodes without a name are forgotten: file_system_impl.h.

#include <algorithm>

#include "fs/base/limits.h"
#include "fs/files/file_system_impl.h"

namespace warifu {

void file_system_impl::list_dirty(const state_pointer& state) {
    {
        const std::lock_guard lock(dirty_mutex_);
        if (!state->listed_dirty) {
            state->listed_dirty = true;
            dirty_.push_back(state);
        }
    }
    committer_.arm();
}

void file_system_impl::warm(inode_number number, std::uint64_t offset, std::uint64_t size) {
    // Only the records' presence in RocksDB's cache is wanted; an error will come back where the records are used.
    if (size <= chunk_size_max)
        static_cast<void>(names().extents(number, offset, size));
    else
        static_cast<void>(names().next_extent(number, offset));
}

result<void> file_system_impl::seal(const state_pointer& state, bool only_full) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> overwritten;
    {
        const std::lock_guard lock(state->mutex);
        if (state->dirty.empty()) return {};
        if (state->attributes.stored_size != 0)
            for (const auto& part : state->dirty.find(0, state->attributes.size))
                overwritten.emplace_back(part.offset, part.bytes.size());
    }
    for (const auto& [offset, size] : overwritten) warm(state->number, offset, size);
    const std::lock_guard names_guard(volume_.names_lock());
    const std::lock_guard lock(state->mutex);
    return seal_locked(*state, only_full);
}

result<void> file_system_impl::seal_locked(inode_state& state, bool only_full) {
    if (!only_full) {
        const std::size_t memory = state.dirty.memory();
        state.dirty.merge_small();
        account(state.dirty, state.dirty.bytes(), memory);
    }
    while (const dirty_run* run = state.dirty.front(only_full)) TRY_VOID(seal_run(state, *run));
    keep_sealed(state);
    return {};
}

result<void> file_system_impl::seal_run(inode_state& state, const dirty_run& run) {
    const extent where = writer_.place(run.offset, run.size);
    inode changed = state.attributes;
    changed.size = std::max(changed.size, run.end());
    TRY(state.attributes, names().replace_extents(changed, run.offset, run.size, {where}));
    state.attributes_dirty = false;
    state.last_change = committer_.changed();
    dirty_run taken = state.dirty.take(run.offset);
    if (taken.size < taken.bytes.size() / 2) {  // a tail in a chunk's buffer: do not hold the chunk's memory for it
        buffer tight = buffer::copy_of(taken.bytes.view(0, taken.size));
        budget_.add(0, static_cast<std::int64_t>(tight.size()) - static_cast<std::int64_t>(taken.bytes.size()));
        taken.bytes = std::move(tight);
    }
    const std::size_t memory = taken.bytes.size();
    slice bytes = slice(std::move(taken.bytes)).part(0, taken.size);
    writer_.add(where, std::move(bytes), memory, state.number);
    return {};
}

/// Worker thread.
void file_system_impl::seal_dirty() {
    std::vector<state_pointer> listed;
    {
        const std::lock_guard lock(dirty_mutex_);
        listed.swap(dirty_);
        for (const auto& state : listed) state->listed_dirty = false;
    }
    for (const auto& state : listed) {
        // An error keeps the bytes where they are; close and fsync of the file try again and report it.
        if (!seal(state, false)) list_dirty(state);
        const std::lock_guard names_guard(volume_.names_lock());
        let_go(state);
    }
}

void file_system_impl::let_go(const state_pointer& state) {
    if (state->open_count != 0) return;
    if (inodes_.find(state->number) != state) return;
    if (state->removed) {
        if (!state->forgotten && references_.contains(state->number)) return;
        const std::lock_guard lock(state->mutex);
        const std::uint64_t bytes = state->dirty.bytes();
        const std::size_t memory = state->dirty.memory();
        state->dirty.erase(0, ~0ULL);  // nobody can read them any more
        account(state->dirty, bytes, memory);
        keep_sealed(*state);
        inodes_.erase(state->number);
        --orphans_;
        forget_later(state->number);
        return;
    }
    const std::lock_guard lock(state->mutex);
    if (state->dirty.empty() && !state->attributes_dirty) inodes_.erase(state->number);
}

void file_system_impl::forget_later(inode_number number) {
    asio::post(worker_, [this, number] { forget_orphan(number); });
}

/// Worker thread. A large file goes in steps, so that nobody waits for the namespace lock for long.
bool file_system_impl::forget_orphan(inode_number number) {
    while (!closing_) {
        const std::lock_guard lock(volume_.names_lock());
        if (inodes_.find(number)) return false;  // opened again by number meanwhile: its release comes back here
        const auto gone = names().forget_orphan(number, orphan_step_extents);
        if (!gone) return false;  // what is left is forgotten at the next open of the volume
        committer_.changed();
        writer_.forget_failure(number);
        if (*gone) return true;
    }
    return false;
}

/// Worker thread: inodes that lost their last name in an earlier run, which ended before they were closed.
void file_system_impl::forget_old_orphans() {
    while (!closing_) {
        const auto found = names().orphans(1000);
        if (!found) return;
        std::size_t forgotten = 0;
        for (const inode_number number : *found) {
            if (inodes_.find(number)) continue;  // removed by this run, and in use
            if (forget_orphan(number)) ++forgotten;
        }
        if (forgotten == 0) return;
    }
}

}  // namespace warifu
