#include "fs/mount/mount.h"

#include <array>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <signal.h>
#include <sstream>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <thread>
#include <unistd.h>

#include "fs/base/limits.h"
#include "fs/mount/session.h"

namespace warifu {
namespace {

using reporter = std::function<void(std::string_view)>;

std::string errno_text(int code) {
    return std::strerror(code);
}

// ---- signals ----

std::atomic<int> signal_event = -1;

/// Async-signal-safe: wakes the watcher, which does the rest.
void on_signal(int) {
    const std::uint64_t one = 1;
    const int fd = signal_event.load();
    if (fd >= 0) static_cast<void>(!::write(fd, &one, sizeof one));
}

void on_wake(int) {}  // its delivery ends the loop's sem_wait

/// Ends the session at SIGTERM, SIGINT, SIGHUP; counts them; restores the handlers when it goes.
class signal_watch {
  public:
    explicit signal_watch(fuse_session* session) : session_(session), loop_thread_(::pthread_self()) {
        event_ = ::eventfd(0, EFD_CLOEXEC);
        signal_event = event_;
        struct sigaction action{};
        action.sa_handler = on_signal;
        for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &action, &before_[i]);
        action.sa_handler = on_wake;
        ::sigaction(SIGUSR2, &action, &before_wake_);
        action.sa_handler = SIG_IGN;
        ::sigaction(SIGPIPE, &action, &before_pipe_);
        thread_ = std::thread([this] { watch(); });
    }
    ~signal_watch() {
        stop_ = true;
        on_signal(0);
        thread_.join();
        for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &before_[i], nullptr);
        ::sigaction(SIGUSR2, &before_wake_, nullptr);
        ::sigaction(SIGPIPE, &before_pipe_, nullptr);
        signal_event = -1;
        ::close(event_);
    }
    signal_watch(const signal_watch&) = delete;
    signal_watch& operator=(const signal_watch&) = delete;

    void loop_ended() { looping_ = false; }
    /// Signals so far.
    unsigned count() const { return count_; }

  private:
    static constexpr std::array<int, 3> signals = {SIGTERM, SIGINT, SIGHUP};

    void watch() {
        while (!stop_) {
            std::uint64_t news = 0;
            if (::read(event_, &news, sizeof news) != static_cast<ssize_t>(sizeof news) || stop_) continue;
            ++count_;
            fuse_session_exit(session_);
            // libfuse's loop may be about to sleep when the first wake-up comes, so it is repeated.
            while (looping_ && !stop_) {
                ::pthread_kill(loop_thread_, SIGUSR2);
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
            }
        }
    }

    fuse_session* session_;
    const pthread_t loop_thread_;
    int event_ = -1;
    std::atomic<bool> stop_ = false, looping_ = true;
    std::atomic<unsigned> count_ = 0;
    std::array<struct sigaction, 3> before_{};
    struct sigaction before_wake_{}, before_pipe_{};
    std::thread thread_;
};

// ---- mounting ----

result<void> check_device() {
    const int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        ::close(fd);
        return {};
    }
    const int code = errno;
    if (code == ENOENT || code == ENODEV || code == ENXIO)
        return fail(errc::not_found, "/dev/fuse is missing: load the fuse kernel module (modprobe fuse)");
    if (code == EACCES || code == EPERM) return fail(errc::denied, "no permission to open /dev/fuse");
    return fail(errc::io_error, fmt::format("/dev/fuse: {}", errno_text(code)));
}

/// Undoes mountinfo's escapes of blanks and backslashes: \\040 and the like.
std::string unescaped(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            out += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

/// The type of what is mounted at `path`, from /proc/self/mountinfo; empty when nothing is.
std::string mounted_type(const std::string& path) {
    std::ifstream mounts("/proc/self/mountinfo");
    std::string line;
    std::string type;
    while (std::getline(mounts, line)) {
        std::istringstream words(line);
        std::string word;
        std::string where;
        for (int i = 0; i < 5 && words >> word; ++i) where = word;
        if (unescaped(where) != path) continue;
        while (words >> word && word != "-") {
        }
        words >> type;  // the last one listed is on top
    }
    return type;
}

result<void> detach_dead(const std::string& path) {
    std::array<char, PATH_MAX> absolute{};
    // realpath() cannot follow into a dead mount, but its parent can be resolved.
    const auto cut = path.find_last_not_of('/');
    const std::string trimmed = path.substr(0, cut + 1);
    const auto slash = trimmed.find_last_of('/');
    const std::string parent = slash == std::string::npos ? "." : trimmed.substr(0, std::max<std::size_t>(slash, 1));
    const std::string name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
    if (::realpath(parent.c_str(), absolute.data()) == nullptr)
        return fail(errc::io_error, fmt::format("{}: {}", parent, errno_text(errno)));
    std::string where = absolute.data();
    if (where.back() != '/') where += '/';
    where += name;
    const std::string type = mounted_type(where);
    if (type != "fuse.warifu")
        return fail(errc::busy,
                    fmt::format("{}: a dead mount of type '{}' is in the way; unmount it first", path, type));
    if (::umount2(where.c_str(), MNT_DETACH) != 0)
        return fail(errc::busy,
                    fmt::format("{}: a dead mount is in the way and cannot be detached: {}", path, errno_text(errno)));
    return {};
}

/// A mount whose daemon is gone. Attributes may still be cached, so the directory is opened too.
bool is_dead(const std::string& path) {
    struct stat at{};
    if (::stat(path.c_str(), &at) != 0) return errno == ENOTCONN;
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno == ENOTCONN;
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

/// The kernel reads ahead 128 KiB by itself; a larger window lets it ask for several requests of 1 MiB at once.
void widen_read_ahead(const std::string& path) {
    struct stat at{};
    if (::stat(path.c_str(), &at) != 0) return;
    std::ofstream knob(fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", major(at.st_dev), minor(at.st_dev)));
    knob << 4 * fuse_request_size_max / 1024;  // without the right to write it stays as it is
}

std::string escaped(const std::string& option) {
    std::string out;
    for (const char c : option) {
        if (c == ',' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

class fuse_arguments {
  public:
    explicit fuse_arguments(const mount_options& options) {
        add("warifu");
        std::string joined = fmt::format("default_permissions,max_read={},subtype=warifu,fsname={}",
                                         fuse_request_size_max, escaped(options.volume_name));
        if (options.allow_other) joined += ",allow_other";
        if (options.read_only) joined += ",ro";
        for (const auto& option : options.fuse_options) joined += "," + option;
        add("-o");
        add(joined);
    }
    ~fuse_arguments() { fuse_opt_free_args(&args_); }
    fuse_arguments(const fuse_arguments&) = delete;
    fuse_arguments& operator=(const fuse_arguments&) = delete;
    fuse_args* get() { return &args_; }

  private:
    void add(const std::string& text) { fuse_opt_add_arg(&args_, text.c_str()); }
    fuse_args args_ = FUSE_ARGS_INIT(0, nullptr);
};

int serve(fuse_session* session, signal_watch& signals) {
    fuse_loop_config* config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, fuse_threads_max);
    fuse_loop_cfg_set_idle_threads(config, fuse_threads_max);
    const int outcome = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    signals.loop_ended();
    return outcome;
}

std::string size_text(std::uint64_t bytes) {
    if (bytes < 10U << 20U) return fmt::format("{} KiB", divide_up(bytes, 1024));
    return fmt::format("{} MiB", divide_up(bytes, 1U << 20U));
}

awaitable<result<void>> drain(file_system* files, reporter report) {
    co_return co_await files->drain([report](std::uint64_t left) {
        if (left != 0) report(fmt::format("waiting for the sites: {} left to store", size_text(left)));
    });
}

/// Waits until everything is durable. An error is tried again while it may pass.
int drain_all(file_system& files, asio::io_context& core, const signal_watch& signals, const reporter& report) {
    const unsigned signals_before = signals.count();
    for (;;) {
        auto outcome = asio::co_spawn(core, drain(&files, report), asio::use_future);
        while (outcome.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
            if (signals.count() == signals_before) continue;
            report("interrupted: what was written last is not durable");
            return mount_given_up;
        }
        const auto drained = outcome.get();
        if (drained) return mount_ok;
        report(fmt::format("could not store what was written last: {}", drained.error().message()));
        const bool may_pass = drained.error().code == errc::no_key || drained.error().code == errc::unreachable ||
                              drained.error().code == errc::timed_out || drained.error().code == errc::missing_shares;
        if (!may_pass) return mount_not_durable;
        std::this_thread::sleep_for(std::chrono::seconds(1));
    }
}

}  // namespace

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

int run_mount(const mount_options& options, file_system& files, asio::io_context& core) {
    const reporter report =
        options.report ? options.report : [](std::string_view line) { fmt::print(stderr, "warifu: {}\n", line); };
    bool detached = false;
    if (const auto ready = check_mountpoint(options.mountpoint, &detached); !ready) {
        report(ready.error().text);
        return mount_refused;
    }
    if (detached) report(fmt::format("{}: detached the mount of a daemon that died", options.mountpoint));

    asio::thread_pool retries(1);
    mount_session session{files, core, options.read_only, static_cast<double>(options.cache_seconds), retries};
    if (options.read_only) session.cache_seconds = 1;
    fuse_arguments arguments(options);
    fuse_session* fuse = fuse_session_new(arguments.get(), &mount_operations(), sizeof(fuse_lowlevel_ops), &session);
    if (fuse == nullptr) {
        report("the options for the mount were not accepted");
        return mount_refused;
    }
    if (fuse_session_mount(fuse, options.mountpoint.c_str()) != 0) {
        report(fmt::format("{}: cannot mount here: {}", options.mountpoint,
                           ::geteuid() == 0 ? "the kernel refused"
                                            : "no permission (is fusermount3 installed, is allow_other allowed "
                                              "in /etc/fuse.conf?)"));
        fuse_session_destroy(fuse);
        return mount_refused;
    }
    int outcome = mount_ok;
    {
        signal_watch signals(fuse);
        std::thread announce([&options] {
            widen_read_ahead(options.mountpoint);  // the first request: it returns when the loop below serves
            if (options.ready) options.ready();
        });
        serve(fuse, signals);
        fuse_session_unmount(fuse);
        announce.join();
        outcome = drain_all(files, core, signals, report);
        // Their replies go nowhere any more, but they refer to the session.
        while (session.waiting != 0 && outcome == mount_ok) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    retries.join();
    if (outcome == mount_ok)
        fuse_session_destroy(fuse);  // else requests may still hold it, and the process is about to end
    return outcome;
}

}  // namespace warifu
