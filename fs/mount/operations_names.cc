// Names: lookup, create, remove, rename, list. Each function's comment in fuse_lowlevel.h lists its legal replies.

#include <algorithm>
#include <linux/fs.h>
#include <sys/stat.h>

#include "fs/base/limits.h"
#include "fs/mount/session.h"

namespace warifu {
namespace {

constexpr std::uint64_t offset_after_dot = 1, offset_after_dot_dot = 2;  // cookies of real entries are larger

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
    auto& session = mount_session::of(request);
    const auto found = session.files.lookup(parent, name);
    if (found) return reply_entry(request, *found);
    if (found.error().code != errc::not_found) return reply_error(request, found.error(), true);
    fuse_entry_param nothing{};  // lets the kernel remember that there is no such name
    nothing.entry_timeout = session.cache_seconds;
    fuse_reply_entry(request, &nothing);
}

void forget(fuse_req_t request, fuse_ino_t number, std::uint64_t count) {
    mount_session::of(request).files.forget(number, count);
    fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) {
    auto& files = mount_session::of(request).files;
    for (std::size_t i = 0; i < count; ++i) files.forget(forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(request);
}

/// The owner is the caller; below a set-group-ID directory the group is the directory's and directories inherit the
/// bit.
result<new_inode> fresh_inode(fuse_req_t request, fuse_ino_t parent, mode_t mode) {
    const fuse_ctx* caller = fuse_req_ctx(request);
    const auto& session = mount_session::of(request);
    TRY(const auto directory, session.files.get_attributes(parent));
    const auto uid = session.users.to_stored(caller->uid);
    const auto gid = session.groups.to_stored(caller->gid);
    if (!uid || !gid) return fail(errc::not_permitted, "the caller has no number in the volume");
    new_inode fresh;
    fresh.mode = mode;
    fresh.uid = *uid;
    fresh.gid = *gid;
    fresh.now = time_stamp::now();
    if ((directory.mode & S_ISGID) != 0) {
        fresh.gid = directory.gid;
        if (S_ISDIR(mode)) fresh.mode |= S_ISGID;
    }
    return fresh;
}

/// What an earlier daemon made for this request without telling the kernel; nothing when this one is to make it.
std::optional<result<inode>> made_before(fuse_req_t request) {
    auto& session = mount_session::of(request);
    const auto done = session.done_before();
    if (!done) return std::nullopt;
    return session.files.get_attributes(done->number);
}

void make_node(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device, const char* target) {
    if (const auto made = made_before(request))
        return *made ? reply_entry(request, **made) : reply_error(request, made->error());
    auto fresh = fresh_inode(request, parent, mode);
    if (!fresh) return reply_error(request, fresh.error());
    fresh->device = device;
    if (target != nullptr) fresh->symlink_target = target;
    const auto made = mount_session::of(request).files.create(parent, name, *fresh, fuse_req_ctx(request)->umask);
    if (!made) return reply_error(request, made.error());
    reply_entry(request, *made);
}

void mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
    if ((mode & S_IFMT) == 0) mode |= S_IFREG;
    make_node(request, parent, name, mode, device, nullptr);
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
    make_node(request, parent, name, (mode & ~static_cast<mode_t>(S_IFMT)) | S_IFDIR, 0, nullptr);
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
    make_node(request, parent, name, S_IFLNK | 0777, 0, target);
}

void readlink(fuse_req_t request, fuse_ino_t number) {
    const auto target = mount_session::of(request).files.read_link(number);
    if (!target) return reply_error(request, target.error(), true);
    fuse_reply_readlink(request, target->c_str());
}

void link(fuse_req_t request, fuse_ino_t number, fuse_ino_t parent, const char* name) {
    const auto before = made_before(request);
    const auto linked = before ? *before : mount_session::of(request).files.link(number, parent, name);
    if (!linked) return reply_error(request, linked.error());
    reply_entry(request, *linked);
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
    if (mount_session::of(request).done_before()) return static_cast<void>(fuse_reply_err(request, 0));
    reply_result(request, mount_session::of(request).files.unlink(parent, name));
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
    if (mount_session::of(request).done_before()) return static_cast<void>(fuse_reply_err(request, 0));
    reply_result(request, mount_session::of(request).files.remove_directory(parent, name));
}

void rename(fuse_req_t request, fuse_ino_t from, const char* from_name, fuse_ino_t to, const char* to_name,
            unsigned flags) {
    if (mount_session::of(request).done_before()) return static_cast<void>(fuse_reply_err(request, 0));
    rename_mode mode = rename_mode::replace;
    if (flags == RENAME_NOREPLACE)
        mode = rename_mode::no_replace;
    else if (flags == RENAME_EXCHANGE)
        mode = rename_mode::exchange;
    else if (flags != 0)
        return static_cast<void>(fuse_reply_err(request, EINVAL));
    reply_result(request, mount_session::of(request).files.rename(from, from_name, to, to_name, mode));
}

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) {
    auto& session = mount_session::of(request);
    const auto fresh = fresh_inode(request, parent, (mode & ~static_cast<mode_t>(S_IFMT)) | S_IFREG);
    if (!fresh) return reply_error(request, fresh.error());
    const auto before = made_before(request);
    const auto made = before ? *before : session.files.create(parent, name, *fresh, fuse_req_ctx(request)->umask);
    if (!made) return reply_error(request, made.error());
    const bool writing = (info->flags & O_ACCMODE) != O_RDONLY;
    const auto handle = session.files.open(made->number, writing);
    if (!handle) return reply_error(request, handle.error());
    info->fh = to_kernel(*handle, writing);
    info->keep_cache = 1;
    const fuse_entry_param entry = to_entry(session, *made);
    session.files.remember(made->number, 1);
    if (fuse_reply_create(request, &entry, info) != 0) {
        session.files.release(*handle);
        session.files.forget(made->number, 1);
    }
}

/// One buffer of directory entries, with attributes (`plus`) or without.
class listing {
  public:
    listing(fuse_req_t request, std::size_t size, bool plus)
        : request_(request), session_(mount_session::of(request)), bytes_(size), plus_(plus) {}

    /// False when it does not fit any more. `counted`: the kernel gets a reference with it.
    bool add(const char* name, const fuse_entry_param& entry, std::uint64_t next, bool counted) {
        char* at = bytes_.data() + used_;
        const std::size_t left = bytes_.size() - used_;
        const std::size_t need =
            plus_ ? fuse_add_direntry_plus(request_, at, left, name, &entry, static_cast<off_t>(next))
                  : fuse_add_direntry(request_, at, left, name, &entry.attr, static_cast<off_t>(next));
        if (need > left) return false;
        used_ += need;
        if (plus_ && counted) {
            session_.files.remember(entry.ino, 1);
            remembered_.push_back(entry.ino);
        }
        return true;
    }

    /// "." or "..".
    bool add_dots(const char* name, inode_number number, std::uint64_t next) {
        fuse_entry_param entry{};
        entry.attr.st_ino = number;
        entry.attr.st_mode = S_IFDIR;
        return add(name, entry, next, false);
    }

    bool add_entry(const directory_entry& entry) {
        if (plus_) {
            const auto attributes = session_.files.get_attributes(entry.number);
            if (!attributes) return true;  // removed since
            return add(entry.name.c_str(), to_entry(session_, *attributes), entry.cookie, true);
        }
        fuse_entry_param bare{};
        bare.ino = entry.number;
        bare.attr.st_ino = entry.number;
        bare.attr.st_mode = entry.type;
        return add(entry.name.c_str(), bare, entry.cookie, false);
    }

    void reply() {
        if (fuse_reply_buf(request_, bytes_.data(), used_) == 0) return;
        for (const inode_number number : remembered_) session_.files.forget(number, 1);
    }

    bool empty() const { return used_ == 0; }

  private:
    fuse_req_t request_;
    mount_session& session_;
    std::vector<char> bytes_;
    const bool plus_;
    std::size_t used_ = 0;
    std::vector<inode_number> remembered_;
};

void list(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, bool plus) {
    auto& files = mount_session::of(request).files;
    listing entries(request, std::min(size, fuse_request_size_max), plus);
    auto at = static_cast<std::uint64_t>(offset);
    if (at < offset_after_dot_dot) {
        const auto directory = files.get_attributes(number);
        if (!directory) return reply_error(request, directory.error(), true);
        const inode_number parent = number == root_inode ? root_inode : directory->parent;
        if (at == 0 && !entries.add_dots(".", number, offset_after_dot)) return entries.reply();
        if (!entries.add_dots("..", parent, offset_after_dot_dot)) return entries.reply();
        at = offset_after_dot_dot;
    }
    std::uint64_t cookie = at == offset_after_dot_dot ? 0 : at;
    const std::size_t count = std::clamp<std::size_t>(size / (plus ? 176 : 48), 8, directory_batch_count);
    for (;;) {
        const auto batch = files.list(number, cookie, count);
        if (!batch && entries.empty()) return reply_error(request, batch.error(), true);
        if (!batch || batch->empty()) return entries.reply();
        for (const auto& entry : *batch) {
            if (!entries.add_entry(entry)) return entries.reply();
            cookie = entry.cookie;
        }
    }
}

void readdir(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, fuse_file_info*) {
    list(request, number, size, offset, false);
}

void readdirplus(fuse_req_t request, fuse_ino_t number, std::size_t size, off_t offset, fuse_file_info*) {
    list(request, number, size, offset, true);
}

}  // namespace

void add_name_operations(fuse_lowlevel_ops& table) {
    table.lookup = watched<"lookup", lookup>::call;
    table.forget = forget;
    table.forget_multi = forget_multi;
    table.mknod = watched<"mknod", mknod>::call;
    table.mkdir = watched<"mkdir", mkdir>::call;
    table.symlink = watched<"symlink", symlink>::call;
    table.readlink = watched<"readlink", readlink>::call;
    table.link = watched<"link", link>::call;
    table.unlink = watched<"unlink", unlink>::call;
    table.rmdir = watched<"rmdir", rmdir>::call;
    table.rename = watched<"rename", rename>::call;
    table.create = watched<"create", create>::call;
    table.readdir = watched<"readdir", readdir>::call;
    table.readdirplus = watched<"readdirplus", readdirplus>::call;
}

}  // namespace warifu
