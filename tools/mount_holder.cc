#include "tools/mount_holder.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/files/redo_log.h"
#include "tools/exit_code.h"

namespace warifu {
namespace {

void send_message(int socket, char what, int fd) {
    iovec part{&what, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> space{};
    if (fd >= 0) {
        message.msg_control = space.data();
        message.msg_controllen = space.size();
        cmsghdr* control = CMSG_FIRSTHDR(&message);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(control), &fd, sizeof fd);
    }
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0) spdlog::error("the mount's holder: {}", std::strerror(errno));
}

/// The path of this program, also when a newer one has taken its place since.
std::string program_path() {
    std::array<char, PATH_MAX> path{};
    const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
    std::string text(path.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    constexpr std::string_view gone = " (deleted)";
    if (text.ends_with(gone)) text.resize(text.size() - gone.size());
    return text;
}

class mount_holder {
  public:
    mount_holder(const mount_arguments& arguments, int log)
        : arguments_(arguments), program_(program_path()), log_(log) {}
    ~mount_holder() {
        for (const int fd : {log_, fuse_, signals_, socket_})
            if (fd >= 0) ::close(fd);
    }
    mount_holder(const mount_holder&) = delete;
    mount_holder& operator=(const mount_holder&) = delete;

    result<int> run(ready_signal& ready) {
        sigset_t watched;
        ::sigemptyset(&watched);
        for (const int one : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD}) ::sigaddset(&watched, one);
        ::sigprocmask(SIG_BLOCK, &watched, nullptr);
        signals_ = ::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
        const int ready_fd = ready.release();
        const bool started = start(ready_fd);
        if (ready_fd >= 0) ::close(ready_fd);
        if (!started) return fail(errc::io_error, "the daemon cannot be started");
        while (!ended_) look();
        return exit_code_;
    }

  private:
    bool start(int ready_fd);
    [[noreturn]] void become_daemon(int socket, int ready_fd);
    void look();
    void take_signals();
    void pass_on(int which);
    void take_messages();
    void take(char what);
    void take_end();
    void begin_again(int status);
    void give_up(const char* why);

    const mount_arguments arguments_;
    const std::string program_;
    int log_ = -1, fuse_ = -1, signals_ = -1, socket_ = -1;
    pid_t daemon_ = 0;  // 0: none runs
    deadline served_at_{}, start_at_{}, alone_since_{};
    unsigned deaths_ = 0;
    bool serves_ = false;  // the daemon that runs
    bool end_wanted_ = false, unmounted_ = false, nothing_left_ = false, ended_ = false;
    int exit_code_ = exit_failure;
};

bool mount_holder::start(int ready_fd) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return false;
    daemon_ = ::fork();
    if (daemon_ == 0) become_daemon(ends[1], ready_fd);
    ::close(ends[1]);
    if (socket_ >= 0) ::close(socket_);
    socket_ = ends[0];
    serves_ = false;
    return daemon_ > 0;
}

/// Between fork and exec of a process with one thread.
void mount_holder::become_daemon(int socket, int ready_fd) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::setpgid(0, 0);  // a terminal's Ctrl-C comes from the holder, once
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    std::vector<std::string> words = {program_,
                                      "mount",
                                      arguments_.config.string(),
                                      arguments_.mountpoint.string(),
                                      "-f",
                                      "--memory",
                                      std::to_string(arguments_.memory_size)};
    for (const auto& list : arguments_.options) words.insert(words.end(), {"-o", list});
    const int fuse = unmounted_ ? held_mount::no_mount_left : fuse_;
    words.insert(words.end(), {"--held", fmt::format("{},{},{}", socket, log_, fuse)});
    if (ready_fd >= 0) words.insert(words.end(), {"--ready-fd", std::to_string(ready_fd)});
    for (const int fd : {socket, log_, fuse_, ready_fd})
        if (fd >= 0) ::fcntl(fd, F_SETFD, 0);
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::execv(program_.c_str(), pointers.data());
    ::_exit(127);
}

void mount_holder::look() {
    std::array<pollfd, 2> watched{{{signals_, POLLIN, 0}, {daemon_ != 0 ? socket_ : -1, POLLIN, 0}}};
    ::poll(watched.data(), watched.size(), serves_ ? -1 : 100);
    if (daemon_ != 0 && (watched[1].revents & POLLIN) != 0) take_messages();
    take_signals();
    if (ended_ || serves_) return;
    const deadline now = steady_clock::now();
    if (alone_since_ != deadline{} && now - alone_since_ > std::chrono::milliseconds(holder_patience_ms))
        return give_up("no daemon could go on");
    if (daemon_ == 0 && now >= start_at_ && !start(-1)) start_at_ = deadline_in_ms(1'000);
}

void mount_holder::take_messages() {
    char what = 0;
    iovec part{&what, 1};
    msghdr message{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> space{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = space.data();
    message.msg_controllen = space.size();
    while (::recvmsg(socket_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == 1) {
        const cmsghdr* control = CMSG_FIRSTHDR(&message);
        if (what == 'M' && control != nullptr && control->cmsg_type == SCM_RIGHTS)
            std::memcpy(&fuse_, CMSG_DATA(control), sizeof fuse_);
        take(what);
        message.msg_controllen = space.size();
    }
}

void mount_holder::take(char what) {
    if (what == 'S') {
        serves_ = true;
        served_at_ = steady_clock::now();
        if (end_wanted_) ::kill(daemon_, SIGTERM);
    }
    if (what == 'U' || what == 'E') {
        unmounted_ = true;
        nothing_left_ = what == 'E';
        if (fuse_ >= 0) ::close(std::exchange(fuse_, -1));
    }
}

void mount_holder::take_signals() {
    signalfd_siginfo news{};
    while (::read(signals_, &news, sizeof news) == static_cast<ssize_t>(sizeof news)) {
        const int which = static_cast<int>(news.ssi_signo);
        if (which == SIGCHLD)
            take_end();
        else if (!ended_)
            pass_on(which);
    }
}

void mount_holder::pass_on(int which) {
    const bool is_mounted = fuse_ >= 0 || unmounted_;
    if (serves_ || (!is_mounted && daemon_ != 0)) {
        ::kill(daemon_, which);
        end_wanted_ = end_wanted_ || which != SIGUSR1;
    } else if (which != SIGUSR1 && !std::exchange(end_wanted_, true)) {
        spdlog::info("ends as soon as a daemon has done again what was not durable");
    } else if (which != SIGUSR1) {
        give_up("told so twice while no daemon serves: what was not durable is lost");
    }
}

void mount_holder::take_end() {
    int status = 0;
    if (daemon_ == 0 || ::waitpid(daemon_, &status, WNOHANG) != daemon_) return;
    take_messages();
    daemon_ = 0;
    if (nothing_left_ || (fuse_ < 0 && !unmounted_)) {
        ended_ = true;
        exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : exit_failure;
        return;
    }
    begin_again(status);
}

void mount_holder::begin_again(int status) {
    const deadline now = steady_clock::now();
    const bool quick = !serves_ || now - served_at_ < std::chrono::milliseconds(holder_quick_ms);
    if (serves_ || alone_since_ == deadline{}) alone_since_ = now;
    serves_ = false;
    start_at_ = now;
    if (WIFEXITED(status) && WEXITSTATUS(status) == exit_handed_over) {
        spdlog::info("the daemon handed over; {} goes on", program_);
        deaths_ = 0;
        return;
    }
    if (WIFSIGNALED(status)) {
        spdlog::error("the daemon died of signal {}; another one goes on", WTERMSIG(status));
        deaths_ = quick ? deaths_ + 1 : 0;
        if (deaths_ > holder_deaths_max) return give_up("the daemon dies again and again");
        if (deaths_ > 3) start_at_ = now + std::chrono::milliseconds(200U << (deaths_ - 3));
        return;
    }
    spdlog::error("the daemon ended with code {}; it is tried again", WEXITSTATUS(status));
    start_at_ = now + std::chrono::seconds(1);
}

void mount_holder::give_up(const char* why) {
    spdlog::error("the mount ends: {}", why);
    if (fuse_ >= 0) ::umount2(arguments_.mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    if (daemon_ != 0) ::kill(daemon_, SIGKILL);
    ended_ = true;
}

}  // namespace

result<held_mount> parse_held(const std::string& text) {
    held_mount held;
    if (text.empty()) return held;
    const char* at = text.data();
    const char* const end = at + text.size();
    for (int* const to : {&held.socket, &held.log, &held.fuse}) {
        const auto [next, problem] = std::from_chars(at, end, *to);
        if (problem != std::errc()) return fail(errc::bad_argument, "--held is for the holder of a mount");
        at = next == end ? end : next + 1;
    }
    for (const int fd : {held.socket, held.log, held.fuse})
        if (fd >= 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return held;
}

void give_descriptor(const held_mount& held, int fd) {
    send_message(held.socket, 'M', fd);
}

void say_serving(const held_mount& held) {
    if (held.is_held()) send_message(held.socket, 'S', -1);
}

void say_unmounted(const held_mount& held) {
    if (held.is_held()) send_message(held.socket, 'U', -1);
}

void say_ended(const held_mount& held) {
    if (held.is_held()) send_message(held.socket, 'E', -1);
}

result<int> hold_mount(const mount_arguments& arguments, std::size_t ring_size, ready_signal& ready) {
    TRY(const int log, redo_log::make_memory(ring_size));
    mount_holder holder(arguments, log);
    return holder.run(ready);
}

}  // namespace warifu
