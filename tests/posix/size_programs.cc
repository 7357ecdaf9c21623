// Large directories, large files, space; what has no name.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <map>
#include <set>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/posix/programs.h"

namespace warifu::posix {
namespace {

int open_file(const char* path, int flags) {
    return static_cast<int>(succeeds(::open(path, flags | O_CLOEXEC, 0644), path));
}

void make_names(const std::string& directory, int count) {
    succeeds(::mkdir(directory.c_str(), 0755), "mkdir");
    for (int i = 0; i < count; ++i)
        succeeds(::mknod(fmt::format("{}/{}", directory, i).c_str(), S_IFREG | 0644, 0), "mknod");
}

/// readdir(): names that are there from opening to the end are returned exactly once, whatever comes and goes
/// meanwhile.
void directories_are_listed_while_they_change() {
    constexpr int count = 3000;
    make_names("d", count);
    DIR* directory = ::opendir("d");
    expect(directory != nullptr, "opendir");
    std::multiset<std::string> seen;
    int round = 0;
    while (const dirent* one = ::readdir(directory)) {
        seen.insert(one->d_name);
        if (seen.size() % 250 != 0 || round >= 10) continue;
        for (int i = 0; i < 30; ++i) {  // multiples of ten go, others come
            static_cast<void>(::unlink(fmt::format("d/{}", (round * 30 + i) * 10).c_str()));
            succeeds(::mknod(fmt::format("d/new{}.{}", round, i).c_str(), S_IFREG | 0600, 0), "mknod");
        }
        ++round;
    }
    ::closedir(directory);
    expect(seen.count(".") == 1 && seen.count("..") == 1, "dot and dot dot");
    for (int i = 0; i < count; ++i) {
        const auto times = seen.count(std::to_string(i));
        expect(times == 1 || (i % 10 == 0 && times == 0), fmt::format("{} was listed {} times", i, times));
    }
}

/// telldir(), seekdir(), rewinddir()
void places_in_a_directory_can_be_found_again() {
    make_names("d", 500);
    DIR* directory = ::opendir("d");
    expect(directory != nullptr, "opendir");
    std::map<long, std::string> after;
    std::size_t names = 0;
    for (;;) {
        const long place = ::telldir(directory);
        const dirent* one = ::readdir(directory);
        if (one == nullptr) break;
        after[place] = one->d_name;
        ++names;
    }
    expect(names == 502 && after.size() == names, fmt::format("{} names at {} places", names, after.size()));
    for (const auto& [place, name] : after) {
        ::seekdir(directory, place);
        const dirent* one = ::readdir(directory);
        expect(one != nullptr && name == one->d_name, "seekdir leads elsewhere");
    }
    succeeds(::mknod("d/late", S_IFREG | 0600, 0), "mknod");
    ::rewinddir(directory);
    std::size_t again = 0;
    bool late = false;
    while (const dirent* one = ::readdir(directory)) {
        ++again;
        late = late || std::strcmp(one->d_name, "late") == 0;
        if (one->d_type != DT_UNKNOWN && one->d_name[0] != '.') expect(one->d_type == DT_REG, "d_type");
    }
    ::closedir(directory);
    expect(again == names + 1 && late, "rewinddir shows what came since");
}

void many_entries(int count) {
    make_names("d", count);
    struct stat at{};
    succeeds(::stat("d", &at), "stat");
    expect(at.st_nlink == 2, "files do not count as links");
    DIR* directory = ::opendir("d");
    expect(directory != nullptr, "opendir");
    std::vector<bool> seen(static_cast<std::size_t>(count));
    int total = 0;
    while (const dirent* one = ::readdir(directory)) {
        if (one->d_name[0] == '.') continue;
        const auto which = static_cast<std::size_t>(std::atoi(one->d_name));
        expect(which < seen.size() && !seen[which], "a name that was not made, or twice");
        seen[which] = true;
        ++total;
    }
    ::closedir(directory);
    expect(total == count, fmt::format("{} of {} names are listed", total, count));
    for (int i = 0; i < count; i += std::max(1, count / 1000))
        succeeds(::stat(fmt::format("d/{}", i).c_str(), &at), "stat of an entry");
    fails_with(::rmdir("d"), ENOTEMPTY, "rmdir");
    for (int i = 0; i < count; ++i) succeeds(::unlink(fmt::format("d/{}", i).c_str()), "unlink");
    succeeds(::rmdir("d"), "rmdir when empty");
}

void sparse_files_of_16_TiB() {
    constexpr off_t tib = off_t{1} << 40;
    const int fd = open_file("f", O_CREAT | O_RDWR);
    succeeds(::ftruncate(fd, 16 * tib - 4096), "ftruncate");
    for (const off_t at : {off_t{0}, 4 * tib + 1, 16 * tib - 4104})
        expect(::pwrite(fd, "sixteen", 8, at) == 8, fmt::format("pwrite at {}", at));
    succeeds(::fsync(fd), "fsync");
    char text[8];
    expect(::pread(fd, text, 8, 4 * tib + 1) == 8 && std::strcmp(text, "sixteen") == 0, "pread");
    expect(::pread(fd, text, 8, 9 * tib) == 8 && text[3] == 0, "a hole");
    const off_t data = ::lseek(fd, tib, SEEK_DATA);
    expect(data > 4 * tib - tib / 1024 && data <= 4 * tib + 1, "SEEK_DATA");
    struct stat at{};
    succeeds(::fstat(fd, &at), "fstat");
    expect(at.st_size == 16 * tib - 4096 && at.st_blocks < 1000, "size and blocks");
    succeeds(::ftruncate(fd, 1), "ftruncate");
}

/// open(2), unlink(2): a file without a name can be reopened through /proc, but not linked again.
void open_files_without_names() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    succeeds(::pwrite(fd, "text", 4, 0), "pwrite");
    succeeds(::unlink("f"), "unlink");
    const std::string place = fmt::format("/proc/self/fd/{}", fd);
    const int again = open_file(place.c_str(), O_RDWR);
    char text[4];
    expect(::pread(again, text, 4, 0) == 4 && std::memcmp(text, "text", 4) == 0, "read through a second descriptor");
    succeeds(::pwrite(again, "more", 4, 4), "pwrite");
    struct stat at{};
    succeeds(::fstat(fd, &at), "fstat");
    expect(at.st_nlink == 0 && at.st_size == 8, "nlink 0, size 8");
    fails_with(::linkat(AT_FDCWD, place.c_str(), AT_FDCWD, "back", AT_SYMLINK_FOLLOW), ENOENT, "linkat");
    succeeds(::close(fd), "close");
    succeeds(::fsync(again), "fsync");
}

/// unlink(), rmdir(): a directory that is gone is empty and stays usable for who stands in it.
void a_removed_directory_stays_open() {
    succeeds(::mkdir("d", 0755), "mkdir");
    const int fd = open_file("d", O_RDONLY | O_DIRECTORY);
    succeeds(::rmdir("d"), "rmdir");
    struct stat at{};
    succeeds(::fstat(fd, &at), "fstat");
    expect(at.st_nlink == 0 || at.st_nlink == 1, fmt::format("nlink {}", at.st_nlink));
    fails_with(::openat(fd, "f", O_CREAT | O_RDWR, 0644), ENOENT, "creating in it");
    succeeds(::mkdir("d", 0755), "mkdir of the same name");
    expect(::openat(fd, "f", O_CREAT | O_RDWR, 0644) < 0, "the new directory is another one");
}

void statvfs_follows_the_space() {
    struct statvfs before{}, after{};
    succeeds(::statvfs(".", &before), "statvfs");
    expect(before.f_namemax == 255, "f_namemax");
    expect(before.f_bavail <= before.f_bfree && before.f_bfree <= before.f_blocks, "free blocks");
    expect(before.f_frsize != 0 && before.f_bsize != 0, "block sizes");
    const int fd = open_file("f", O_CREAT | O_RDWR);
    const std::string mib(1U << 20U, 'x');
    for (int i = 0; i < 64; ++i) succeeds(::write(fd, mib.data(), mib.size()), "write");
    succeeds(::fsync(fd), "fsync");
    succeeds(::statvfs(".", &after), "statvfs");
    // Others may free space meanwhile on a local disk; half of it must show all the same.
    expect(after.f_bfree * after.f_frsize + (32U << 20U) <= before.f_bfree * before.f_frsize, "64 MiB less");
    const int check = open_file(".", O_RDONLY);
    succeeds(::syncfs(check), "syncfs");
}

/// A file larger than what is free is refused before it is written, or when it is: never later. Other file systems are
/// filled up until they refuse, to the harm of everybody there.
void more_than_the_space_is_refused() {
    struct statfs here{};
    succeeds(::statfs(".", &here), "statfs");
    if (here.f_type != FUSE_SUPER_MAGIC) {
        fmt::print("skipped: more than the space is refused: it would fill this disk\n");
        return;
    }
    struct statvfs now{};
    succeeds(::statvfs(".", &now), "statvfs");
    const auto size = static_cast<off_t>(now.f_bavail * now.f_frsize + (off_t{1} << 30));
    const int fd = open_file("f", O_CREAT | O_RDWR);
    fails_with(::fallocate(fd, 0, 0, size), ENOSPC, "fallocate of more than is free");
    struct stat at{};
    succeeds(::fstat(fd, &at), "fstat");
    expect(at.st_size <= size, "size");
    succeeds(::ftruncate(fd, 0), "ftruncate");
}

}  // namespace

void add_size_programs(std::vector<program>& all, int entries) {
    all.push_back({"directories are listed while they change", {}, directories_are_listed_while_they_change});
    all.push_back({"places in a directory can be found again", {}, places_in_a_directory_can_be_found_again});
    all.push_back({fmt::format("{} entries in one directory", entries), {}, [entries] { many_entries(entries); }});
    all.push_back({"sparse files of 16 TiB", {"tmpfs"}, sparse_files_of_16_TiB});
    all.push_back({"open files without names", {}, open_files_without_names});
    all.push_back({"a removed directory stays open", {}, a_removed_directory_stays_open});
    all.push_back({"statvfs follows the space", {}, statvfs_follows_the_space});
    all.push_back({"more than the space is refused", {}, more_than_the_space_is_refused});
}

}  // namespace warifu::posix
