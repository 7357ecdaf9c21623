// Calls on names, attributes and extended attributes.

#include <cerrno>
#include <cstring>
#include <endian.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/fs.h>
#include <sstream>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/posix/machine.h"

namespace warifu::posix {
namespace {

/// "now", "omit" or SECONDS.NANOSECONDS (nine digits).
timespec time_of(const std::string& text) {
    if (text == "now") return {0, UTIME_NOW};
    if (text == "omit") return {0, UTIME_OMIT};
    const auto dot = text.find('.');
    const long nanoseconds = dot == std::string::npos ? 0 : std::strtol(text.c_str() + dot + 1, nullptr, 10);
    return {std::strtol(text.c_str(), nullptr, 10), nanoseconds};
}

/// "u::rwx,u:5:r,g::r,m::rw,o::-" as the kernel's attribute (linux/posix_acl_xattr.h).
std::string encode_acl(const std::string& text) {
    std::string out;
    const auto put = [&out](auto raw) { out.append(reinterpret_cast<const char*>(&raw), sizeof raw); };
    put(htole32(2));
    std::istringstream entries(text);
    for (std::string one; std::getline(entries, one, ',');) {
        std::istringstream parts(one);
        std::string kind, id, rights;
        std::getline(parts, kind, ':');
        std::getline(parts, id, ':');
        std::getline(parts, rights, ':');
        std::uint16_t tag = kind == "u" ? 0x01 : kind == "g" ? 0x04 : kind == "m" ? 0x10 : kind == "o" ? 0x20 : 0x80;
        if (!id.empty()) tag = kind == "u" ? 0x02 : 0x08;
        unsigned bits = 0;
        for (const char c : rights) bits |= c == 'r' ? 4U : c == 'w' ? 2U : c == 'x' ? 1U : 0U;
        put(htole16(tag));
        put(htole16(static_cast<std::uint16_t>(bits)));
        put(htole32(id.empty() ? 0xffffffffU : static_cast<std::uint32_t>(std::stoul(id))));
    }
    return out;
}

const char* acl_name(const std::string& kind) {
    return kind == "default" ? "system.posix_acl_default" : "system.posix_acl_access";
}

}  // namespace

machine::outcome machine::create(arguments a) {
    const int fd = ::open(a[0].c_str(), O_CREAT | O_EXCL | O_WRONLY, a.size() > 1 ? octal(a[1]) : 0644);
    const int code = errno;
    if (fd >= 0) ::close(fd);
    return returned(fd < 0 ? -1 : 0, code);
}
machine::outcome machine::mkdir(arguments a) {
    return returned(::mkdir(a[0].c_str(), a.size() > 1 ? octal(a[1]) : 0755), errno);
}
/// mknod PATH f|p|s|c|b MODE [MAJOR MINOR]
machine::outcome machine::mknod(arguments a) {
    const char kind = a[1][0];
    const mode_t type = kind == 'p'   ? S_IFIFO
                        : kind == 's' ? S_IFSOCK
                        : kind == 'c' ? S_IFCHR
                        : kind == 'b' ? S_IFBLK
                        : kind == 'd' ? S_IFDIR
                                      : S_IFREG;
    const dev_t device =
        a.size() > 4 ? makedev(static_cast<unsigned>(number(a[3])), static_cast<unsigned>(number(a[4]))) : 0;
    return returned(::mknod(a[0].c_str(), type | octal(a[2]), device), errno);
}
machine::outcome machine::symlink(arguments a) {
    return returned(::symlink(a[0].c_str(), a[1].c_str()), errno);
}
/// link OLD NEW [follow]
machine::outcome machine::link(arguments a) {
    const int flags = a.size() > 2 ? AT_SYMLINK_FOLLOW : 0;
    return returned(::linkat(AT_FDCWD, a[0].c_str(), AT_FDCWD, a[1].c_str(), flags), errno);
}
machine::outcome machine::unlink(arguments a) {
    return returned(::unlink(a[0].c_str()), errno);
}
machine::outcome machine::rmdir(arguments a) {
    return returned(::rmdir(a[0].c_str()), errno);
}
/// rename OLD NEW [noreplace|exchange|whiteout|NUMBER]
machine::outcome machine::rename(arguments a) {
    unsigned flags = 0;
    if (a.size() > 2)
        flags = a[2] == "noreplace"  ? RENAME_NOREPLACE
                : a[2] == "exchange" ? RENAME_EXCHANGE
                : a[2] == "whiteout" ? RENAME_WHITEOUT
                                     : static_cast<unsigned>(number(a[2]));
    return returned(::syscall(SYS_renameat2, AT_FDCWD, a[0].c_str(), AT_FDCWD, a[1].c_str(), flags), errno);
}
machine::outcome machine::chmod(arguments a) {
    return returned(::chmod(a[0].c_str(), octal(a[1])), errno);
}
machine::outcome machine::chown(arguments a) {
    return returned(::chown(a[0].c_str(), static_cast<uid_t>(number(a[1])), static_cast<gid_t>(number(a[2]))), errno);
}
machine::outcome machine::lchown(arguments a) {
    return returned(::lchown(a[0].c_str(), static_cast<uid_t>(number(a[1])), static_cast<gid_t>(number(a[2]))), errno);
}
/// utimens PATH ATIME MTIME [nofollow]
machine::outcome machine::utimens(arguments a) {
    const timespec both[2] = {time_of(a[1]), time_of(a[2])};
    return returned(::utimensat(AT_FDCWD, a[0].c_str(), both, a.size() > 3 ? AT_SYMLINK_NOFOLLOW : 0), errno);
}
/// access PATH [rwx]
machine::outcome machine::access(arguments a) {
    int mode = F_OK;
    for (const char c : a.size() > 1 ? a[1] : std::string()) mode |= c == 'r' ? R_OK : c == 'w' ? W_OK : X_OK;
    return returned(::faccessat(AT_FDCWD, a[0].c_str(), mode, AT_EACCESS), errno);
}
machine::outcome machine::chdir(arguments a) {
    return returned(::chdir(a[0].c_str()), errno);
}
machine::outcome machine::set_umask(arguments a) {
    return returned(static_cast<long>(::umask(octal(a[0]))), 0);
}
/// setxattr PATH NAME VALUE [create|replace]
machine::outcome machine::setxattr(arguments a) {
    const int flags = a.size() < 4 ? 0 : a[3] == "create" ? XATTR_CREATE : XATTR_REPLACE;
    return returned(::lsetxattr(a[0].c_str(), a[1].c_str(), a[2].data(), a[2].size(), flags), errno);
}
/// getxattr PATH NAME [VALUE|size N]: the value's size; with N as the buffer's.
machine::outcome machine::getxattr(arguments a) {
    std::string value(a.size() > 3 ? static_cast<std::size_t>(number(a[3])) : 70'000, '\0');
    const auto got = ::lgetxattr(a[0].c_str(), a[1].c_str(), value.data(), value.size());
    if (got < 0) return returned(got, errno);
    value.resize(static_cast<std::size_t>(got));
    if (a.size() == 3 && value != a[2]) return {0, "the value is '" + value + "'"};
    return {got, {}};
}
machine::outcome machine::removexattr(arguments a) {
    return returned(::lremovexattr(a[0].c_str(), a[1].c_str()), errno);
}
/// listxattr PATH NAME...: at least these names, each once.
machine::outcome machine::listxattr(arguments a) {
    std::string names(70'000, '\0');
    const auto got = ::llistxattr(a[0].c_str(), names.data(), names.size());
    if (got < 0) return returned(got, errno);
    const std::string listed = std::string(1, '\0') + names.substr(0, static_cast<std::size_t>(got));
    for (const auto& name : a.subspan(1)) {
        const std::string one = std::string(1, '\0') + name + std::string(1, '\0');
        const auto at = listed.find(one);
        if (at == std::string::npos) return {0, name + " is not listed"};
        if (listed.find(one, at + 1) != std::string::npos) return {0, name + " is listed twice"};
    }
    return {got, {}};
}
/// setacl PATH access|default ENTRIES, or "none" to remove the list.
machine::outcome machine::setacl(arguments a) {
    if (a[2] == "none") return returned(::removexattr(a[0].c_str(), acl_name(a[1])), errno);
    const std::string value = encode_acl(a[2]);
    return returned(::setxattr(a[0].c_str(), acl_name(a[1]), value.data(), value.size(), 0), errno);
}
/// acl PATH access|default ENTRIES, or "none"
machine::outcome machine::acl(arguments a) {
    std::string value(4096, '\0');
    const auto got = ::getxattr(a[0].c_str(), acl_name(a[1]), value.data(), value.size());
    if (a[2] == "none") return {0, got >= 0 ? "there is a list" : errno == ENODATA ? "" : std::strerror(errno)};
    if (got < 0) return returned(got, errno);
    value.resize(static_cast<std::size_t>(got));
    return {0, value == encode_acl(a[2]) ? "" : "the list is another"};
}

/// as root | UID:GID[,GID...]: effective identity, with no capabilities but root's.
machine::outcome machine::as(arguments a) {
    if (::syscall(SYS_setresuid, -1, 0, -1) != 0) return returned(-1, errno);
    std::vector<gid_t> groups;
    uid_t uid = 0;
    gid_t gid = 0;
    if (a[0] != "root") {
        std::istringstream parts(a[0].substr(a[0].find(':') + 1));
        uid = static_cast<uid_t>(number(a[0].substr(0, a[0].find(':'))));
        for (std::string one; std::getline(parts, one, ',');) groups.push_back(static_cast<gid_t>(number(one)));
        gid = groups.front();
    }
    if (::syscall(SYS_setgroups, groups.size(), groups.data()) != 0) return returned(-1, errno);
    if (::syscall(SYS_setresgid, -1, gid, -1) != 0) return returned(-1, errno);
    return returned(::syscall(SYS_setresuid, -1, uid, -1), errno);
}

void machine::add_name_calls(std::map<std::string, entry>& table) {
    table["create"] = {&machine::create, 1, 2};
    table["mkdir"] = {&machine::mkdir, 1, 2};
    table["mknod"] = {&machine::mknod, 3, 5};
    table["symlink"] = {&machine::symlink, 2, 2};
    table["link"] = {&machine::link, 2, 3};
    table["unlink"] = {&machine::unlink, 1, 1};
    table["rmdir"] = {&machine::rmdir, 1, 1};
    table["rename"] = {&machine::rename, 2, 3};
    table["chmod"] = {&machine::chmod, 2, 2};
    table["chown"] = {&machine::chown, 3, 3};
    table["lchown"] = {&machine::lchown, 3, 3};
    table["utimens"] = {&machine::utimens, 3, 4};
    table["access"] = {&machine::access, 1, 2};
    table["chdir"] = {&machine::chdir, 1, 1};
    table["umask"] = {&machine::set_umask, 1, 1};
    table["setxattr"] = {&machine::setxattr, 3, 4};
    table["getxattr"] = {&machine::getxattr, 2, 4};
    table["removexattr"] = {&machine::removexattr, 2, 2};
    table["listxattr"] = {&machine::listxattr, 1, 9};
    table["setacl"] = {&machine::setacl, 3, 3};
    table["acl"] = {&machine::acl, 3, 3};
    table["as"] = {&machine::as, 1, 1};
}

}  // namespace warifu::posix
