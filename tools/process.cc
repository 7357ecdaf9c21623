#include "tools/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <sys/pidfd.h>  // glibc 2.36 forgot to say that these are C functions
}

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "fs/config/json_node.h"

namespace warifu {
namespace {

constexpr auto poll_interval = std::chrono::milliseconds(200);
constexpr std::size_t ready_text_size_max = 4096;

/// An open pidfd that surely is `who`, or -1. Opening first and comparing afterwards leaves no gap for a reused number.
int open_process(const process_identity& who) {
    const int fd = ::pidfd_open(who.pid, 0);
    if (fd >= 0 && identity_of(who.pid) != who) {
        ::close(fd);
        return -1;
    }
    return fd;
}

/// Whether the process behind the pidfd ended within `timeout`.
bool ended_within(int pidfd, std::chrono::milliseconds timeout) {
    pollfd watched{pidfd, POLLIN, 0};
    return ::poll(&watched, 1, static_cast<int>(timeout.count())) > 0;
}

/// The child's side between fork and exec: only calls that are safe there.
[[noreturn]] void become_daemon(const std::vector<char*>& arguments, int log, int ready_fd) {
    ::setsid();
    const int null = ::open("/dev/null", O_RDONLY);
    if (null >= 0) ::dup2(null, STDIN_FILENO);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    ::fcntl(ready_fd, F_SETFD, 0);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execv("/proc/self/exe", arguments.data());
    ::_exit(127);
}

/// Reads until the writer closes or the deadline passes; nullopt at the deadline.
std::optional<std::string> read_until_closed(int fd, deadline until) {
    std::string text;
    while (text.size() < ready_text_size_max) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - steady_clock::now());
        pollfd watched{fd, POLLIN, 0};
        const int got = left.count() > 0 ? ::poll(&watched, 1, static_cast<int>(left.count())) : 0;
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return std::nullopt;
        char part[512];
        const ssize_t size = ::read(fd, part, sizeof part);
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0) break;
        text.append(part, static_cast<std::size_t>(size));
    }
    return text;
}

/// "ok" or "CODE text" as the daemon sent it.
result<void> outcome_of(const std::optional<std::string>& said, const spawn_request& request) {
    if (!said) {
        return fail(errc::unreachable, fmt::format("{} is not ready after {} s; see {}", request.label,
                                                   request.ready_timeout.count() / 1000, request.log.string()));
    }
    if (*said == "ok") return {};
    std::uint16_t code = 0;
    const auto [end, ec] = std::from_chars(said->data(), said->data() + said->size(), code);
    if (ec != std::errc() || end == said->data() + said->size())
        return fail(errc::unreachable, fmt::format("{} ended at once; see {}", request.label, request.log.string()));
    return fail(static_cast<errc>(code), std::string(end + 1, said->data() + said->size()));
}

}  // namespace

std::optional<process_identity> identity_of(pid_t pid) {
    std::ifstream in(fmt::format("/proc/{}/stat", pid));
    std::string text;
    if (!std::getline(in, text)) return std::nullopt;
    // The name in parentheses may hold anything; the fields after it start with the state (field 3).
    const auto close = text.rfind(')');
    if (close == std::string::npos || close + 2 >= text.size()) return std::nullopt;
    std::istringstream fields(text.substr(close + 2));
    std::string field;
    for (int number = 3; fields >> field; ++number) {
        if (number == 3 && (field == "Z" || field == "X")) return std::nullopt;
        if (number == 22) return process_identity{pid, std::strtoull(field.c_str(), nullptr, 10)};
    }
    return std::nullopt;
}

bool is_running(const process_identity& who) {
    return identity_of(who.pid) == who;
}

result<void> write_pid_file(const std::filesystem::path& file, const process_identity& who) {
    return write_text_file(file, fmt::format("{} {}\n", who.pid, who.start));
}

result<std::optional<process_identity>> running_process(const std::filesystem::path& file) {
    const auto text = read_text_file(file);
    if (!text && text.error().code == errc::not_found) return std::nullopt;
    if (!text) return fail(text.error());
    process_identity who;
    std::istringstream in(*text);
    if (!(in >> who.pid >> who.start) || who.pid <= 1)
        return fail(errc::bad_format, fmt::format("{}: not a pid file", file.string()));
    if (!is_running(who)) return std::nullopt;
    return who;
}

ready_signal::~ready_signal() {
    if (fd_ >= 0) ::close(fd_);
}

void ready_signal::send(std::string text) {
    if (fd_ < 0) return;
    while (::write(fd_, text.data(), text.size()) < 0 && errno == EINTR) {
    }
    ::close(std::exchange(fd_, -1));
}

void ready_signal::ready() {
    send("ok");
}

void ready_signal::failed(const error& e) {
    send(fmt::format("{} {}", static_cast<unsigned>(e.code), e.text.empty() ? e.message() : e.text));
}

result<process_identity> spawn(const spawn_request& request) {
    int pipe_ends[2];
    const int log = ::open(request.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) return fail(errc::io_error, fmt::format("{}: {}", request.log.string(), std::strerror(errno)));
    if (::pipe2(pipe_ends, O_CLOEXEC) != 0) {
        ::close(log);
        return fail(errc::io_error, fmt::format("pipe: {}", std::strerror(errno)));
    }
    std::vector<std::string> texts = {"warifu"};
    texts.insert(texts.end(), request.arguments.begin(), request.arguments.end());
    texts.insert(texts.end(), {"--ready-fd", std::to_string(pipe_ends[1])});
    std::vector<char*> arguments;
    for (auto& text : texts) arguments.push_back(text.data());
    arguments.push_back(nullptr);
    const pid_t pid = ::fork();
    if (pid == 0) become_daemon(arguments, log, pipe_ends[1]);
    ::close(log);
    ::close(pipe_ends[1]);
    if (pid < 0) {
        ::close(pipe_ends[0]);
        return fail(errc::io_error, fmt::format("fork: {}", std::strerror(errno)));
    }
    const auto who = identity_of(pid);
    const auto said = read_until_closed(pipe_ends[0], steady_clock::now() + request.ready_timeout);
    ::close(pipe_ends[0]);
    auto outcome = outcome_of(said, request);
    if (outcome && who) return *who;
    // Our own child, not yet waited for: the number cannot have been reused.
    if (!said) ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    if (outcome)
        return fail(errc::unreachable, fmt::format("{} ended at once; see {}", request.label, request.log.string()));
    return fail(std::move(outcome).error());
}

namespace {

stop_outcome wait_for_end(const process_identity& who, int signal, deadline until,
                          const std::function<void()>& waiting) {
    const int fd = open_process(who);
    if (fd < 0) return stop_outcome::was_not_running;
    if (signal != 0) ::pidfd_send_signal(fd, signal, nullptr, 0);
    bool ended = ended_within(fd, poll_interval);
    while (!ended && steady_clock::now() < until) {
        if (waiting) waiting();
        ended = ended_within(fd, poll_interval);
    }
    ::close(fd);
    return ended ? stop_outcome::stopped : stop_outcome::still_running;
}

}  // namespace

stop_outcome stop_process(const process_identity& who, deadline until, const std::function<void()>& waiting) {
    return wait_for_end(who, SIGTERM, until, waiting);
}

stop_outcome wait_for_process(const process_identity& who, deadline until, const std::function<void()>& waiting) {
    return wait_for_end(who, 0, until, waiting);
}

void kill_process(const process_identity& who) {
    const int fd = open_process(who);
    if (fd < 0) return;
    ::pidfd_send_signal(fd, SIGKILL, nullptr, 0);
    ended_within(fd, std::chrono::seconds(10));
    ::close(fd);
}

result<file_lock> file_lock::take(const std::filesystem::path& file, deadline until) {
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        const errc code = errno == EACCES ? errc::access_denied : errc::io_error;
        return fail(code, fmt::format("{}: {}", file.string(), std::strerror(errno)));
    }
    while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (steady_clock::now() >= until) {
            ::close(fd);
            return fail(errc::busy, fmt::format("{}: another warifu command works on this deployment", file.string()));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return file_lock(fd);
}

file_lock::~file_lock() {
    if (fd_ >= 0) ::close(fd_);
}

}  // namespace warifu
