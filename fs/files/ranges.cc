// Truncate, fallocate, lseek, copy_file_range: file_system_impl.h.

#include <algorithm>
#include <linux/falloc.h>

#include "fs/base/codec.h"
#include "fs/base/limits.h"
#include "fs/files/file_system_impl.h"

namespace warifu {
namespace {

inode touched(const inode& before) {
    inode after = before;
    after.modify_time = after.change_time = operation_time();
    return after;
}

}  // namespace

result<inode> file_system_impl::resize(const state_pointer& state, const inode& changed, std::uint64_t size) {
    inode now = changed;
    const bool shrinks = size < changed.size;
    now.size = size;
    if (shrinks) {
        TRY(now, names().replace_extents(now, size, ~0ULL - size, {}));
    } else {
        TRY_VOID(names().set(now));
    }
    if (state) {
        const std::uint64_t bytes = state->dirty.bytes();
        const std::size_t memory = state->dirty.memory();
        state->dirty.erase(size, ~0ULL);
        account(state->dirty, bytes, memory);
        keep_sealed(*state);
    }
    if (size == 0) writer_.forget_failure(changed.number);  // what could not be stored is not wanted any more
    return now;
}

result<void> file_system_impl::punch(inode_state& state, const inode& changed, std::uint64_t offset,
                                     std::uint64_t end) {
    TRY(state.attributes, names().replace_extents(changed, offset, end - offset, {}));
    state.attributes_dirty = false;
    const std::uint64_t bytes = state.dirty.bytes();
    const std::size_t memory = state.dirty.memory();
    state.dirty.erase(offset, end);
    account(state.dirty, bytes, memory);
    keep_sealed(state);
    return {};
}

result<void> file_system_impl::allocate(file_handle handle, int mode, std::uint64_t offset, std::uint64_t size) {
    TRY(const auto file, writable_file_of(handle));
    if (size == 0) return fail(errc::bad_argument, "an empty range");
    if (offset > file_size_max || size > file_size_max - offset)
        return fail(errc::file_too_big, "a file is larger than the limit");
    const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    const int what = mode & ~FALLOC_FL_KEEP_SIZE;
    if (what != 0 && what != FALLOC_FL_ZERO_RANGE && !(what == FALLOC_FL_PUNCH_HOLE && keep_size))
        return fail(errc::unsupported, "this mode of fallocate");
    const state_pointer& state = file->state;
    const std::uint64_t end = offset + size;
    if (what == 0) TRY_VOID(check_space(size));
    warm(state->number, offset, size);
    const std::lock_guard names_guard(volume_.names_lock());
    const std::lock_guard lock(state->mutex);
    const std::uint64_t file_end = std::max(state->attributes.size, state->dirty.end());
    const bool punches = what != 0 && offset < file_end;
    const bool extends = what != FALLOC_FL_PUNCH_HOLE && !keep_size && end > file_end;
    if (!punches && !extends) {  // nothing to do but for the times, which move as they do on local file systems
        inode changed = touched(state->attributes);
        TRY_VOID(names().set(changed));
        state->attributes = changed;
        state->attributes_dirty = false;
        state->last_change = committer_.changed();
    }
    if (punches) {
        // Dirty bytes may define the end of the file: the hole must not shorten it.
        inode changed = touched(state->attributes);
        changed.size = std::max(changed.size, std::min(end, file_end));
        TRY_VOID(punch(*state, changed, offset, std::min(end, file_end)));
        state->last_change = committer_.changed();
    }
    if (extends) {
        TRY(state->attributes, resize(state, touched(state->attributes), end));
        state->attributes_dirty = false;
        state->last_change = committer_.changed();
    }
    redo_operation done;
    done.kind = redo_kind::allocate;
    done.number = state->number;
    done.a = offset;
    done.b = size;
    done.flags = static_cast<std::uint32_t>(mode);
    done.time = state->attributes.change_time;
    keep(done);
    return {};
}

result<std::uint64_t> file_system_impl::seek(file_handle handle, std::uint64_t offset, bool data) {
    TRY(const auto file, file_of(handle));
    inode_state& state = *file->state;
    const auto file_end = [&state] {
        const std::lock_guard lock(state.mutex);
        return std::max(state.attributes.size, state.dirty.end());
    };
    const std::uint64_t end = file_end();
    if (offset >= end) return fail(errc::no_such_address, "at or after the end of the file");
    const auto dirty_data = [&state](std::uint64_t from) {
        const std::lock_guard lock(state.mutex);
        return state.dirty.next_data(from).value_or(~0ULL);
    };
    const auto dirty_end = [&state](std::uint64_t from) {
        const std::lock_guard lock(state.mutex);
        return state.dirty.data_end(from);
    };
    if (data) {
        // Dirty bytes first: bytes that are sealed meanwhile are then found among the extents.
        std::uint64_t found = dirty_data(offset);
        TRY(const auto next, names().next_extent(state.number, offset));
        if (next) found = std::min(found, std::max(offset, next->file_offset));
        if (found >= end) return fail(errc::no_such_address, "no data after this offset");
        return found;
    }
    std::uint64_t at = offset;
    while (at < end) {
        const std::uint64_t before = at;
        at = dirty_end(at);
        TRY(const auto next, names().next_extent(state.number, at));
        if (next && next->file_offset <= at) at = next->end();
        if (at == before) break;
    }
    return std::min(at, end);
}

result<std::uint64_t> file_system_impl::copy_range(file_handle from, std::uint64_t from_offset, file_handle to,
                                                   std::uint64_t to_offset, std::uint64_t size) {
    TRY(const auto source, file_of(from));
    TRY(const auto target, writable_file_of(to));
    const state_pointer a = source->state;
    const state_pointer b = target->state;
    TRY_VOID(seal(a, false));
    size = std::min(size, copy_range_size_max);
    static_cast<void>(names().extents(a->number, from_offset, size));  // so that the lock below waits for nothing
    static_cast<void>(names().extents(b->number, to_offset, size));
    const std::lock_guard names_guard(volume_.names_lock());
    std::unique_lock lock_first(a->number <= b->number ? a->mutex : b->mutex);
    std::unique_lock<std::mutex> lock_second;
    if (a != b) lock_second = std::unique_lock(a->number <= b->number ? b->mutex : a->mutex);
    TRY_VOID(seal_locked(*a, false));  // what came since
    // Were a write to the target from before done again after a crash, this would have to be too, and its source may
    // have changed by then.
    if (redo_) TRY_VOID(seal_locked(*b, false));
    if (from_offset >= a->attributes.size) return 0;
    size = std::min(size, a->attributes.size - from_offset);
    if (size == 0) return 0;
    if (to_offset > file_size_max || size > file_size_max - to_offset)
        return fail(errc::file_too_big, "a file is larger than the limit");
    if (a == b && from_offset < to_offset + size && to_offset < from_offset + size)
        return fail(errc::bad_argument, "the ranges overlap");
    inode changed = touched(b->attributes);
    changed.size = std::max(changed.size, to_offset + size);
    TRY(const auto shared, names().extents(a->number, from_offset, size));
    TRY(b->attributes, names().clone(a->number, from_offset, changed, to_offset, size));
    b->attributes_dirty = false;
    b->last_change = committer_.changed();
    for (const extent& e : shared) writer_.add_owner(e.chunk, b->number);
    const std::uint64_t bytes = b->dirty.bytes();
    const std::size_t memory = b->dirty.memory();
    b->dirty.erase(to_offset, to_offset + size);
    account(b->dirty, bytes, memory);
    keep_sealed(*b);
    redo_operation done;
    done.kind = redo_kind::copy_range;
    done.number = b->number;
    done.a = a->number;
    done.b = size;
    done.time = changed.change_time;
    keep(done, writer(16).put_be(from_offset).put_be(to_offset).take());
    return size;
}

}  // namespace warifu
