// A real mount: mounting, ending, interrupts, and programs that people use.

#include <cstdlib>
#include <fstream>
#include <signal.h>
#include <sys/wait.h>

#include "fs/mount/mount_point.h"
#include "fs/mount/test_mount.h"

namespace warifu {
namespace {

using testing::temporary_directory;
using testing::test_mount;
using testing::why_no_mount;

class mounted : public ::testing::Test {
  protected:
    void SetUp() override {
        if (const auto why = why_no_mount(); !why.empty()) GTEST_SKIP() << why;
    }
};

/// What the shell command printed, both streams.
std::string run(const std::string& command) {
    FILE* pipe = ::popen(("{ " + command + "; } 2>&1").c_str(), "r");
    std::string output;
    std::array<char, 4096> part{};
    while (const std::size_t size = ::fread(part.data(), 1, part.size(), pipe)) output.append(part.data(), size);
    const int status = ::pclose(pipe);
    if (status != 0) output += "[exit status " + std::to_string(WEXITSTATUS(status)) + "]";
    return output;
}

std::string file_text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void write_text(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

/// Mounts in a child process, kills it there, and leaves the dead mount.
void leave_dead_mount(const std::string& path) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        asio::io_context core;
        const auto guard = asio::make_work_guard(core);
        memory_volume vol(std::make_shared<memory_sites>());
        const auto fs = file_system::make(core, vol, {});
        std::thread([&core] { core.run(); }).detach();
        mount_options options;
        options.mountpoint = path;
        options.volume_name = "dead";
        options.ready = [] { ::kill(::getpid(), SIGKILL); };
        run_mount(options, *fs, core);
        ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    ASSERT_LT(::open(path.c_str(), O_RDONLY | O_DIRECTORY), 0);
    ASSERT_EQ(errno, ENOTCONN);
}

// First, while the process has one thread: it forks.
TEST_F(mounted, a_dead_mount_is_detached) {
    temporary_directory directory;
    const std::string path = directory.path() + "/mnt";
    ASSERT_EQ(::mkdir(path.c_str(), 0755), 0);
    leave_dead_mount(path);
    bool detached = false;
    const auto ready = check_mountpoint(path, &detached);
    EXPECT_TRUE(ready.has_value()) << ready.error().text;
    EXPECT_TRUE(detached);
    struct stat at{};
    EXPECT_EQ(::stat(path.c_str(), &at), 0);
}

TEST_F(mounted, bad_mount_points_are_refused_with_a_clear_line) {
    temporary_directory directory;
    write_text(directory.path() + "/file", "x");
    bool detached = false;
    struct {
        std::string path;
        errc code;
        std::string says;
    } const table[] = {
        {directory.path() + "/missing", errc::not_found, "No such file"},
        {directory.path() + "/file", errc::not_directory, "not a directory"},
        {directory.path(), errc::not_empty, "not empty"},
    };
    for (const auto& row : table) {
        const auto outcome = check_mountpoint(row.path, &detached);
        ASSERT_FALSE(outcome.has_value()) << row.path;
        EXPECT_EQ(outcome.error().code, row.code);
        EXPECT_NE(outcome.error().text.find(row.says), std::string::npos) << outcome.error().text;
        EXPECT_NE(outcome.error().text.find(row.path), std::string::npos);
    }
    asio::io_context core;
    memory_volume vol(std::make_shared<memory_sites>());
    const auto fs = file_system::make(core, vol, {});
    mount_options options;
    options.mountpoint = directory.path();
    std::string said;
    options.report = [&said](std::string_view line) { said = line; };
    EXPECT_EQ(run_mount(options, *fs, core), mount_refused);
    EXPECT_NE(said.find("not empty"), std::string::npos);
    EXPECT_EQ(file_text(directory.path() + "/file"), "x");
    core.stop();
}

TEST_F(mounted, shows_its_type_and_name) {
    test_mount mount;
    const std::string mounts = file_text("/proc/self/mounts");
    EXPECT_NE(mounts.find("test " + mount.path + " fuse.warifu rw"), std::string::npos) << mounts;
    EXPECT_EQ(mount.stop(), mount_ok);
}

TEST_F(mounted, umount_drains) {
    auto sites = std::make_shared<memory_sites>();
    sites->put_delay_ms = 30;
    {
        file_system_options options;
        options.commit_interval_ms = 100'000;
        test_mount mount(sites, options);
        write_text(mount.at("file"), std::string(20'000'000, 'x'));
        EXPECT_EQ(sites->commits, 0U);
        EXPECT_EQ(mount.stop(), mount_ok);
    }
    test_mount again(sites);
    EXPECT_EQ(file_text(again.at("file")), std::string(20'000'000, 'x'));
}

TEST_F(mounted, a_signal_unmounts_and_drains_and_a_second_one_gives_up) {
    auto sites = std::make_shared<memory_sites>();
    {
        test_mount mount(sites);
        write_text(mount.at("file"), "text");
        ::kill(::getpid(), SIGTERM);
        EXPECT_EQ(mount.wait(), mount_ok);
        EXPECT_NE(file_text("/proc/self/mounts").find("/proc"), std::string::npos);
        EXPECT_EQ(file_text("/proc/self/mounts").find(mount.path), std::string::npos);
    }
    test_mount mount(sites);
    EXPECT_EQ(file_text(mount.at("file")), "text");
    sites->hold_commits = true;
    write_text(mount.at("file"), "more");
    ::kill(::getpid(), SIGTERM);
    while (file_text("/proc/self/mounts").find(mount.path) != std::string::npos)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    ::kill(::getpid(), SIGINT);
    EXPECT_EQ(mount.wait(), mount_given_up);
    EXPECT_NE(mount.reports().find("not durable"), std::string::npos) << mount.reports();
    sites->hold_commits = false;
}

TEST_F(mounted, a_process_in_a_stuck_call_can_be_killed) {
    auto sites = std::make_shared<memory_sites>();
    file_system_options options;
    options.dirty_size_max = 16U << 20U;
    test_mount mount(sites, options);
    sites->hold_puts = true;
    for (const std::string command :
         {"dd if=/dev/zero of='%/write' bs=1M count=200 2>/dev/null", "echo x > '%/sync'; sync '%/sync'"}) {
        std::string text = command;
        for (std::size_t i = 0; (i = text.find('%')) != std::string::npos;) text.replace(i, 1, mount.path);
        const pid_t child = ::fork();
        if (child == 0) {
            ::setpgid(0, 0);
            ::execl("/bin/sh", "sh", "-c", text.c_str(), nullptr);
            ::_exit(127);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(400));
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, WNOHANG), 0) << "it should be stuck: " << text;
        ::kill(-child, SIGKILL);
        EXPECT_EQ(::waitpid(child, &status, 0), child);  // hangs here if the request cannot be interrupted
    }
    sites->hold_puts = false;
    EXPECT_EQ(mount.stop(), mount_ok);
}

TEST_F(mounted, errors_of_the_sites_reach_the_caller_and_stick) {
    auto sites = std::make_shared<memory_sites>();
    test_mount mount(sites);
    const int fd = ::open(mount.at("file").c_str(), O_CREAT | O_RDWR, 0644);
    ASSERT_GE(fd, 0);
    sites->fail_puts(error(errc::no_key, "no key"));
    ASSERT_EQ(::pwrite(fd, "text", 4, 0), 4);
    for (int i = 0; i < 2; ++i) {
        EXPECT_NE(::fsync(fd), 0);
        EXPECT_EQ(errno, ENOSPC);
    }
    EXPECT_NE(::pwrite(fd, "text", 4, 0), 4);
    sites->fail_puts(std::nullopt);
    EXPECT_EQ(::fsync(fd), 0);
    EXPECT_EQ(::close(fd), 0);
    EXPECT_EQ(mount.stop(), mount_ok);
}

/// Hard links, symlinks, sparse files, attributes, ACLs, odd names, odd modes and times.
void make_odd_tree(const std::string& at) {
    const std::string script =
        "set -e; cd '" + at +
        "'; "
        "mkdir -p a/b/c; head -c 9000000 /dev/urandom > a/big; head -c 100 /dev/urandom > a/b/small; : > a/empty; "
        "ln a/big a/b/hard; ln -s ../big a/b/soft; ln -s /nowhere dangling; "
        "truncate -s 50M sparse; printf x | dd of=sparse bs=1 seek=30000000 conv=notrunc status=none; "
        "printf 1 > \"$(printf 'new\\nline')\"; printf 2 > '^caret space'; printf 3 > 'ゲノム'; "
        "printf 4 > $(head -c 255 /dev/zero | tr '\\0' n); "
        "mkfifo pipe; mknod device c 1 3; "
        "setfattr -n user.one -v 1 a/big; setfattr -n user.binary -v 0x00ff00 a; setfattr -n trusted.t -v x a/empty; "
        "setfacl -m u:1234:r a/b/small; setfacl -d -m g:99:rx a/b; "
        "chmod 4711 a/b/small; chmod 1777 a/b/c; chown 12:34 a/empty; chown -h 5:6 dangling; "
        "touch -d '1999-12-31 23:59:59.123456789' a/big; touch -d '2107-01-01' a/empty; touch -h -d '2001-02-03' "
        "dangling; "
        "touch -d '1960-01-01 00:00:00.5' a/b/c; "
        "for i in $(seq 300); do echo $i > a/b/c/$i; done";
    ASSERT_EQ(run(script), "");
}

TEST_F(mounted, rsync_and_tar_carry_an_odd_tree) {
    if (std::system("command -v rsync setfattr setfacl tar >/dev/null") != 0)
        GTEST_SKIP() << "rsync, setfattr or setfacl is missing";
    auto sites = std::make_shared<memory_sites>();
    temporary_directory source;
    make_odd_tree(source.path());
    const std::string compare = "rsync -aHAXnc --numeric-ids --delete --itemize-changes ";
    {
        test_mount mount(sites);
        ASSERT_EQ(run("rsync -aHAXS --numeric-ids '" + source.path() + "/' '" + mount.at("copy") + "'"), "");
        EXPECT_EQ(run("rsync -aHAXi --numeric-ids '" + source.path() + "/' '" + mount.at("copy") + "'"), "")
            << "a second run transfers nothing";
        ASSERT_EQ(run("tar --warning=no-timestamp -C '" + source.path() +
                      "' --xattrs --acls --xattrs-include='*' -cf - . | (mkdir '" + mount.at("tar") +
                      "' && tar --warning=no-timestamp -C '" + mount.at("tar") +
                      "' --xattrs --acls --xattrs-include='*' -xpf -)"),
                  "");
        ASSERT_EQ(run("cp -a '" + mount.at("copy") + "' '" + mount.at("cp") + "'"), "");
        EXPECT_EQ(mount.stop(), mount_ok);
    }
    test_mount mount(sites);
    for (const std::string copy : {"copy", "tar", "cp"}) {
        SCOPED_TRACE(copy);
        EXPECT_EQ(run(compare + "'" + source.path() + "/' '" + mount.at(copy) + "/'"), "");
    }
    EXPECT_EQ(run("find '" + mount.at("copy") + "' -samefile '" + mount.at("copy/a/big") + "' | wc -l"), "2\n");
    struct stat sparse{};
    ASSERT_EQ(::stat(mount.at("copy/sparse").c_str(), &sparse), 0);
    EXPECT_LT(sparse.st_blocks * 512, 1'000'000);
    EXPECT_EQ(mount.stop(), mount_ok);
}

}  // namespace
}  // namespace warifu
