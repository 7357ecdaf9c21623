#include "tests/posix/two_trees.h"

#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <map>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/posix/table.h"

namespace warifu::posix {
namespace {

constexpr std::uint64_t file_size_bound = 3U << 20U;
constexpr std::size_t files_max = 6;
constexpr std::int64_t page = 4096;
// Times that are set are older than any that a clock gives: so a reference's time tells which of the two it is.
constexpr std::int64_t set_time_max = 1'500'000'000;

std::string text_of(long value) {
    return value < 0 ? error_name(static_cast<int>(-value)) : std::to_string(value);
}

std::map<std::string, std::string> attributes_of(const std::string& path) {
    std::map<std::string, std::string> found;
    std::string names(8192, '\0');
    const auto size = ::llistxattr(path.c_str(), names.data(), names.size());
    for (std::size_t at = 0; size > 0 && at < static_cast<std::size_t>(size); at += std::strlen(&names[at]) + 1) {
        const std::string name = &names[at];
        if (!name.starts_with("user.")) continue;
        std::string value(8192, '\0');
        const auto got = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
        value.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        found[name] = value;
    }
    return found;
}

std::string link_target(const std::string& path) {
    std::string target(5000, '\0');
    const auto got = ::readlink(path.c_str(), target.data(), target.size());
    target.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return target;
}

}  // namespace

two_trees::two_trees(std::string tested, std::string reference, std::uint64_t seed)
    : roots_{std::move(tested), std::move(reference)}, random_(seed) {}

std::string two_trees::some_directory() {
    const auto which = below(7);
    if (which < 3) return "/";
    return which < 6 ? fmt::format("/d{}/", which - 3) : fmt::format("/d{}/d{}/", below(3), below(3));
}

std::string two_trees::some_path() {
    const std::string where = some_directory();
    return below(4) == 0 ? fmt::format("{}d{}", where, below(3)) : fmt::format("{}f{}", where, below(8));
}

long two_trees::both(std::string what, const call& work) {
    last_ = std::move(what);
    std::array<long, 2> got{};
    for (std::size_t side = 0; side < 2; ++side) {
        errno = 0;
        const long value = work(side);
        got[side] = value < 0 ? -static_cast<long>(errno) : value;
    }
    if (got[0] != got[1])
        throw different{fmt::format("{}: {}, the reference says {}", last_, text_of(got[0]), text_of(got[1]))};
    return got[0];
}

const std::string& two_trees::step() {
    const auto kind = below(20);
    if (kind < 3)
        both_names(below(5));
    else if (kind < 5)
        both_links(below(5));
    else if (kind < 7)
        both_attributes(below(6));
    else if (kind < 8)
        both_xattrs(below(3));
    else if (kind < 9 || files_.empty())
        open_some();
    else if (kind < 10)
        close_one(below(files_.size()));
    else if (kind < 17)
        both_files(below(7), files_[below(files_.size())]);
    else
        both_ranges(below(6), files_[below(files_.size())]);
    return last_;
}

void two_trees::both_names(std::uint64_t which) {
    const std::string path = some_path();
    const auto p = [&](std::size_t side) { return at(side, path); };
    switch (which) {
        case 0:
            both("mkdir " + path, [&](auto side) { return ::mkdir(p(side).c_str(), 0755); });
            return;
        case 1:
            both("rmdir " + path, [&](auto side) { return ::rmdir(p(side).c_str()); });
            return;
        case 2:
            both("unlink " + path, [&](auto side) { return ::unlink(p(side).c_str()); });
            return;
        case 3:
            both("mknod " + path, [&](auto side) { return ::mknod(p(side).c_str(), S_IFREG | 0640, 0); });
            return;
        default: {
            const std::string to = some_path();
            constexpr std::array<unsigned, 4> flags = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
            const unsigned flag = flags[below(4)];
            both(fmt::format("rename {} {} {}", path, to, flag), [&](auto side) {
                return ::syscall(SYS_renameat2, AT_FDCWD, p(side).c_str(), AT_FDCWD, at(side, to).c_str(), flag);
            });
        }
    }
}

void two_trees::both_links(std::uint64_t which) {
    const std::string path = some_path();
    const std::string to = some_path();
    if (which == 0)
        both(fmt::format("symlink {} {}", to, path),
             [&](auto side) { return ::symlink(to.c_str() + 1, at(side, path).c_str()); });
    else if (which < 3)
        both(fmt::format("link {} {}", to, path),
             [&](auto side) { return ::link(at(side, to).c_str(), at(side, path).c_str()); });
    else if (which == 3)
        compare_status(path);
    else
        compare_listing(some_directory(), nullptr);
}

void two_trees::both_attributes(std::uint64_t which) {
    const std::string path = some_path();
    const auto number = below(1000);
    switch (which) {
        case 0:
            both(fmt::format("chmod {} {:o}", path, number), [&](auto side) {
                return ::chmod(at(side, path).c_str(), static_cast<mode_t>(number & 0777U) | 0700U);
            });
            return;
        case 1:
            both(fmt::format("lchown {} {}", path, number), [&](auto side) {
                return ::lchown(at(side, path).c_str(), static_cast<uid_t>(number), static_cast<gid_t>(number + 1));
            });
            return;
        case 2: {
            const auto seconds = static_cast<std::int64_t>(below(set_time_max));
            const timespec times[2] = {{seconds, 5}, {seconds / 2, static_cast<long>(below(1'000'000'000))}};
            both("utimensat " + path,
                 [&](auto side) { return ::utimensat(AT_FDCWD, at(side, path).c_str(), times, AT_SYMLINK_NOFOLLOW); });
            return;
        }
        case 3: {
            const auto size = static_cast<off_t>(below(file_size_bound));
            both(fmt::format("truncate {} {}", path, size),
                 [&](auto side) { return ::truncate(at(side, path).c_str(), size); });
            return;
        }
        default:
            compare_status(path);
    }
}

void two_trees::both_xattrs(std::uint64_t which) {
    const std::string path = some_path();
    const std::string name = fmt::format("user.{}", below(4));
    const std::string value(below(60), static_cast<char>('a' + below(26)));
    constexpr std::array<int, 3> flags = {0, XATTR_CREATE, XATTR_REPLACE};
    const int flag = flags[below(3)];
    if (which == 0)
        both(fmt::format("setxattr {} {} {} bytes {}", path, name, value.size(), flag), [&](auto side) {
            return ::lsetxattr(at(side, path).c_str(), name.c_str(), value.data(), value.size(), flag);
        });
    else if (which == 1)
        both(fmt::format("removexattr {} {}", path, name),
             [&](auto side) { return ::lremovexattr(at(side, path).c_str(), name.c_str()); });
    else
        compare_status(path);
}

void two_trees::open_some() {
    if (files_.size() >= files_max) close_one(below(files_.size()));
    const std::string path = some_path();
    constexpr std::array<int, 4> more = {0, O_TRUNC, O_APPEND, O_EXCL};
    const int flags = O_CREAT | O_RDWR | O_CLOEXEC | more[below(4)];
    open_pair pair{{-1, -1}, path};
    const long got = both(fmt::format("open {} {:o}", path, flags), [&](auto side) {
        pair.fds[side] = ::open(at(side, path).c_str(), flags, 0644);
        return pair.fds[side] < 0 ? -1L : 0L;
    });
    if (got == 0) files_.push_back(std::move(pair));
}

void two_trees::close_one(std::size_t which) {
    const open_pair pair = files_[which];
    files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(which));
    both("close " + pair.path, [&](auto side) { return ::close(pair.fds[side]); });
}

void two_trees::close_all() {
    for (const auto& pair : files_)
        for (const int fd : pair.fds) ::close(fd);
    files_.clear();
}

void two_trees::both_files(std::uint64_t which, open_pair& file) {
    struct stat now{};
    ::fstat(file.fds[1], &now);
    const bool large = below(8) == 0;
    const auto size = 1 + below(large ? 400'000 : 9'000);
    const auto offset = static_cast<off_t>(
        below(std::min<std::uint64_t>(static_cast<std::uint64_t>(now.st_size) + 9000, file_size_bound)));
    const std::string text(size, static_cast<char>('A' + below(58)));
    switch (which) {
        case 0:
        case 1:
            both(fmt::format("pwrite {} {} +{}", file.path, offset, size),
                 [&](auto side) { return ::pwrite(file.fds[side], text.data(), size, offset); });
            return;
        case 2:
            if (now.st_size > static_cast<off_t>(file_size_bound)) return;
            both(fmt::format("write {} +{}", file.path, size % 20'000), [&](auto side) {
                ::lseek(file.fds[side], 0, SEEK_END);
                return ::write(file.fds[side], text.data(), size % 20'000);
            });
            return;
        case 3:
            if (offset + static_cast<off_t>(size) <= now.st_size) write_mapped(file, offset, text);
            return;
        case 4:
            return write_direct(file, offset / page * page, (size / page + 1) * page, text[0]);
        default:
            return compare_bytes(file, offset, size);
    }
}

void two_trees::both_ranges(std::uint64_t which, open_pair& file) {
    const auto offset = static_cast<off_t>(below(file_size_bound));
    const auto size = static_cast<off_t>(1 + below(200'000));
    switch (which) {
        case 0:
            both(fmt::format("ftruncate {} {}", file.path, offset),
                 [&](auto side) { return ::ftruncate(file.fds[side], offset); });
            return;
        case 1:
        case 2: {
            constexpr std::array<int, 4> modes = {FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
                                                  FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, 0};
            const int mode = modes[below(4)];
            both(fmt::format("fallocate {} {} {} +{}", file.path, mode, offset, size),
                 [&](auto side) { return ::fallocate(file.fds[side], mode, offset, size); });
            return;
        }
        case 3: {
            open_pair& from = files_[below(files_.size())];
            const auto start = static_cast<off_t>(below(file_size_bound / 2));
            both(fmt::format("copy {} {} {} {} +{}", from.path, start, file.path, offset, size), [&](auto side) {
                off_t in = start;
                off_t out = offset;
                long total = 0;
                while (total < size) {
                    const auto got = ::copy_file_range(from.fds[side], &in, file.fds[side], &out,
                                                       static_cast<std::size_t>(size - total), 0);
                    if (got < 0) return total > 0 ? total : static_cast<long>(got);
                    if (got == 0) break;
                    total += got;
                }
                return total;
            });
            return;
        }
        case 4:
            if (below(10) == 0) both("fsync " + file.path, [&](auto side) { return ::fsync(file.fds[side]); });
            return;
        default:
            both(fmt::format("fstat {}", file.path), [&](auto side) {
                struct stat now{};
                const int got = ::fstat(file.fds[side], &now);
                return got < 0 ? got : static_cast<long>(now.st_nlink) << 40 | now.st_size;
            });
    }
}

void two_trees::write_mapped(open_pair& file, std::int64_t offset, const std::string& text) {
    const std::int64_t start = offset / page * page;
    const std::size_t size = static_cast<std::size_t>(offset - start) + text.size();
    const bool sync = below(2) == 0;
    both(fmt::format("mmap {} {} +{}", file.path, offset, text.size()), [&](auto side) {
        void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fds[side], start);
        if (map == MAP_FAILED) return -1L;
        std::memcpy(static_cast<char*>(map) + (offset - start), text.data(), text.size());
        const int synced = sync ? ::msync(map, size, MS_SYNC) : 0;
        ::munmap(map, size);
        return static_cast<long>(synced);
    });
}

void two_trees::write_direct(open_pair& file, std::int64_t offset, std::size_t size, char fill) {
    auto* bytes = static_cast<char*>(std::aligned_alloc(page, size));
    std::memset(bytes, fill, size);
    both(fmt::format("direct write {} {} +{}", file.path, offset, size), [&](auto side) {
        const int fd = ::open(fmt::format("/proc/self/fd/{}", file.fds[side]).c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
        if (fd < 0) return -1L;
        const long got = ::pwrite(fd, bytes, size, offset);
        ::close(fd);
        return got;
    });
    std::free(bytes);
}

void two_trees::compare_bytes(open_pair& file, std::int64_t offset, std::size_t size) {
    std::array<std::string, 2> texts;
    both(fmt::format("pread {} {} +{}", file.path, offset, size), [&](auto side) {
        texts[side].resize(size);
        const auto got = ::pread(file.fds[side], texts[side].data(), size, offset);
        texts[side].resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        return got;
    });
    if (texts[0] == texts[1]) return;
    std::size_t first = 0;
    while (texts[0][first] == texts[1][first]) ++first;
    throw different{fmt::format("{}: byte {} differs", last_, static_cast<std::size_t>(offset) + first)};
}

void two_trees::compare_status(const std::string& path) {
    std::array<struct stat, 2> now{};
    const long got = both("lstat " + path, [&](auto side) { return ::lstat(at(side, path).c_str(), &now[side]); });
    if (got < 0) return;
    const auto& [mine, right] = now;
    const auto differ = [&](const char* what) { throw different{fmt::format("{}: {} differs", last_, what)}; };
    if (mine.st_mode != right.st_mode) differ("mode");
    if (mine.st_uid != right.st_uid || mine.st_gid != right.st_gid) differ("owner");
    if (mine.st_nlink != right.st_nlink) differ("link count");
    if (!S_ISDIR(mine.st_mode) && mine.st_size != right.st_size) differ("size");
    const bool set = right.st_mtim.tv_sec < set_time_max;
    if (set ? mine.st_mtim.tv_sec != right.st_mtim.tv_sec || mine.st_mtim.tv_nsec != right.st_mtim.tv_nsec
            : mine.st_mtim.tv_sec < set_time_max)
        differ(set ? "mtime, which was set," : "mtime, which a change moved,");
    if (S_ISLNK(mine.st_mode) && link_target(at(0, path)) != link_target(at(1, path))) differ("target");
    if (attributes_of(at(0, path)) != attributes_of(at(1, path))) differ("an attribute");
}

void two_trees::compare_listing(const std::string& path, std::vector<std::string>* directories) {
    std::array<std::multiset<std::string>, 2> names;
    const long got = both("readdir " + path, [&](auto side) {
        DIR* directory = ::opendir(at(side, path).c_str());
        if (directory == nullptr) return -1;
        while (const dirent* one = ::readdir(directory)) names[side].insert(one->d_name);
        ::closedir(directory);
        return 0;
    });
    if (names[0] != names[1]) throw different{fmt::format("{}: other names", last_)};
    if (got < 0 || directories == nullptr) return;
    for (const auto& name : names[1])
        if (name != "." && name != "..") directories->push_back(path + name);
}

void two_trees::compare_all() {
    std::vector<std::string> left;
    compare_listing("/", &left);
    while (!left.empty()) {
        const std::string path = left.back();
        left.pop_back();
        compare_status(path);
        struct stat now{};
        ::lstat(at(1, path).c_str(), &now);
        if (S_ISDIR(now.st_mode)) compare_listing(path + "/", &left);
        if (!S_ISREG(now.st_mode)) continue;
        open_pair pair{{-1, -1}, path};
        both("open " + path, [&](auto side) {
            pair.fds[side] = ::open(at(side, path).c_str(), O_RDONLY | O_CLOEXEC);
            return pair.fds[side] < 0 ? -1L : 0L;
        });
        compare_bytes(pair, 0, static_cast<std::size_t>(now.st_size) + 1);
        for (const int fd : pair.fds) ::close(fd);
    }
}

}  // namespace warifu::posix
