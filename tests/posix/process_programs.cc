// Several processes: appends, locks, pipes, programs.

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <endian.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <functional>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/posix/programs.h"

namespace warifu::posix {
namespace {

/// Runs `work` in a child; its result is the child's exit code.
pid_t in_child(const std::function<int()>& work) {
    const pid_t child = ::fork();
    if (child == 0) {
        int code = 99;
        try {
            code = work();
        } catch (const broken& why) {
            fmt::print(stderr, "    in a child: {}\n", why.what);
        }
        ::_exit(code);
    }
    return child;
}
int exit_code(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// IEEE Std 1003.1, write(): with O_APPEND no other write comes between finding the end and writing.
void appends_of_two_processes_do_not_overlap() {
    constexpr int writers = 2, records = 2000;
    constexpr std::size_t record_size = 37;
    ::close(open_file("log", O_CREAT | O_WRONLY));
    std::array<pid_t, writers> children{};
    for (int who = 0; who < writers; ++who)
        children[static_cast<std::size_t>(who)] = in_child([who] {
            const int fd = open_file("log", O_WRONLY | O_APPEND);
            for (int i = 0; i < records; ++i) {
                const std::string text = fmt::format("{:<{}}\n", fmt::format("{} {}", who, i), record_size - 1);
                if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) return 1;
            }
            return 0;
        });
    for (const pid_t child : children) expect(exit_code(child) == 0, "a writer failed");
    const int fd = open_file("log", O_RDONLY);
    std::string all(writers * records * record_size + 1, '\0');
    const auto got = ::read(fd, all.data(), all.size());
    expect(got == static_cast<ssize_t>(all.size() - 1), fmt::format("{} bytes, not {}", got, all.size() - 1));
    std::array<int, writers> next{};
    for (std::size_t at = 0; at + record_size < all.size(); at += record_size) {
        const auto who = static_cast<std::size_t>(all[at] - '0');
        expect(who < writers && std::atoi(all.c_str() + at + 2) == next[who], "a record is torn or out of order");
        ++next[who];
    }
}

/// fcntl(2): a conflicting lock of another process is reported with its owner; a wait ends when it goes; two that wait
/// for each other are told EDEADLK.
void posix_locks_between_processes() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_len = 10;
    succeeds(::fcntl(fd, F_SETLK, &lock), "F_SETLK");
    const pid_t owner = ::getpid();
    expect(exit_code(in_child([owner] {
               const int mine = open_file("f", O_RDWR);
               struct flock wanted{};
               wanted.l_type = F_RDLCK;
               wanted.l_start = 5;
               wanted.l_len = 1;
               fails_with(::fcntl(mine, F_SETLK, &wanted), EAGAIN, "a conflicting lock");
               succeeds(::fcntl(mine, F_GETLK, &wanted), "F_GETLK");
               expect(wanted.l_type == F_WRLCK && wanted.l_pid == owner && wanted.l_start == 0 && wanted.l_len == 10,
                      "F_GETLK names another lock");
               return 0;
           })) == 0,
           "F_GETLK");
    std::array<int, 2> ready{};
    succeeds(::pipe(ready.data()), "pipe");
    const pid_t waiter = in_child([&ready] {
        const int mine = open_file("f", O_RDWR);
        struct flock wanted{};
        wanted.l_type = F_WRLCK;
        wanted.l_start = 100;
        wanted.l_len = 1;
        succeeds(::fcntl(mine, F_SETLK, &wanted), "its own range");
        static_cast<void>(!::write(ready[1], "x", 1));
        wanted.l_start = 0;
        succeeds(::fcntl(mine, F_SETLKW, &wanted), "F_SETLKW");
        return 0;
    });
    char byte = 0;
    succeeds(::read(ready[0], &byte, 1), "the waiter");
    ::usleep(100'000);  // it waits by now, or will find the range free: either is right below
    lock.l_start = 100;
    lock.l_len = 1;
    const int waited = ::fcntl(fd, F_SETLKW, &lock);
    if (waited != 0) expect(errno == EDEADLK, "a circle of waiting processes");
    lock.l_type = F_UNLCK;
    lock.l_start = 0;
    lock.l_len = 0;
    succeeds(::fcntl(fd, F_SETLK, &lock), "unlock");
    expect(exit_code(waiter) == 0, "the waiter did not get its lock");
}

/// flock(2): the lock belongs to the open file, so a forked process has it too.
void bsd_locks_are_inherited() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    succeeds(::flock(fd, LOCK_EX), "LOCK_EX");
    const pid_t child = in_child([fd] {
        succeeds(::flock(fd, LOCK_EX | LOCK_NB), "the inherited lock");
        const int other = open_file("f", O_RDWR);
        fails_with(::flock(other, LOCK_SH | LOCK_NB), EAGAIN, "another open file");
        return 0;
    });
    expect(exit_code(child) == 0, "in the child");
}

void a_pipe_and_a_socket_have_names_here() {
    succeeds(::mkfifo("pipe", 0600), "mkfifo");
    const pid_t child = in_child([] {
        const int fd = open_file("pipe", O_WRONLY);
        return ::write(fd, "text", 4) == 4 ? 0 : 1;
    });
    const int fd = open_file("pipe", O_RDONLY);
    std::array<char, 5> text{};
    expect(::read(fd, text.data(), 4) == 4 && std::strcmp(text.data(), "text") == 0, "what came through the pipe");
    expect(exit_code(child) == 0, "the writer");
    const int server = static_cast<int>(succeeds(::socket(AF_UNIX, SOCK_STREAM, 0), "socket"));
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strcpy(name.sun_path, "socket");
    succeeds(::bind(server, reinterpret_cast<const sockaddr*>(&name), sizeof name), "bind");
    succeeds(::listen(server, 1), "listen");
    const int client = static_cast<int>(succeeds(::socket(AF_UNIX, SOCK_STREAM, 0), "socket"));
    succeeds(::connect(client, reinterpret_cast<const sockaddr*>(&name), sizeof name), "connect");
    fails_with(::bind(client, reinterpret_cast<const sockaddr*>(&name), sizeof name), EADDRINUSE, "bind again");
}

/// execve(2), open(2): a program that runs cannot be written, one that is written cannot run.
void programs_run_from_here() {
    const int script = open_file("script", O_CREAT | O_WRONLY);
    const std::string text = "#!/bin/sh\nexit 7\n";
    succeeds(::write(script, text.data(), text.size()), "write");
    succeeds(::fchmod(script, 0755), "fchmod");
    const auto execute = [](const char* path) {
        return in_child([path] {
            ::execl(path, path, "100", nullptr);
            return errno == ETXTBSY ? 26 : 27;
        });
    };
    expect(exit_code(execute("./script")) == 26, "a program that is open for writing must be ETXTBSY");
    ::close(script);
    expect(exit_code(execute("./script")) == 7, "the script's exit code");
    expect(std::system("cp /bin/sleep ./sleep") == 0, "cp");
    std::array<int, 2> runs{};
    succeeds(::pipe2(runs.data(), O_CLOEXEC), "pipe");
    const pid_t sleeper = execute("./sleep");
    ::close(runs[1]);
    char nothing = 0;
    succeeds(::read(runs[0], &nothing, 1), "the end of the pipe, which comes when the program runs");
    fails_with(::open("sleep", O_WRONLY | O_CLOEXEC), ETXTBSY, "a program that runs");
    ::kill(sleeper, SIGKILL);
    exit_code(sleeper);
}

/// setrlimit(2): a write beyond RLIMIT_FSIZE is cut at it, one that starts there is EFBIG with SIGXFSZ.
void the_limit_of_file_sizes_holds() {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    succeeds(::setrlimit(RLIMIT_FSIZE, &limit), "setrlimit");
    const int fd = open_file("f", O_CREAT | O_RDWR);
    const std::string text(600, 'x');
    expect(::write(fd, text.data(), text.size()) == 600, "below the limit");
    expect(::write(fd, text.data(), text.size()) == 400, "up to the limit");
    fails_with(::write(fd, text.data(), text.size()), EFBIG, "beyond the limit");
    fails_with(::ftruncate(fd, 2000), EFBIG, "ftruncate beyond the limit");
}

/// capabilities(7): a write takes a program's capabilities away.
void capabilities_go_when_a_file_is_written() {
    const int fd = open_file("f", O_CREAT | O_RDWR);
    const std::array<std::uint32_t, 5> value = {htole32(0x02000000U), htole32(1U << 10U), 0, 0, 0};
    succeeds(::setxattr("f", "security.capability", value.data(), sizeof value, 0), "setxattr");
    expect(::getxattr("f", "security.capability", nullptr, 0) == sizeof value, "what was set");
    succeeds(::write(fd, "x", 1), "write");
    fails_with(::getxattr("f", "security.capability", nullptr, 0), ENODATA, "after a write");
    succeeds(::setxattr("f", "security.capability", value.data(), sizeof value, 0), "setxattr again");
    succeeds(::chown("f", 5, 5), "chown");
    fails_with(::getxattr("f", "security.capability", nullptr, 0), ENODATA, "after a chown");
}

}  // namespace

void add_process_programs(std::vector<program>& all) {
    all.push_back({"appends of two processes do not overlap", {}, appends_of_two_processes_do_not_overlap});
    all.push_back({"POSIX locks between processes", {}, posix_locks_between_processes});
    all.push_back({"BSD locks are inherited", {}, bsd_locks_are_inherited});
    all.push_back({"a pipe and a socket have names here", {}, a_pipe_and_a_socket_have_names_here});
    all.push_back({"programs run from here", {}, programs_run_from_here});
    all.push_back({"RLIMIT_FSIZE holds", {}, the_limit_of_file_sizes_holds});
    all.push_back({"capabilities go when a file is written", {}, capabilities_go_when_a_file_is_written});
}

}  // namespace warifu::posix
