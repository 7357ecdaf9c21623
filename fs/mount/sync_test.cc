// Calls that promise durability wait for the sites and for nothing less; calls that wait for the sites end at once when
// their caller is interrupted.

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "fs/mount/test_mount.h"

namespace warifu {
namespace {

using testing::test_mount;
using testing::why_no_mount;

class synchronous : public ::testing::Test {
  protected:
    void SetUp() override {
        if (const auto why = why_no_mount(); !why.empty()) GTEST_SKIP() << why;
    }
};

int open_new(const std::string& path, int flags = 0) {
    const int fd = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | flags, 0644);
    EXPECT_GE(fd, 0) << path;
    return fd;
}

bool has_name(const std::shared_ptr<memory_sites>& sites, const std::string& name) {
    memory_volume after_crash(sites->as_of(sites->durable_records()));
    return after_crash.names().lookup(root_inode, name).has_value();
}

struct promise_of_durability {
    const char* name;
    std::function<int(const std::string& path)> prepare;       // returns a descriptor
    std::function<int(int fd, const std::string& path)> call;  // 0 when it succeeded
};

int write_one(int fd) {
    return ::pwrite(fd, "x", 1, 0) == 1 ? 0 : -1;
}
int prepare_written(const std::string& path) {
    const int fd = open_new(path);
    EXPECT_EQ(write_one(fd), 0);
    return fd;
}
int store_and_sync(int fd, const std::string&) {
    void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    static_cast<char*>(map)[0] = 'y';
    const int outcome = ::msync(map, 4096, MS_SYNC);
    ::munmap(map, 4096);
    return outcome;
}
int sync_parent(int, const std::string& path) {
    const int directory = ::open(path.substr(0, path.rfind('/')).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int outcome = ::fsync(directory);
    ::close(directory);
    return outcome;
}

const promise_of_durability promises[] = {
    {"fsync", prepare_written, [](int fd, const std::string&) { return ::fsync(fd); }},
    {"fdatasync", prepare_written, [](int fd, const std::string&) { return ::fdatasync(fd); }},
    {"o_sync", [](const std::string& path) { return open_new(path, O_SYNC); },
     [](int fd, const std::string&) { return write_one(fd); }},
    {"o_dsync", [](const std::string& path) { return open_new(path, O_DSYNC); },
     [](int fd, const std::string&) { return write_one(fd); }},
    {"msync", prepare_written, store_and_sync},
    {"fsyncdir", [](const std::string& path) { return open_new(path); }, sync_parent},
};

TEST_F(synchronous, calls_return_when_the_sites_have_it) {
    auto sites = std::make_shared<memory_sites>();
    file_system_options options;
    options.commit_interval_ms = 50;
    test_mount mount(sites, options);
    for (const auto& row : promises) {
        SCOPED_TRACE(row.name);
        sites->hold_commits = true;
        const std::string path = mount.at(row.name);
        const int fd = row.prepare(path);
        auto called = std::async(std::launch::async, [&] { return row.call(fd, path); });
        EXPECT_NE(called.wait_for(std::chrono::milliseconds(200)), std::future_status::ready)
            << "it must not return before the sites have it";
        EXPECT_FALSE(has_name(sites, row.name));
        sites->hold_commits = false;
        EXPECT_EQ(called.get(), 0);
        EXPECT_TRUE(has_name(sites, row.name)) << "a crash after it must not lose it";
        ::close(fd);
    }
    EXPECT_EQ(mount.stop(), mount_ok);
}

TEST_F(synchronous, close_waits_only_with_sync_close) {
    for (const bool sync_close : {false, true}) {
        auto sites = std::make_shared<memory_sites>();
        file_system_options options;
        options.commit_interval_ms = 100'000;
        options.sync_close = sync_close;
        test_mount mount(sites, options);
        sites->hold_commits = true;
        const int fd = prepare_written(mount.at("file"));
        auto closed = std::async(std::launch::async, [fd] { return ::close(fd); });
        if (sync_close) {
            EXPECT_NE(closed.wait_for(std::chrono::milliseconds(200)), std::future_status::ready);
            EXPECT_FALSE(has_name(sites, "file"));
            sites->hold_commits = false;
            EXPECT_EQ(closed.get(), 0);
            EXPECT_TRUE(has_name(sites, "file"));
        } else {
            EXPECT_EQ(closed.get(), 0);  // hangs here if it waits
            EXPECT_FALSE(has_name(sites, "file"));
            sites->hold_commits = false;
        }
        EXPECT_EQ(mount.stop(), mount_ok);
    }
}

TEST_F(synchronous, errors_stick_with_sync_close_too) {
    auto sites = std::make_shared<memory_sites>();
    file_system_options options;
    options.sync_close = true;
    test_mount mount(sites, options);
    const int fd = prepare_written(mount.at("file"));
    const int again = ::dup(fd);
    sites->fail_puts(error(errc::no_space, "full"));
    for (const int one : {fd, again}) {
        EXPECT_NE(::close(one), 0);
        EXPECT_EQ(errno, ENOSPC);
    }
    sites->fail_puts(std::nullopt);
    const int later = ::open(mount.at("file").c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_EQ(::fsync(later), 0);
    EXPECT_EQ(::close(later), 0);
    EXPECT_TRUE(has_name(sites, "file"));
    EXPECT_EQ(mount.stop(), mount_ok);
}

/// A child that makes one call, and dies of an interrupt as most programs do.
pid_t child_calls(const std::function<long()>& call) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::signal(SIGINT, SIG_DFL);
    ::_exit(call() < 0 ? 1 : 0);
}

/// A read that the kernel's cache cannot answer.
long read_cold(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    char byte = 0;
    return ::read(fd, &byte, 1);
}

TEST_F(synchronous, calls_that_wait_end_at_an_interrupt) {
    auto sites = std::make_shared<memory_sites>();
    file_system_options options;
    options.dirty_size_max = 16U << 20U;
    options.sync_close = true;
    test_mount mount(sites, options);
    const std::string stored = mount.at("stored");
    const int fd = prepare_written(stored);
    ASSERT_EQ(::fsync(fd), 0);
    ::close(fd);
    sites->hold_puts = true;
    sites->read_delay_ms = 5'000;  // the mount waits for reads under way when it ends
    const std::string fresh = mount.at("fresh");
    const struct {
        const char* name;
        std::function<long()> call;
    } table[] = {
        {"read", [&] { return read_cold(stored); }},
        {"fsync", [&] { return ::fsync(prepare_written(fresh)); }},
        {"close", [&] { return ::close(prepare_written(fresh)); }},
        {"write",
         [&] {
             const std::string text(1U << 20U, 'x');
             const int full = open_new(fresh);
             for (int i = 0; i < 64; ++i)
                 if (::pwrite(full, text.data(), text.size(), i << 20) != 1 << 20) return -1;
             return 0;
         }},
    };
    for (const auto& row : table) {
        SCOPED_TRACE(row.name);
        const pid_t child = child_calls(row.call);
        int status = 0;
        std::this_thread::sleep_for(std::chrono::milliseconds(400));
        EXPECT_EQ(::waitpid(child, &status, WNOHANG), 0) << "it should wait";
        ::kill(child, SIGINT);
        pid_t ended = 0;
        for (int i = 0; i < 400 && ended == 0; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            ended = ::waitpid(child, &status, WNOHANG);
        }
        ASSERT_EQ(ended, child) << "it goes on";
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
    }
    sites->hold_puts = false;
    EXPECT_EQ(mount.stop(), mount_ok);
}

}  // namespace
}  // namespace warifu
