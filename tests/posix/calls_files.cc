// Calls on open files, and assertions.

#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <set>
#include <sstream>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

#include "tests/posix/machine.h"

namespace warifu::posix {
namespace {

template <typename Named, std::size_t Count>
int flags_of(const std::string& text, const std::array<Named, Count>& known) {
    int flags = 0;
    std::istringstream parts(text);
    for (std::string one; std::getline(parts, one, '|');)
        for (const auto& [name, bit] : known)
            if (one == name) flags |= bit;
    return flags;
}
using named_flag = std::pair<const char*, int>;
constexpr std::array<named_flag, 17> open_flags = {{{"RDONLY", O_RDONLY},
                                                    {"WRONLY", O_WRONLY},
                                                    {"RDWR", O_RDWR},
                                                    {"CREAT", O_CREAT},
                                                    {"EXCL", O_EXCL},
                                                    {"TRUNC", O_TRUNC},
                                                    {"APPEND", O_APPEND},
                                                    {"DIRECTORY", O_DIRECTORY},
                                                    {"NOFOLLOW", O_NOFOLLOW},
                                                    {"PATH", O_PATH},
                                                    {"TMPFILE", O_TMPFILE},
                                                    {"NONBLOCK", O_NONBLOCK},
                                                    {"DIRECT", O_DIRECT},
                                                    {"SYNC", O_SYNC},
                                                    {"DSYNC", O_DSYNC},
                                                    {"NOATIME", O_NOATIME},
                                                    {"NOCTTY", O_NOCTTY}}};
constexpr std::array<named_flag, 6> fallocate_modes = {{{"keep", FALLOC_FL_KEEP_SIZE},
                                                        {"punch", FALLOC_FL_PUNCH_HOLE},
                                                        {"zero", FALLOC_FL_ZERO_RANGE},
                                                        {"collapse", FALLOC_FL_COLLAPSE_RANGE},
                                                        {"insert", FALLOC_FL_INSERT_RANGE},
                                                        {"unshare", FALLOC_FL_UNSHARE_RANGE}}};

bool later(const timespec& a, const timespec& b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

std::string time_text(const timespec& t) {
    return fmt::format("{}.{:09}", t.tv_sec, t.tv_nsec);
}

/// A field of a stat as the tables write it.
std::string field_of(const struct stat& at, const std::string& name) {
    const char* kinds = S_ISREG(at.st_mode)    ? "file"
                        : S_ISDIR(at.st_mode)  ? "directory"
                        : S_ISLNK(at.st_mode)  ? "symlink"
                        : S_ISFIFO(at.st_mode) ? "fifo"
                        : S_ISSOCK(at.st_mode) ? "socket"
                        : S_ISCHR(at.st_mode)  ? "char"
                                               : "block";
    if (name == "type") return kinds;
    if (name == "mode") return fmt::format("{:04o}", at.st_mode & 07777U);
    if (name == "uid") return std::to_string(at.st_uid);
    if (name == "gid") return std::to_string(at.st_gid);
    if (name == "nlink") return std::to_string(at.st_nlink);
    if (name == "size") return std::to_string(at.st_size);
    if (name == "blocks") return std::to_string(at.st_blocks);
    if (name == "rdev") return std::to_string(at.st_rdev);
    if (name == "atime") return time_text(at.st_atim);
    if (name == "mtime") return time_text(at.st_mtim);
    return "?";
}

}  // namespace

/// open NAME PATH FLAGS [MODE]
machine::outcome machine::open(arguments a) {
    const int fd = ::open(a[1].c_str(), flags_of(a[2], open_flags) | O_CLOEXEC, a.size() > 3 ? octal(a[3]) : 0644);
    const int code = errno;
    if (fd >= 0) files_[a[0]] = fd;
    return returned(fd < 0 ? -1 : 0, code);
}
machine::outcome machine::close(arguments a) {
    const int fd = files_[a[0]];
    files_.erase(a[0]);
    return returned(::close(fd), errno);
}
/// read NAME OFFSET SIZE [TEXT]: the number of bytes; '-' reads at the file's position.
machine::outcome machine::read(arguments a) {
    std::string text(static_cast<std::size_t>(number(a[2])), '\0');
    const auto got = a[1] == "-" ? ::read(files_[a[0]], text.data(), text.size())
                                 : ::pread(files_[a[0]], text.data(), text.size(), number(a[1]));
    if (got < 0) return returned(got, errno);
    text.resize(static_cast<std::size_t>(got));
    if (a.size() > 3 && text != a[3]) return {0, "read '" + text + "'"};
    return {got, {}};
}
/// write NAME OFFSET TEXT: '-' writes at the file's position.
machine::outcome machine::write(arguments a) {
    const auto put = a[1] == "-" ? ::write(files_[a[0]], a[2].data(), a[2].size())
                                 : ::pwrite(files_[a[0]], a[2].data(), a[2].size(), number(a[1]));
    return returned(put, errno);
}
machine::outcome machine::truncate(arguments a) {
    return returned(::truncate(a[0].c_str(), number(a[1])), errno);
}
machine::outcome machine::ftruncate(arguments a) {
    return returned(::ftruncate(files_[a[0]], number(a[1])), errno);
}
machine::outcome machine::fchmod(arguments a) {
    return returned(::fchmod(files_[a[0]], octal(a[1])), errno);
}
machine::outcome machine::fchown(arguments a) {
    return returned(::fchown(files_[a[0]], static_cast<uid_t>(number(a[1])), static_cast<gid_t>(number(a[2]))), errno);
}
/// fallocate NAME MODES OFFSET SIZE: modes joined by '|', or 0.
machine::outcome machine::fallocate(arguments a) {
    return returned(::fallocate(files_[a[0]], flags_of(a[1], fallocate_modes), number(a[2]), number(a[3])), errno);
}
/// lseek NAME OFFSET set|end|data|hole
machine::outcome machine::lseek(arguments a) {
    const int whence = a[2] == "data" ? SEEK_DATA : a[2] == "hole" ? SEEK_HOLE : a[2] == "end" ? SEEK_END : SEEK_SET;
    return returned(::lseek(files_[a[0]], number(a[1]), whence), errno);
}
/// copy FROM OFFSET TO OFFSET SIZE: copy_file_range, repeated until the end; the bytes copied.
machine::outcome machine::copy(arguments a) {
    off_t in = number(a[1]);
    off_t out = number(a[3]);
    long total = 0;
    const long size = number(a[4]);
    while (total < size) {
        const auto got =
            ::copy_file_range(files_[a[0]], &in, files_[a[2]], &out, static_cast<std::size_t>(size - total), 0);
        if (got < 0) return returned(got, errno);
        if (got == 0) break;
        total += got;
    }
    return {total, {}};
}
/// fsync NAME [data]
machine::outcome machine::fsync(arguments a) {
    return returned(a.size() > 1 ? ::fdatasync(files_[a[0]]) : ::fsync(files_[a[0]]), errno);
}
/// lock NAME posix|ofd|bsd r|w|u [OFFSET SIZE]: without waiting.
machine::outcome machine::lock(arguments a) {
    const char how = a[2][0];
    if (a[1] == "bsd") {
        const int operation = how == 'r' ? LOCK_SH : how == 'w' ? LOCK_EX : LOCK_UN;
        return returned(::flock(files_[a[0]], operation | LOCK_NB), errno);
    }
    struct flock wanted{};
    wanted.l_type = how == 'r' ? F_RDLCK : how == 'w' ? F_WRLCK : F_UNLCK;
    wanted.l_whence = SEEK_SET;
    wanted.l_start = a.size() > 3 ? number(a[3]) : 0;
    wanted.l_len = a.size() > 4 ? number(a[4]) : 0;
    return returned(::fcntl(files_[a[0]], a[1] == "ofd" ? F_OFD_SETLK : F_SETLK, &wanted), errno);
}

/// stat PATH|@NAME FIELD=VALUE...: of the link itself; @NAME is an open file.
machine::outcome machine::stat(arguments a) {
    struct stat at{};
    const int got = a[0][0] == '@' ? ::fstat(files_[a[0].substr(1)], &at) : ::lstat(a[0].c_str(), &at);
    if (got != 0) return returned(got, errno);
    for (const auto& wanted : a.subspan(1)) {
        const auto equals = wanted.find('=');
        const std::string name = wanted.substr(0, equals);
        const std::string value = field_of(at, name);
        if (equals == std::string::npos || value != wanted.substr(equals + 1))
            return {0, fmt::format("{} is {}", name, value)};
    }
    return {0, {}};
}
/// mark PATH...: remembers the times, and lets the clock move on.
machine::outcome machine::mark(arguments a) {
    for (const auto& path : a) {
        struct stat at{};
        if (::lstat(path.c_str(), &at) != 0) return returned(-1, errno);
        marks_[path] = at;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(15));  // coarse clocks of local file systems tick in 4 ms
    return {0, {}};
}
/// times PATH m|c|mc|-: which of mtime and ctime moved on since the mark; the other ones did not.
machine::outcome machine::times(arguments a) {
    struct stat now{};
    if (::lstat(a[0].c_str(), &now) != 0) return returned(-1, errno);
    const struct stat& before = marks_[a[0]];
    std::string moved;
    if (later(now.st_mtim, before.st_mtim)) moved += 'm';
    if (later(now.st_ctim, before.st_ctim)) moved += 'c';
    if (later(before.st_mtim, now.st_mtim) || later(before.st_ctim, now.st_ctim)) moved += '<';
    if (moved.empty()) moved = "-";
    return {0, moved == a[1] ? "" : "moved: " + moved};
}
/// same PATH PATH: two names of one inode
machine::outcome machine::same(arguments a) {
    struct stat first{}, second{};
    if (::lstat(a[0].c_str(), &first) != 0 || ::lstat(a[1].c_str(), &second) != 0) return returned(-1, errno);
    return {0, first.st_ino == second.st_ino && first.st_dev == second.st_dev ? "" : "two inodes"};
}
/// readlink PATH [TARGET]: the target's size
machine::outcome machine::readlink(arguments a) {
    std::string target(5000, '\0');
    const auto got = ::readlink(a[0].c_str(), target.data(), target.size());
    if (got < 0) return returned(got, errno);
    target.resize(static_cast<std::size_t>(got));
    if (a.size() > 1 && target != a[1]) return {0, "the target is another"};
    return {got, {}};
}
/// list PATH NAME...: exactly these names besides "." and ".."
machine::outcome machine::list(arguments a) {
    DIR* directory = ::opendir(a[0].c_str());
    if (directory == nullptr) return returned(-1, errno);
    std::multiset<std::string> wanted(a.begin() + 1, a.end());
    wanted.insert({".", ".."});
    std::multiset<std::string> seen;
    while (const dirent* one = ::readdir(directory)) seen.insert(one->d_name);
    ::closedir(directory);
    return {0, seen == wanted ? "" : fmt::format("{} names are listed, {} expected", seen.size(), wanted.size())};
}
/// content PATH TEXT
machine::outcome machine::content(arguments a) {
    const int fd = ::open(a[0].c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return returned(fd, errno);
    std::string text(a[1].size() + 100, '\0');
    const auto got = ::read(fd, text.data(), text.size());
    ::close(fd);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return {0, text == a[1] ? "" : "it holds '" + text + "'"};
}

void machine::add_file_calls(std::map<std::string, entry>& table) {
    table["open"] = {&machine::open, 3, 4};
    table["close"] = {&machine::close, 1, 1};
    table["read"] = {&machine::read, 3, 4};
    table["write"] = {&machine::write, 3, 3};
    table["truncate"] = {&machine::truncate, 2, 2};
    table["ftruncate"] = {&machine::ftruncate, 2, 2};
    table["fchmod"] = {&machine::fchmod, 2, 2};
    table["fchown"] = {&machine::fchown, 3, 3};
    table["fallocate"] = {&machine::fallocate, 4, 4};
    table["lseek"] = {&machine::lseek, 3, 3};
    table["copy"] = {&machine::copy, 5, 5};
    table["fsync"] = {&machine::fsync, 1, 2};
    table["lock"] = {&machine::lock, 3, 5};
}

void machine::add_assertions(std::map<std::string, entry>& table) {
    table["stat"] = {&machine::stat, 1, 9};
    table["mark"] = {&machine::mark, 1, 9};
    table["times"] = {&machine::times, 2, 2};
    table["same"] = {&machine::same, 2, 2};
    table["readlink"] = {&machine::readlink, 1, 2};
    table["list"] = {&machine::list, 1, 20};
    table["content"] = {&machine::content, 2, 2};
}

}  // namespace warifu::posix
