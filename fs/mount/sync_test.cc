// Calls that promise durability wait for the sites and for nothing less; calls that wait for the sites end at once when
// their caller is killed, and at no other signal.

#include <dirent.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
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

volatile sig_atomic_t taken = 0;  // signals that the handler saw

/// A child that makes one call; it takes SIGALRM and SIGUSR1 as programs do that have timers, and dies of the others.
/// Exit code: 0 when the call succeeded and `signals` were taken by then.
pid_t child_calls(const std::function<long()>& call, int signals = 0) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    for (const int one : {SIGINT, SIGQUIT}) ::signal(one, SIG_DFL);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    struct sigaction take{};
    take.sa_handler = [](int) { taken = taken + 1; };  // without SA_RESTART
    for (const int one : {SIGALRM, SIGUSR1}) ::sigaction(one, &take, nullptr);
    ::_exit(call() < 0 || taken != signals ? 1 : 0);
}

/// The status of the child when it ended within 20 s.
std::optional<int> ended(pid_t child) {
    int status = 0;
    for (int i = 0; i < 400; ++i) {
        if (::waitpid(child, &status, WNOHANG) == child) return status;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return std::nullopt;
}
bool waits(pid_t child) {
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
    return ::waitpid(child, nullptr, WNOHANG) == 0;
}

/// A read that the kernel's cache cannot answer.
long read_cold(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    char byte = 0;
    return ::read(fd, &byte, 1);
}

/// A mount whose sites do not store, and read slowly.
struct slow_mount {
    explicit slow_mount(bool sync_close) : mount(sites, options(sync_close)) {
        const int fd = prepare_written(stored);
        EXPECT_EQ(::fsync(fd), 0);
        ::close(fd);
        sites->hold_puts = true;
        sites->read_delay_ms = 5'000;  // the mount waits for reads under way when it ends
    }
    ~slow_mount() {
        sites->hold_puts = false;
        EXPECT_EQ(mount.stop(), mount_ok);
    }
    static file_system_options options(bool sync_close) {
        file_system_options some;
        some.dirty_size_max = 16U << 20U;
        some.sync_close = sync_close;
        return some;
    }

    std::shared_ptr<memory_sites> sites = std::make_shared<memory_sites>();
    test_mount mount;
    std::string stored = mount.at("stored"), fresh = mount.at("fresh");
};

const struct {
    const char* name;
    bool sync_close;  // only here: a process that ends closes its files, and would wait for them
    long (*call)(const slow_mount&);
} waiting_calls[] = {
    {"read", false, [](const slow_mount& on) { return read_cold(on.stored); }},
    {"fsync", false, [](const slow_mount& on) { return long{::fsync(prepare_written(on.fresh))}; }},
    {"close", true, [](const slow_mount& on) { return long{::close(prepare_written(on.fresh))}; }},
    {"write", false,
     [](const slow_mount& on) {
         const std::string text(1U << 20U, 'x');
         const int full = open_new(on.fresh);
         for (int i = 0; i < 64; ++i)
             if (::pwrite(full, text.data(), text.size(), i << 20) != 1 << 20) return -1L;
         return 0L;
     }},
};

TEST_F(synchronous, calls_that_wait_end_when_their_caller_is_killed) {
    for (const auto& row : waiting_calls) {
        const slow_mount on(row.sync_close);
        for (const int fatal : {SIGINT, SIGQUIT, SIGKILL}) {
            for (const bool after_another : {false, true}) {  // the kernel tells of the first alone
                SCOPED_TRACE(fmt::format("{}, signal {}{}", row.name, fatal, after_another ? " after SIGALRM" : ""));
                const pid_t child = child_calls([&] { return row.call(on); });
                EXPECT_TRUE(waits(child));
                if (after_another) {
                    ::kill(child, SIGALRM);
                    EXPECT_TRUE(waits(child));
                }
                ::kill(child, fatal);
                const auto status = ended(child);
                ASSERT_TRUE(status) << "it goes on";
                EXPECT_TRUE(WIFSIGNALED(*status) && WTERMSIG(*status) == fatal) << *status;
            }
        }
    }
}

TEST_F(synchronous, calls_that_wait_go_on_at_signals_that_do_not_kill) {
    for (const auto& row : waiting_calls) {
        SCOPED_TRACE(row.name);
        const slow_mount on(row.sync_close);
        const pid_t child = child_calls([&] { return row.call(on); }, 2);
        EXPECT_TRUE(waits(child));
        for (const int one : {SIGCHLD, SIGURG, SIGSTOP, SIGCONT, SIGALRM, SIGUSR1}) {
            ::kill(child, one);
            EXPECT_TRUE(waits(child)) << "signal " << one;
        }
        on.sites->hold_puts = false;
        const auto status = ended(child);
        ASSERT_TRUE(status);
        EXPECT_TRUE(WIFEXITED(*status) && WEXITSTATUS(*status) == 0) << *status;
    }
}

}  // namespace
}  // namespace warifu
