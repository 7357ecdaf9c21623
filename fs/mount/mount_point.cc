#include "fs/mount/mount_point.h"

#include <array>
#include <chrono>
#include <climits>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <thread>
#include <unistd.h>

#include "fs/base/limits.h"
#include "fs/mount/mount_table.h"

namespace warifu {
namespace {

std::string errno_text(int code) {
    return std::strerror(code);
}

result<void> check_device() {
    const int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        struct stat at{};
        const bool is_fuse = ::fstat(fd, &at) == 0 && S_ISCHR(at.st_mode) && at.st_rdev == makedev(10, 229);
        ::close(fd);
        if (is_fuse) return {};
        return fail(errc::not_found, "/dev/fuse is not the device of the fuse kernel module");
    }
    const int code = errno;
    if (code == ENOENT || code == ENODEV || code == ENXIO)
        return fail(errc::not_found, "/dev/fuse is missing: load the fuse kernel module (modprobe fuse)");
    if (code == EACCES || code == EPERM) return fail(errc::denied, "no permission to open /dev/fuse");
    return fail(errc::io_error, fmt::format("/dev/fuse: {}", errno_text(code)));
}

/// What is mounted at this absolute path; empty when nothing is.
mount_entry mounted_at(const std::string& path) {
    mount_entry found;
    for (mount_entry& entry : read_mount_table())
        if (entry.where == path) found = std::move(entry);
    return found;
}

/// The absolute path of a mount point, found without touching what is mounted there: it may be dead, or our own.
result<std::string> absolute_place(const std::string& path) {
    const std::string trimmed = path.substr(0, path.find_last_not_of('/') + 1);
    const auto slash = trimmed.find_last_of('/');
    const std::string parent = slash == std::string::npos ? "." : trimmed.substr(0, std::max<std::size_t>(slash, 1));
    std::array<char, PATH_MAX> absolute{};
    if (::realpath(parent.c_str(), absolute.data()) == nullptr)
        return fail(errc::io_error, fmt::format("{}: {}", parent, errno_text(errno)));
    std::string where = absolute.data();
    if (where.back() != '/') where += '/';
    return where + (slash == std::string::npos ? trimmed : trimmed.substr(slash + 1));
}

result<void> detach_dead(const std::string& path) {
    TRY(const auto where, absolute_place(path));
    const std::string type = mounted_at(where).type;
    if (type != "fuse.warifu")
        return fail(errc::busy,
                    fmt::format("{}: a dead mount of type '{}' is in the way; unmount it first", path, type));
    if (::umount2(where.c_str(), MNT_DETACH) != 0)
        return fail(errc::busy,
                    fmt::format("{}: a dead mount is in the way and cannot be detached: {}", path, errno_text(errno)));
    return {};
}

/// What calls say of a mount whose daemon is gone; the second to those that were under way when it went.
bool is_gone(int code) {
    return code == ENOTCONN || code == ECONNABORTED;
}

/// A mount whose daemon is gone. Attributes may still be cached, so the directory is opened too.
bool is_dead(const std::string& path) {
    struct stat at{};
    if (::stat(path.c_str(), &at) != 0) return is_gone(errno);
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return is_gone(errno);
    ::close(fd);
    return false;
}

result<void> check_empty(const std::string& path) {
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) {
        const int code = errno;
        return fail(code == EACCES ? errc::denied : errc::io_error, fmt::format("{}: {}", path, errno_text(code)));
    }
    bool empty = true;
    while (const dirent* entry = ::readdir(directory)) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") empty = false;
    }
    ::closedir(directory);
    if (!empty) return fail(errc::not_empty, fmt::format("{}: not empty; mount on an empty directory", path));
    return {};
}

}  // namespace

void widen_read_ahead(const std::string& path) {
    const auto where = absolute_place(path);
    const std::string device = where ? mounted_at(*where).device : "";
    if (device.empty()) return;
    const std::string knob = fmt::format("/sys/class/bdi/{}/read_ahead_kb", device);
    const std::string wanted = std::to_string(4 * fuse_request_size_max / 1024);
    int stayed = 0;
    for (int i = 0; i < 50 && stayed < 3; ++i) {
        std::string now;
        std::ifstream(knob) >> now;
        stayed = now == wanted ? stayed + 1 : 0;
        if (stayed == 0) std::ofstream(knob) << wanted;  // without the right to write it stays as it is
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

result<void> check_mountpoint(const std::string& path, bool* detached) {
    *detached = false;
    TRY_VOID(check_device());
    struct stat at{};
    if (is_dead(path)) {
        TRY_VOID(detach_dead(path));
        *detached = true;
    }
    if (::stat(path.c_str(), &at) != 0) {
        const int code = errno;
        const auto kind = code == ENOENT ? errc::not_found : code == EACCES ? errc::denied : errc::io_error;
        return fail(kind, fmt::format("{}: {}", path, errno_text(code)));
    }
    if (!S_ISDIR(at.st_mode)) return fail(errc::not_directory, fmt::format("{}: not a directory", path));
    return check_empty(path);
}

}  // namespace warifu
