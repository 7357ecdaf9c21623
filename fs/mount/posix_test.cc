// Calls and what they must return, on a real mount and on a local directory: the local file system says what is right.

#include <dirent.h>
#include <functional>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <set>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "fs/mount/test_mount.h"

namespace warifu {
namespace {

using testing::temporary_directory;
using testing::test_mount;
using testing::why_no_mount;

class posix_calls : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        if (why_no_mount().empty()) mount_ = std::make_unique<test_mount>();
    }
    static void TearDownTestSuite() { mount_.reset(); }
    void SetUp() override {
        if (!mount_) GTEST_SKIP() << why_no_mount();
        ::umask(022);
    }
    static std::string at(const std::string& name) { return mount_->at(name); }
    static std::unique_ptr<test_mount> mount_;
};
std::unique_ptr<test_mount> posix_calls::mount_;

int error_of(long outcome) {
    return outcome < 0 ? errno : 0;
}

int create(const std::string& path, mode_t mode = 0644) {
    const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR, mode);
    if (fd >= 0) ::close(fd);
    return error_of(fd);
}

int rename_with(const std::string& from, const std::string& to, unsigned flags) {
    return error_of(::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}

struct stat status(const std::string& path) {
    struct stat at{};
    EXPECT_EQ(::lstat(path.c_str(), &at), 0) << path;
    return at;
}

using outcomes = std::vector<std::pair<std::string, int>>;

/// Calls on names, one after another in directory `d`; what each returned.
outcomes call_names(const std::string& d) {
    outcomes said;
    const auto p = [&d](const std::string& name) { return d + "/" + name; };
    const auto note = [&said](const std::string& what, int code) { said.emplace_back(what, code); };
    const std::string long_name(255, 'n');
    note("create", create(p("f")));
    note("create again", create(p("f")));
    note("create below a file", create(p("f/x")));
    note("create in nothing", create(p("none/x")));
    note("create 255", create(p(long_name)));
    note("create 256", create(p(long_name + "n")));
    note("open nothing", error_of(::open(p("none").c_str(), O_RDONLY)));
    note("open directory to write", error_of(::open(d.c_str(), O_WRONLY)));
    note("mkdir", error_of(::mkdir(p("d").c_str(), 0755)));
    note("mkdir again", error_of(::mkdir(p("d").c_str(), 0755)));
    note("mkdir over file", error_of(::mkdir(p("f").c_str(), 0755)));
    note("create in d", create(p("d/x")));
    note("rmdir not empty", error_of(::rmdir(p("d").c_str())));
    note("rmdir file", error_of(::rmdir(p("f").c_str())));
    note("unlink directory", error_of(::unlink(p("d").c_str())));
    note("unlink nothing", error_of(::unlink(p("none").c_str())));
    note("link", error_of(::link(p("f").c_str(), p("l").c_str())));
    note("link over", error_of(::link(p("f").c_str(), p("l").c_str())));
    note("link directory", error_of(::link(p("d").c_str(), p("dl").c_str())));
    note("symlink", error_of(::symlink("f", p("s").c_str())));
    note("symlink over", error_of(::symlink("f", p("s").c_str())));
    note("symlink empty", error_of(::symlink("", p("e").c_str())));
    note("symlink loop", error_of(::symlink("loop", p("loop").c_str())));
    note("open loop", error_of(::open(p("loop").c_str(), O_RDONLY)));
    note("open symlink nofollow", error_of(::open(p("s").c_str(), O_RDONLY | O_NOFOLLOW)));
    note("rename noreplace over", rename_with(p("f"), p("l"), RENAME_NOREPLACE));
    note("rename exchange", rename_with(p("d"), p("s"), RENAME_EXCHANGE));
    note("rename exchange back", rename_with(p("d"), p("s"), RENAME_EXCHANGE));
    note("rename exchange with nothing", rename_with(p("d"), p("none"), RENAME_EXCHANGE));
    note("rename both flags", rename_with(p("d"), p("none"), RENAME_EXCHANGE | RENAME_NOREPLACE));
    note("rename into itself", rename_with(p("d"), p("d/below"), 0));
    note("rename file over directory", rename_with(p("f"), p("d"), 0));
    note("rename directory over file", rename_with(p("d"), p("f"), 0));
    note("rename same inode", rename_with(p("f"), p("l"), 0));
    note("both names stay", static_cast<int>(status(p("f")).st_nlink));
    note("mkdir e", error_of(::mkdir(p("e").c_str(), 0755)));
    note("rename over not empty", rename_with(p("e"), p("d"), 0));
    note("rename d over empty", rename_with(p("d"), p("e"), 0));
    note("mkfifo", error_of(::mkfifo(p("pipe").c_str(), 0600)));
    note("mknod", error_of(::mknod(p("dev").c_str(), S_IFCHR | 0600, makedev(1, 3))));
    note("rdev", static_cast<int>(status(p("dev")).st_rdev));
    return said;
}

/// Calls on the file `f` that call_names() left.
outcomes call_files(const std::string& d) {
    outcomes said;
    const auto p = [&d](const std::string& name) { return d + "/" + name; };
    const auto note = [&said](const std::string& what, int code) { said.emplace_back(what, code); };
    note("truncate negative", error_of(::truncate(p("f").c_str(), -1)));
    note("truncate directory", error_of(::truncate(p("e").c_str(), 0)));
    note("truncate", error_of(::truncate(p("f").c_str(), 100'000)));
    note("size", static_cast<int>(status(p("l")).st_size));
    note("xattr none", error_of(::getxattr(p("f").c_str(), "user.none", nullptr, 0)));
    note("xattr replace none", error_of(::setxattr(p("f").c_str(), "user.a", "1", 1, XATTR_REPLACE)));
    note("xattr create", error_of(::setxattr(p("f").c_str(), "user.a", "12345", 5, XATTR_CREATE)));
    note("xattr create again", error_of(::setxattr(p("f").c_str(), "user.a", "1", 1, XATTR_CREATE)));
    char small[2];
    note("xattr small buffer", error_of(::getxattr(p("f").c_str(), "user.a", small, sizeof small)));
    note("xattr size", static_cast<int>(::getxattr(p("f").c_str(), "user.a", nullptr, 0)));
    note("xattr remove", error_of(::removexattr(p("f").c_str(), "user.a")));
    note("xattr remove again", error_of(::removexattr(p("f").c_str(), "user.a")));
    const int fd = ::open(p("f").c_str(), O_RDWR);
    note("fallocate", error_of(::fallocate(fd, 0, 0, 200'000)));
    note("size after fallocate", static_cast<int>(status(p("f")).st_size));
    note("fallocate keep", error_of(::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 400'000)));
    note("punch without keep", error_of(::fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096)));
    note("fallocate nothing", error_of(::fallocate(fd, 0, 0, 0)));
    note("seek data past end", error_of(::lseek(fd, 300'000, SEEK_DATA)));
    note("seek hole past end", error_of(::lseek(fd, 300'000, SEEK_HOLE)));
    note("read past end", static_cast<int>(::pread(fd, small, 2, 300'000)));
    ::close(fd);
    note("lchown", error_of(::lchown(p("s").c_str(), 1, 2)));
    note("readlink", static_cast<int>(::readlink(p("s").c_str(), small, sizeof small)));
    note("rmdir", error_of(::unlink(p("e/x").c_str())) + error_of(::rmdir(p("e").c_str())));
    return said;
}

TEST_F(posix_calls, return_what_a_local_file_system_returns) {
    temporary_directory local;
    ASSERT_EQ(::mkdir(at("table").c_str(), 0755), 0);
    for (const auto calls : {call_names, call_files}) {
        const auto expected = calls(local.path());
        const auto seen = calls(at("table"));
        ASSERT_EQ(seen.size(), expected.size());
        for (std::size_t i = 0; i < seen.size(); ++i)
            EXPECT_EQ(seen[i].second, expected[i].second) << seen[i].first << ": " << std::strerror(seen[i].second);
    }
}

TEST_F(posix_calls, times_and_modes) {
    const std::string path = at("times");
    ASSERT_EQ(create(path, 0666), 0);
    EXPECT_EQ(status(path).st_mode, S_IFREG | 0644U);
    const struct timespec set[2] = {{4'102'444'800, 1}, {-86'400, 999'999'999}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), set, 0), 0);
    EXPECT_EQ(status(path).st_atim.tv_sec, 4'102'444'800);
    EXPECT_EQ(status(path).st_atim.tv_nsec, 1);
    EXPECT_EQ(status(path).st_mtim.tv_sec, -86'400);
    EXPECT_EQ(status(path).st_mtim.tv_nsec, 999'999'999);
    const struct timespec omit[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), omit, 0), 0);
    EXPECT_EQ(status(path).st_atim.tv_sec, 4'102'444'800);
    EXPECT_GT(status(path).st_mtim.tv_sec, 1'600'000'000);
    // A write and a chown by somebody else than root take the set-user-ID bit away.
    ASSERT_EQ(::chmod(path.c_str(), 06777), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgid(1) != 0 || ::setuid(1) != 0) ::_exit(1);
        const int fd = ::open(path.c_str(), O_WRONLY);
        ::_exit(fd >= 0 && ::write(fd, "x", 1) == 1 ? 0 : 2);
    }
    int code = 0;
    ASSERT_EQ(::waitpid(child, &code, 0), child);
    ASSERT_EQ(code, 0);
    EXPECT_EQ(status(path).st_mode & 06000U, 0U);
    ASSERT_EQ(::chmod(path.c_str(), 04711), 0);
    ASSERT_EQ(::chown(path.c_str(), 7, 8), 0);
    EXPECT_EQ(status(path).st_uid, 7U);
    EXPECT_EQ(status(path).st_gid, 8U);
}

TEST_F(posix_calls, set_group_id_directories_and_default_lists_are_inherited) {
    ASSERT_EQ(::mkdir(at("sg").c_str(), 0755), 0);
    ASSERT_EQ(::chown(at("sg").c_str(), 0, 77), 0);
    ASSERT_EQ(::chmod(at("sg").c_str(), 02775), 0);
    ASSERT_EQ(create(at("sg/f")), 0);
    ASSERT_EQ(::mkdir(at("sg/d").c_str(), 0755), 0);
    EXPECT_EQ(status(at("sg/f")).st_gid, 77U);
    EXPECT_EQ(status(at("sg/d")).st_gid, 77U);
    EXPECT_NE(status(at("sg/d")).st_mode & S_ISGID, 0U);

    ASSERT_EQ(::mkdir(at("acl").c_str(), 0755), 0);
    if (std::system(("setfacl -d -m u:1234:rwx,g::r '" + at("acl") + "'").c_str()) != 0) GTEST_SKIP() << "no setfacl";
    ASSERT_EQ(create(at("acl/f"), 0666), 0);
    EXPECT_EQ(status(at("acl/f")).st_mode & 0777U, 0664U) << "the default list decides, not the umask";
    EXPECT_GT(::getxattr(at("acl/f").c_str(), "system.posix_acl_access", nullptr, 0), 0);
    ASSERT_EQ(::mkdir(at("acl/d").c_str(), 0777), 0);
    EXPECT_GT(::getxattr(at("acl/d").c_str(), "system.posix_acl_default", nullptr, 0), 0);
    // The kernel enforces it: user 1234 may read and write what others may not.
    ASSERT_EQ(::chmod(at("acl/f").c_str(), 0660), 0);
    for (const uid_t who : {1234U, 1235U}) {
        const pid_t child = ::fork();
        if (child == 0) {
            if (::setgid(who) != 0 || ::setuid(who) != 0) ::_exit(3);
            ::_exit(::open(at("acl/f").c_str(), O_RDWR) >= 0 ? 0 : 1);
        }
        int code = 0;
        ASSERT_EQ(::waitpid(child, &code, 0), child);
        EXPECT_EQ(WEXITSTATUS(code), who == 1234 ? 0 : 1);
    }
}

TEST_F(posix_calls, open_files_outlive_their_names) {
    const int fd = ::open(at("gone").c_str(), O_CREAT | O_RDWR, 0644);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::write(fd, "text", 4), 4);
    ASSERT_EQ(::unlink(at("gone").c_str()), 0);
    ASSERT_EQ(::fsync(fd), 0);
    char text[4];
    EXPECT_EQ(::pread(fd, text, 4, 0), 4);
    struct stat now{};
    ASSERT_EQ(::fstat(fd, &now), 0);
    EXPECT_EQ(now.st_nlink, 0U);
    EXPECT_EQ(now.st_size, 4);
    ::close(fd);
}

TEST_F(posix_calls, holes_are_found_and_sizes_are_right) {
    const int fd = ::open(at("holes").c_str(), O_CREAT | O_RDWR, 0644);
    const std::string mib(1U << 20U, 'x');
    for (const bool sealed : {false, true}) {
        ASSERT_EQ(::ftruncate(fd, 0), 0);
        ASSERT_EQ(::pwrite(fd, mib.data(), mib.size(), 1 << 20), 1 << 20);
        ASSERT_EQ(::pwrite(fd, mib.data(), mib.size(), 5 << 20), 1 << 20);
        if (sealed) ASSERT_EQ(::fsync(fd), 0);
        EXPECT_EQ(::lseek(fd, 0, SEEK_DATA), 1 << 20);
        EXPECT_EQ(::lseek(fd, 1 << 20, SEEK_HOLE), 2 << 20);
        EXPECT_EQ(::lseek(fd, 2 << 20, SEEK_DATA), 5 << 20);
        EXPECT_EQ(::lseek(fd, 5 << 20, SEEK_HOLE), 6 << 20);
        struct stat now{};
        ASSERT_EQ(::fstat(fd, &now), 0);
        EXPECT_EQ(now.st_blocks, 2 * 2048);
        ASSERT_EQ(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (5 << 20) + 1000, 10), 0);
        std::array<char, 30> around{};
        ASSERT_EQ(::pread(fd, around.data(), around.size(), (5 << 20) + 990), 30);
        EXPECT_EQ(std::string(around.data(), 30), std::string(10, 'x') + std::string(10, '\0') + std::string(10, 'x'));
    }
    ASSERT_EQ(::ftruncate(fd, 16LL << 40), 0);  // 16 TiB, sparse
    ASSERT_EQ(::pwrite(fd, "end", 3, (16LL << 40) - 3), 3);
    char end[3];
    EXPECT_EQ(::pread(fd, end, 3, (16LL << 40) - 3), 3);
    EXPECT_NE(::ftruncate(fd, 1LL << 60), 0);
    EXPECT_EQ(errno, EFBIG);
    ::close(fd);
}

TEST_F(posix_calls, copy_file_range_shares_pieces) {
    const int from = ::open(at("from").c_str(), O_CREAT | O_RDWR, 0644);
    const int to = ::open(at("to").c_str(), O_CREAT | O_RDWR, 0644);
    const std::string text(3'000'000, 'q');
    ASSERT_EQ(::write(from, text.data(), text.size()), 3'000'000);
    ASSERT_EQ(::fsync(from), 0);
    const auto put_before = mount_->sites->bytes_put.load();
    off_t in = 7;
    off_t out = 13;
    EXPECT_EQ(::copy_file_range(from, &in, to, &out, 2'000'000, 0), 2'000'000);
    ASSERT_EQ(::fsync(to), 0);
    EXPECT_EQ(mount_->sites->bytes_put.load(), put_before);
    std::string read(2'000'013, 'x');
    ASSERT_EQ(::pread(to, read.data(), read.size(), 0), 2'000'013);
    EXPECT_EQ(read, std::string(13, '\0') + text.substr(0, 2'000'000));
    ::close(from);
    ::close(to);
}

TEST_F(posix_calls, a_large_directory_lists_each_name_once_while_it_changes) {
    ASSERT_EQ(::mkdir(at("many").c_str(), 0755), 0);
    constexpr int count = 3000;
    for (int i = 0; i < count; ++i) ASSERT_EQ(::mknod(at("many/" + std::to_string(i)).c_str(), S_IFREG | 0600, 0), 0);
    DIR* directory = ::opendir(at("many").c_str());
    ASSERT_NE(directory, nullptr);
    std::multiset<std::string> seen;
    while (const dirent* entry = ::readdir(directory)) {
        seen.insert(entry->d_name);
        // Names that were not seen yet are removed, and others come: those that stay are seen exactly once.
        if (seen.size() == 500)
            for (int i = 0; i < 100; ++i) {
                ASSERT_EQ(::unlink(at("many/" + std::to_string(i * 10)).c_str()), 0);
                ASSERT_EQ(::mknod(at("many/new" + std::to_string(i)).c_str(), S_IFREG | 0600, 0), 0);
            }
    }
    ::closedir(directory);
    EXPECT_EQ(seen.count("."), 1U);
    EXPECT_EQ(seen.count(".."), 1U);
    for (int i = 0; i < count; ++i)
        if (i % 10 != 0 || i >= 1000) EXPECT_EQ(seen.count(std::to_string(i)), 1U) << i;
    ASSERT_EQ(std::system(("rm -rf '" + at("many") + "'").c_str()), 0);
}

TEST_F(posix_calls, statfs_follows_what_is_accepted) {
    struct statvfs before{};
    struct statvfs after{};
    ASSERT_EQ(::statvfs(mount_->path.c_str(), &before), 0);
    const int fd = ::open(at("space").c_str(), O_CREAT | O_RDWR, 0644);
    const std::string text(8U << 20U, 'x');
    ASSERT_EQ(::write(fd, text.data(), text.size()), 8 << 20);
    ASSERT_EQ(::statvfs(mount_->path.c_str(), &after), 0);
    EXPECT_EQ(before.f_namemax, 255U);
    EXPECT_GE(before.f_bavail - after.f_bavail, 2000U);
    ASSERT_EQ(::fsync(fd), 0);
    ASSERT_EQ(::statvfs(mount_->path.c_str(), &after), 0);
    EXPECT_LE(before.f_bavail - after.f_bavail, 2100U);
    ::close(fd);
}

}  // namespace
}  // namespace warifu
