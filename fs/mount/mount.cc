#include "fs/mount/mount.h"

#include <array>
#include <condition_variable>
#include <cstdio>
#include <fcntl.h>
#include <fmt/format.h>
#include <future>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <thread>
#include <unistd.h>

#include "fs/base/limits.h"
#include "fs/mount/connection.h"
#include "fs/mount/mount_point.h"
#include "fs/mount/session.h"

namespace warifu {
namespace {

using reporter = std::function<void(std::string_view)>;

// ---- signals ----

std::atomic<int> signal_event = -1;
std::atomic<bool> hand_over = false;

/// Async-signal-safe: wakes the watcher, which does the rest.
void on_signal(int which) {
    if (which == SIGUSR1) hand_over = true;
    const std::uint64_t one = 1;
    const int fd = signal_event.load();
    if (fd >= 0) static_cast<void>(!::write(fd, &one, sizeof one));
}

void on_wake(int) {}  // its delivery ends the loop's sem_wait

/// Ends the session at SIGTERM, SIGINT, SIGHUP; counts them; restores the handlers when it goes.
class signal_watch {
  public:
    signal_watch(fuse_session* session, bool can_hand_over)
        : session_(session), signal_count_(can_hand_over ? 4 : 3), loop_thread_(::pthread_self()) {
        event_ = ::eventfd(0, EFD_CLOEXEC);
        signal_event = event_;
        hand_over = false;
        struct sigaction action{};
        action.sa_handler = on_signal;
        for (std::size_t i = 0; i < signal_count_; ++i) ::sigaction(signals[i], &action, &before_[i]);
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
        for (std::size_t i = 0; i < signal_count_; ++i) ::sigaction(signals[i], &before_[i], nullptr);
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
    /// Whether the mount is to stay for another daemon.
    bool hands_over() const { return hand_over; }

  private:
    static constexpr std::array<int, 4> signals = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

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
    const std::size_t signal_count_;
    const pthread_t loop_thread_;
    int event_ = -1;
    std::atomic<bool> stop_ = false, looping_ = true;
    std::atomic<unsigned> count_ = 0;
    std::array<struct sigaction, 4> before_{};
    struct sigaction before_wake_{}, before_pipe_{};
    std::thread thread_;
};

/// Tells that the mount answers, on a thread of its own, because the kernel's first request must not wait for it.
class announcement {
  public:
    explicit announcement(const mount_options& options)
        : thread_([this, &options] {
              if (!begun_.get_future().get()) return;
              widen_read_ahead(options.mountpoint);
              if (options.health) options.health->serving = true;
              if (options.ready) options.ready();
          }) {}
    ~announcement() {
        begin(false);
        thread_.join();
    }
    announcement(const announcement&) = delete;
    announcement& operator=(const announcement&) = delete;

    void begin(bool answers) {
        if (!said_.exchange(true)) begun_.set_value(answers);
    }

  private:
    std::atomic<bool> said_ = false;
    std::promise<bool> begun_;
    std::thread thread_;
};

/// Looks at the requests once a second: tells of those that are stuck, and lets others know how it stands.
class watchdog {
  public:
    watchdog(request_watch& watch, std::shared_ptr<mount_health> health, reporter report)
        : watch_(watch), health_(std::move(health)), report_(std::move(report)), thread_([this] { run(); }) {}
    ~watchdog() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        thread_.join();
    }
    watchdog(const watchdog&) = delete;
    watchdog& operator=(const watchdog&) = delete;

  private:
    void run() {
        std::unique_lock lock(mutex_);
        while (!wake_.wait_for(lock, std::chrono::seconds(1), [this] { return stop_; })) {
            watch_.tell(steady_clock::now(), [this](const std::string& line) { report_(line); });
            if (!health_) continue;
            const auto now = watch_.now();
            health_->waiting = now.waiting;
            health_->oldest_ms = now.oldest_ms;
            health_->stuck = now.stuck;
        }
    }
    request_watch& watch_;
    const std::shared_ptr<mount_health> health_;
    const reporter report_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stop_ = false;  // guarded by mutex_
    std::thread thread_;
};

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

int serve(fuse_session* session, signal_watch& signals, bool kept) {
    fuse_loop_config* config = fuse_loop_cfg_create();
    // Requests that were read from a clone of the descriptor end when it is closed, as at the end of a process.
    fuse_loop_cfg_set_clone_fd(config, kept ? 0 : 1);
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

/// The replies of requests that still wait go nowhere any more, but they refer to the session: it is destroyed after
/// the last one, or kept for ever if the sites do not let them end.
void finish_session(fuse_session* fuse, std::unique_ptr<mount_session> session, bool drained) {
    const deadline until = deadline_in_ms(drained ? request_timeout_ms : 1'000);
    while (session->waiting != 0 && steady_clock::now() < until)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (session->waiting == 0) {
        session->retries.join();
        fuse_session_destroy(fuse);
        return;
    }
    static auto* abandoned = new std::vector<std::pair<fuse_session*, std::unique_ptr<mount_session>>>;
    abandoned->emplace_back(fuse, std::move(session));
}

std::unique_ptr<mount_session> make_session(const mount_options& options, file_system& files, asio::io_context& core) {
    auto session = std::make_unique<mount_session>(files, core);
    session->read_only = options.read_only;
    session->users = options.users;
    session->groups = options.groups;
    session->cache_seconds = options.read_only ? 0.25 : options.cache_seconds;
    session->redo = options.redo;
    return session;
}

/// Refuses with one line, or detaches a dead mount and says so.
result<void> prepare_mountpoint(const mount_options& options, const reporter& report) {
    bool detached = false;
    TRY_VOID(check_mountpoint(options.mountpoint, &detached));
    if (detached) report(fmt::format("{}: detached the mount of a daemon that died", options.mountpoint));
    return {};
}

result<void> mount_session_at(fuse_session* fuse, const mount_options& options) {
    if (fuse_session_mount(fuse, options.mountpoint.c_str()) == 0) return {};
    return fail(errc::io_error,
                fmt::format("{}: cannot mount here: {}", options.mountpoint,
                            ::geteuid() == 0 ? "the kernel refused"
                                             : "no permission (is fusermount3 installed, is allow_other allowed "
                                               "in /etc/fuse.conf?)"));
}

/// libfuse unmounts what it mounted; what an earlier daemon mounted is unmounted here.
void unmount(fuse_session* fuse, const kept_connection* resumed, const mount_options& options) {
    if (resumed == nullptr) return fuse_session_unmount(fuse);
    if (!resumed->is_unmounted()) ::umount2(options.mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

}  // namespace

int run_mount(const mount_options& options, file_system& files, asio::io_context& core) {
    const reporter report =
        options.report ? options.report : [](std::string_view line) { fmt::print(stderr, "warifu: {}\n", line); };
    const bool resumes = options.held_fd >= 0;
    if (!resumes) {
        if (const auto ready = prepare_mountpoint(options, report); !ready) {
            report(ready.error().text);
            return mount_refused;
        }
    }
    auto session = make_session(options, files, core);
    fuse_arguments arguments(options);
    fuse_session* fuse =
        fuse_session_new(arguments.get(), &mount_operations(), sizeof(fuse_lowlevel_ops), session.get());
    if (fuse == nullptr) {
        report("the options for the mount were not accepted");
        return mount_refused;
    }
    std::shared_ptr<kept_connection> connection;
    if (options.redo) connection = std::make_shared<kept_connection>(options.redo, options.keep);
    session->connection = connection;
    int outcome = mount_ok;
    bool handed_over = false;
    result<void> begun;
    if (!resumes) begun = mount_session_at(fuse, options);
    if (begun && connection && !resumes) begun = connection->attach(fuse);
    {
        signal_watch signals(fuse, connection != nullptr);
        if (begun) {
            announcement announce(options);
            const watchdog watching(session->watch, options.health, report);
            if (!resumes) session->on_init = [&announce] { announce.begin(true); };
            if (resumes) begun = connection->resume(fuse, ::fcntl(options.held_fd, F_DUPFD_CLOEXEC, 0));
            if (begun && resumes) begun = connection->ask_again();
            if (begun && resumes) announce.begin(true);
            if (begun) serve(fuse, signals, connection != nullptr);
        }
        if (!begun) report(begun.error().text);
        if (!begun && !resumes) {
            fuse_session_unmount(fuse);
            outcome = mount_refused;
        } else {  // one that cannot go on with a mount still makes durable what was accepted
            handed_over = begun && signals.hands_over();
            session->hands_over = handed_over;
            if (!handed_over) unmount(fuse, resumes ? connection.get() : nullptr, options);
            if (!handed_over && options.unmounted) options.unmounted();
            outcome = drain_all(files, core, signals, report);
        }
    }
    finish_session(fuse, std::move(session), outcome == mount_ok);
    if (!begun && outcome == mount_ok) return mount_refused;
    return outcome == mount_ok && handed_over ? mount_handed_over : outcome;
}

}  // namespace warifu
