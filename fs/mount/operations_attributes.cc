// Attributes: getattr, setattr, extended attributes, statfs.

#include <algorithm>
#include <array>
#include <span>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/files/posix_acl.h"
#include "fs/mount/session.h"

namespace warifu {
namespace {

time_stamp to_time(const timespec& from) {
    return {from.tv_sec, static_cast<std::uint32_t>(from.tv_nsec)};
}

void reply_attributes(fuse_req_t request, const result<inode>& now, bool reading) {
    if (!now) return reply_error(request, now.error(), reading);
    const auto& session = mount_session::of(request);
    const struct stat shown = to_stat(session, *now);
    fuse_reply_attr(request, &shown, session.cache_seconds);
}

void getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info*) {
    reply_attributes(request, mount_session::of(request).files.get_attributes(number), true);
}

/// Set-user-ID and set-group-ID bits: without HANDLE_KILLPRIV the kernel asks for their removal itself, as a change of
/// mode.
void setattr(fuse_req_t request, fuse_ino_t number, struct stat* wanted, int valid, fuse_file_info*) {
    if (mount_session::of(request).done_before())
        return reply_attributes(request, mount_session::of(request).files.get_attributes(number), false);
    file_system::attribute_change change;
    const time_stamp now = time_stamp::now();
    const auto has = [valid](int bit) { return (valid & bit) != 0; };
    if (has(FUSE_SET_ATTR_MODE)) change.mode = wanted->st_mode;
    const auto& session = mount_session::of(request);
    if (has(FUSE_SET_ATTR_UID)) change.uid = session.users.to_stored(wanted->st_uid);
    if (has(FUSE_SET_ATTR_GID)) change.gid = session.groups.to_stored(wanted->st_gid);
    if ((has(FUSE_SET_ATTR_UID) && !change.uid) || (has(FUSE_SET_ATTR_GID) && !change.gid))
        return static_cast<void>(fuse_reply_err(request, EOVERFLOW));
    if (has(FUSE_SET_ATTR_SIZE)) {
        if (wanted->st_size < 0) return static_cast<void>(fuse_reply_err(request, EINVAL));
        change.size = static_cast<std::uint64_t>(wanted->st_size);
    }
    if (has(FUSE_SET_ATTR_ATIME_NOW))
        change.access_time = now;
    else if (has(FUSE_SET_ATTR_ATIME))
        change.access_time = to_time(wanted->st_atim);
    if (has(FUSE_SET_ATTR_MTIME_NOW))
        change.modify_time = now;
    else if (has(FUSE_SET_ATTR_MTIME))
        change.modify_time = to_time(wanted->st_mtim);
    reply_attributes(request, mount_session::of(request).files.set_attributes(number, change), false);
}

/// Access control lists name users and groups; other attributes pass as they are.
bool has_ids(const mount_session& session, std::string_view name) {
    return (!session.users.empty() || !session.groups.empty()) && (name == acl_access_name || name == acl_default_name);
}

result<std::string> to_local_ids(const mount_session& session, std::string_view name, std::string value) {
    if (!has_ids(session, name)) return value;
    TRY(auto list, posix_acl::decode(value));
    TRY_VOID(list.map_ids([&session](std::uint32_t id) { return std::optional(session.users.to_local(id)); },
                          [&session](std::uint32_t id) { return std::optional(session.groups.to_local(id)); }));
    return list.encode();
}

result<std::string> to_stored_ids(const mount_session& session, std::string_view name, std::string value) {
    if (!has_ids(session, name)) return value;
    TRY(auto list, posix_acl::decode(value));
    TRY_VOID(list.map_ids([&session](std::uint32_t id) { return session.users.to_stored(id); },
                          [&session](std::uint32_t id) { return session.groups.to_stored(id); }));
    return list.encode();
}

void getxattr(fuse_req_t request, fuse_ino_t number, const char* name, std::size_t size) {
    auto value = mount_session::of(request).files.get_attribute(number, name);
    if (value) value = to_local_ids(mount_session::of(request), name, std::move(*value));
    if (!value) return reply_error(request, value.error(), true);
    if (size == 0) return static_cast<void>(fuse_reply_xattr(request, value->size()));
    if (value->size() > size) return static_cast<void>(fuse_reply_err(request, ERANGE));
    fuse_reply_buf(request, value->data(), value->size());
}

bool is_in_group(fuse_req_t request, gid_t group) {
    if (fuse_req_ctx(request)->gid == group) return true;
    std::array<gid_t, 256> groups{};  // more than any administration gives; NGROUPS_MAX would be 256 KiB
    const int count = fuse_req_getgroups(request, groups.size(), groups.data());
    const auto known = std::span(groups).first(static_cast<std::size_t>(std::clamp(count, 0, 256)));
    return std::ranges::find(known, group) != known.end();
}

/// Who sets an access list of a set-group-ID file and is neither privileged nor in its group takes the bit away, as
/// with chmod(2). The kernel leaves this to file systems and cannot tell this version of the protocol.
void clear_set_group_id(fuse_req_t request, fuse_ino_t number) {
    auto& files = mount_session::of(request).files;
    if (fuse_req_ctx(request)->uid == 0) return;
    const auto now = files.get_attributes(number);
    if (!now || (now->mode & S_ISGID) == 0 ||
        is_in_group(request, mount_session::of(request).groups.to_local(now->gid)))
        return;
    file_system::attribute_change change;
    change.mode = now->mode & ~static_cast<std::uint32_t>(S_ISGID);
    static_cast<void>(files.set_attributes(number, change));
}

void setxattr(fuse_req_t request, fuse_ino_t number, const char* name, const char* value, std::size_t size, int flags) {
    auto mode = name_space::attribute_mode::any;
    if (flags == XATTR_CREATE)
        mode = name_space::attribute_mode::create_only;
    else if (flags == XATTR_REPLACE)
        mode = name_space::attribute_mode::replace_only;
    else if (flags != 0)
        return static_cast<void>(fuse_reply_err(request, EINVAL));
    auto& session = mount_session::of(request);
    const bool is_access_list = std::string_view(name) == acl_access_name;
    if (session.done_before()) {  // the list; perhaps not what follows from it
        if (is_access_list) clear_set_group_id(request, number);
        return static_cast<void>(fuse_reply_err(request, 0));
    }
    const auto stored = to_stored_ids(session, name, std::string(value, size));
    if (!stored) return reply_error(request, stored.error());
    const auto set = session.files.set_attribute(number, name, *stored, mode);
    if (set && is_access_list) clear_set_group_id(request, number);
    reply_result(request, set);
}

void listxattr(fuse_req_t request, fuse_ino_t number, std::size_t size) {
    const auto names = mount_session::of(request).files.list_attributes(number);
    if (!names) return reply_error(request, names.error(), true);
    std::string joined;
    for (const auto& name : *names) {
        joined += name;
        joined += '\0';
    }
    if (size == 0) return static_cast<void>(fuse_reply_xattr(request, joined.size()));
    if (joined.size() > size) return static_cast<void>(fuse_reply_err(request, ERANGE));
    fuse_reply_buf(request, joined.data(), joined.size());
}

void removexattr(fuse_req_t request, fuse_ino_t number, const char* name) {
    if (mount_session::of(request).done_before()) return static_cast<void>(fuse_reply_err(request, 0));
    reply_result(request, mount_session::of(request).files.remove_attribute(number, name));
}

void statfs(fuse_req_t request, fuse_ino_t) {
    const auto space = mount_session::of(request).files.statistics();
    constexpr std::uint64_t block = 4096;
    struct statvfs shown{};
    shown.f_bsize = block;
    shown.f_frsize = block;
    shown.f_blocks = space.capacity / block;
    shown.f_bfree = shown.f_bavail = space.free / block;
    // Inodes are as many as there is room for; an empty file's records take about this much of every site.
    constexpr std::uint64_t inode_cost = 512;
    shown.f_ffree = shown.f_favail = space.free / inode_cost;
    shown.f_files = space.inodes + shown.f_ffree;
    shown.f_namemax = name_size_max;
    fuse_reply_statfs(request, &shown);
}

}  // namespace

void add_attribute_operations(fuse_lowlevel_ops& table) {
    table.getattr = watched<"getattr", getattr>::call;
    table.setattr = watched<"setattr", setattr>::call;
    table.getxattr = watched<"getxattr", getxattr>::call;
    table.setxattr = watched<"setxattr", setxattr>::call;
    table.listxattr = watched<"listxattr", listxattr>::call;
    table.removexattr = watched<"removexattr", removexattr>::call;
    table.statfs = watched<"statfs", statfs>::call;
}

}  // namespace warifu
