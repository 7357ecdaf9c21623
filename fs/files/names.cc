// Operations on names and attributes: file_system_impl.h.

#include <sys/stat.h>

#include "fs/base/codec.h"
#include "fs/files/file_system_impl.h"
#include "fs/files/posix_acl.h"

namespace warifu {
namespace {

constexpr std::string_view capability_name = "security.capability";

/// xattr(7): the kernel leaves the name spaces to the file system. Those that are not ours are unsupported.
result<void> check_attribute_name(std::string_view name) {
    if (name == acl_access_name || name == acl_default_name) return {};
    for (const std::string_view space : {"user.", "trusted.", "security."}) {
        if (!name.starts_with(space)) continue;
        if (name.size() == space.size()) return fail(errc::bad_argument, "an attribute without a name");
        return {};
    }
    return fail(errc::unsupported, "no such space of attributes");
}

redo_operation operation_on(redo_kind kind, inode_number number, std::uint64_t a = 0, std::uint64_t b = 0) {
    redo_operation done;
    done.kind = kind;
    done.number = number;
    done.a = a;
    done.b = b;
    done.time = operation_time();
    return done;
}

byte_vector texts(std::string_view first, std::string_view second = {}) {
    return writer().put_sized(as_bytes_view(first)).put_sized(as_bytes_view(second)).take();
}

byte_vector fields_of(const new_inode& fresh, std::string_view name) {
    return writer()
        .put_be(fresh.mode)
        .put_be(fresh.uid)
        .put_be(fresh.gid)
        .put_sized(as_bytes_view(name))
        .put_sized(as_bytes_view(fresh.symlink_target))
        .take();
}

}  // namespace

result<void> file_system_impl::check_writable() const {
    if (auto why = committer_.fatal()) return fail(*why);
    return volume_.check_writable();
}

/// Late writes' times go into the record before the record is rewritten for another reason, so that nothing moves back.
void file_system_impl::settle(inode_number number) {
    const auto state = inodes_.find(number);
    if (!state) return;
    const std::lock_guard lock(state->mutex);
    if (!state->attributes_dirty) return;
    if (names().set(state->attributes)) state->attributes_dirty = false;
}

void file_system_impl::refresh(const inode& now) {
    const auto state = inodes_.find(now.number);
    if (!state) return;
    const std::lock_guard lock(state->mutex);
    state->attributes = now;
    state->last_change = committer_.last_change();
}

void file_system_impl::refresh(inode_number number) {
    if (!inodes_.find(number)) return;
    if (auto now = names().get(number)) refresh(*now);
}

result<inode> file_system_impl::get_stored(inode_number number) {
    auto found = names().get(number);
    if (!found && follows_ && found.error().code == errc::not_found)
        return fail(errc::stale_handle, "the writer removed it");
    return found;
}

result<inode> file_system_impl::follow(inode_number number) {
    const std::lock_guard lock(volume_.names_lock());
    auto now = get_stored(number);
    if (now) refresh(*now);
    return now;
}

inode file_system_impl::overlay(const inode& stored) {
    const auto state = follows_ ? nullptr : inodes_.find(stored.number);
    if (!state) return stored;
    const std::lock_guard lock(state->mutex);
    return state->visible();
}

result<inode> file_system_impl::get_attributes(inode_number number) {
    const auto state = follows_ ? nullptr : inodes_.find(number);
    if (!state) return get_stored(number);
    const std::lock_guard lock(state->mutex);
    return state->visible();
}

result<inode> file_system_impl::lookup(inode_number parent, std::string_view name) {
    auto found = names().lookup(parent, name);
    if (!found && follows_ && found.error().code == errc::not_found) TRY_VOID(get_stored(parent));
    if (!found) return found;
    return overlay(*found);
}

result<inode> file_system_impl::create(inode_number parent, std::string_view name, const new_inode& fresh,
                                       std::uint32_t umask) {
    TRY_VOID(check_writable());
    TRY_VOID(check_space(1));
    const auto inherited =
        S_ISLNK(fresh.mode) ? fail(errc::no_attribute) : names().get_attribute(parent, acl_default_name);
    new_inode masked = fresh;
    std::optional<posix_acl> access;
    if (inherited) {
        TRY(access, posix_acl::decode(*inherited));
        masked.mode = access->inherit(fresh.mode);
    } else if (!S_ISLNK(fresh.mode)) {
        masked.mode &= ~(umask & 0777U);
    }
    const std::lock_guard lock(volume_.names_lock());
    TRY(auto made, names().create(parent, name, masked));
    committer_.changed();
    refresh(parent);
    if (access) {
        const auto any = name_space::attribute_mode::any;
        if (!access->is_minimal())
            TRY_VOID(names().set_attribute(made.number, acl_access_name, access->encode(), any, fresh.now));
        if (S_ISDIR(fresh.mode))
            TRY_VOID(names().set_attribute(made.number, acl_default_name, *inherited, any, fresh.now));
        TRY(made, names().get(made.number));
    }
    redo_operation done = operation_on(redo_kind::create, made.number, parent, fresh.device);
    done.time = fresh.now;
    done.flags = umask;
    if (redo_) keep(done, fields_of(fresh, name));
    return made;
}

result<inode> file_system_impl::link(inode_number number, inode_number parent, std::string_view name) {
    TRY_VOID(check_writable());
    if (const auto state = inodes_.find(number)) TRY_VOID(seal(state, false));
    const std::lock_guard lock(volume_.names_lock());
    settle(number);
    TRY(const auto linked, names().link(number, parent, name, operation_time()));
    refresh(linked);
    refresh(parent);
    committer_.changed();
    if (redo_) keep(operation_on(redo_kind::link, number, parent), texts(name));
    return overlay(linked);
}

void file_system_impl::removed(const inode& last) {
    auto state = inodes_.find(last.number);
    if (!state) {
        state = std::make_shared<inode_state>(last, chunk_size_);
        inodes_.insert(state);
    }
    state->removed = true;
    ++orphans_;
    let_go(state);
}

result<void> file_system_impl::unlink(inode_number parent, std::string_view name) {
    TRY_VOID(check_writable());
    TRY(const auto found, names().lookup(parent, name));
    const std::lock_guard lock(volume_.names_lock());
    settle(found.number);
    TRY(const auto left, names().unlink(parent, name, operation_time()));
    committer_.changed();
    refresh(left);
    refresh(parent);
    if (redo_) keep(operation_on(redo_kind::unlink, left.number, parent), texts(name));
    if (left.link_count == 0) removed(left);
    return {};
}

result<void> file_system_impl::remove_directory(inode_number parent, std::string_view name) {
    TRY_VOID(check_writable());
    static_cast<void>(names().lookup(parent, name));  // so that the lock below waits for nothing
    const std::lock_guard lock(volume_.names_lock());
    TRY(const auto left, names().remove_directory(parent, name, operation_time()));
    committer_.changed();
    refresh(parent);
    refresh(left);
    if (redo_) keep(operation_on(redo_kind::remove_directory, left.number, parent), texts(name));
    removed(left);
    return {};
}

result<void> file_system_impl::rename(inode_number from, std::string_view from_name, inode_number to,
                                      std::string_view to_name, rename_mode mode) {
    TRY_VOID(check_writable());
    TRY(const auto moving, names().lookup(from, from_name));
    // Whoever renames a file over another that is still open expects its bytes to come along.
    if (const auto state = inodes_.find(moving.number)) TRY_VOID(seal(state, false));
    const auto target = names().lookup(to, to_name);
    const std::lock_guard lock(volume_.names_lock());
    settle(moving.number);
    if (target) settle(target->number);
    TRY(const auto outcome, names().rename(from, from_name, to, to_name, mode, operation_time()));
    committer_.changed();
    refresh(moving.number);
    refresh(from);
    if (to != from) refresh(to);
    if (target && target->number != moving.number && !outcome.replaced) refresh(target->number);
    redo_operation done = operation_on(redo_kind::rename, moving.number, from, to);
    done.flags = static_cast<std::uint32_t>(mode);
    if (redo_) keep(done, texts(from_name, to_name));
    if (outcome.replaced) {
        refresh(*outcome.replaced);
        if (outcome.replaced->link_count == 0) removed(*outcome.replaced);
    }
    return {};
}

result<std::string> file_system_impl::read_link(inode_number number) {
    return names().read_link(number);
}

result<std::vector<directory_entry>> file_system_impl::list(inode_number directory, std::uint64_t cookie,
                                                            std::size_t count) {
    if (follows_) TRY_VOID(get_stored(directory));
    return names().list(directory, cookie, count);
}

result<inode> file_system_impl::set_attributes(inode_number number, const attribute_change& change) {
    TRY_VOID(check_writable());
    if (change.size) {
        if (*change.size > file_size_max) return fail(errc::file_too_big, "a file is larger than the limit");
        warm(number, *change.size, ~0ULL - *change.size);
    }
    const std::lock_guard lock(volume_.names_lock());
    const auto state = inodes_.find(number);
    std::unique_lock<std::mutex> state_lock;
    if (state) state_lock = std::unique_lock(state->mutex);
    auto current = state ? result<inode>(state->attributes) : names().get(number);
    if (!current) return current;
    inode changed = *current;
    const time_stamp now = operation_time();
    if (change.mode) changed.mode = (changed.mode & S_IFMT) | (*change.mode & ~static_cast<std::uint32_t>(S_IFMT));
    if (change.uid) changed.uid = *change.uid;
    if (change.gid) changed.gid = *change.gid;
    changed.change_time = change.change_time.value_or(now);
    if (change.size) changed.modify_time = now;
    if (change.access_time) changed.access_time = *change.access_time;
    if (change.modify_time) changed.modify_time = *change.modify_time;
    if (change.size) {
        TRY(changed, resize(state, changed, *change.size));
    } else {
        TRY_VOID(names().set(changed));
    }
    const auto generation = committer_.changed();
    redo_operation done = operation_on(redo_kind::set_attributes, number);
    done.time = now;
    if (redo_) keep(done, encode(change));
    if (!state) return changed;
    state->attributes = changed;
    state->attributes_dirty = false;
    state->last_change = generation;
    return state->visible();
}

result<std::string> file_system_impl::get_attribute(inode_number number, std::string_view name) {
    TRY_VOID(check_attribute_name(name));
    if (name == acl_access_name) return get_access_list(number);
    if (name != capability_name) return names().get_attribute(number, name);
    const auto state = follows_ ? nullptr : inodes_.find(number);
    if (state) {
        const std::lock_guard lock(state->mutex);
        if (state->no_capability) return fail(errc::no_attribute);
    }
    auto value = names().get_attribute(number, name);
    if (state && !value && value.error().code == errc::no_attribute) {
        // Whoever sets it holds names_lock, so that this cannot hide a value set since the question.
        const std::lock_guard lock(volume_.names_lock());
        if (!names().get_attribute(number, name)) {
            const std::lock_guard state_lock(state->mutex);
            state->no_capability = true;
        }
    }
    return value;
}

/// The mode bits are the truth about owner, mask and others: chmod changes them alone.
result<std::string> file_system_impl::get_access_list(inode_number number) {
    TRY(const auto stored, names().get_attribute(number, acl_access_name));
    TRY(const auto now, get_attributes(number));
    TRY(auto list, posix_acl::decode(stored));
    list.set_mode(now.mode);
    return list.encode();
}

/// Sets the mode bits with it; a list that says no more than they do is not kept.
result<void> file_system_impl::set_access_list(inode_number number, std::string_view value,
                                               name_space::attribute_mode mode) {
    TRY(const auto list, posix_acl::decode(value));
    const std::lock_guard lock(volume_.names_lock());
    settle(number);
    TRY(auto changed, names().get(number));
    if (S_ISLNK(changed.mode)) return fail(errc::unsupported, "a symbolic link has no access control list");
    if (list.is_minimal()) {
        const auto removed = names().remove_attribute(number, acl_access_name, operation_time());
        if (!removed && removed.error().code != errc::no_attribute) return removed;
    } else {
        TRY_VOID(names().set_attribute(number, acl_access_name, value, mode, operation_time()));
    }
    changed.mode = (changed.mode & ~0777U) | list.mode();
    changed.change_time = operation_time();
    TRY_VOID(names().set(changed));
    committer_.changed();
    refresh(number);
    redo_operation done = operation_on(redo_kind::set_attribute, number);
    done.flags = static_cast<std::uint32_t>(mode);
    if (redo_) keep(done, texts(acl_access_name, value));
    return {};
}

result<std::vector<std::string>> file_system_impl::list_attributes(inode_number number) {
    return names().list_attributes(number);
}

result<void> file_system_impl::set_attribute(inode_number number, std::string_view name, std::string_view value,
                                             name_space::attribute_mode mode) {
    TRY_VOID(check_attribute_name(name));
    TRY_VOID(check_writable());
    TRY_VOID(check_space(1));
    if (name == acl_access_name) return set_access_list(number, value, mode);
    if (name == acl_default_name) {
        TRY_VOID(posix_acl::decode(value));
        TRY(const auto directory, names().get(number));
        if (!S_ISDIR(directory.mode)) return fail(errc::access_denied, "only directories have default lists");
    }
    const std::lock_guard lock(volume_.names_lock());
    settle(number);
    TRY_VOID(names().set_attribute(number, name, value, mode, operation_time()));
    committer_.changed();
    refresh(number);
    redo_operation done = operation_on(redo_kind::set_attribute, number);
    done.flags = static_cast<std::uint32_t>(mode);
    if (redo_) keep(done, texts(name, value));
    if (const auto state = inodes_.find(number)) {
        const std::lock_guard state_lock(state->mutex);
        state->no_capability = false;
    }
    return {};
}

result<void> file_system_impl::remove_attribute(inode_number number, std::string_view name) {
    TRY_VOID(check_attribute_name(name));
    TRY_VOID(check_writable());
    const std::lock_guard lock(volume_.names_lock());
    settle(number);
    TRY_VOID(names().remove_attribute(number, name, operation_time()));
    committer_.changed();
    refresh(number);
    if (redo_) keep(operation_on(redo_kind::remove_attribute, number), texts(name));
    return {};
}

void file_system_impl::remember(inode_number number, std::uint64_t count) {
    references_.add(number, count);
}

void file_system_impl::forget(inode_number number, std::uint64_t count) {
    if (!references_.remove(number, count)) return;
    const auto state = inodes_.find(number);
    if (!state) {
        if (!resumed_) return;
        // Perhaps it lost its last name under an earlier daemon of this mount.
        const auto last = names().get(number);
        if (last && last->link_count == 0) forget_later(number);
        return;
    }
    const std::lock_guard lock(volume_.names_lock());
    state->forgotten = state->removed;
    let_go(state);
}

}  // namespace warifu
