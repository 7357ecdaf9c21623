#include "tools/bench_work.h"

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <netinet/in.h>
#include <random>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "fs/base/buffer.h"
#include "fs/base/clock.h"
#include "fs/base/random.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

constexpr std::size_t step_size = 1U << 20U;
constexpr std::size_t block_size = 4096;
constexpr std::uint64_t random_write_file_size = 64ULL << 20U;
constexpr unsigned small_files_in_folder = 100;

class file {
  public:
    static result<file> open(const path_fs::path& path, int flags) {
        const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
        if (fd < 0) return fail(errc::io_error, fmt::format("{}: {}", path.string(), std::strerror(errno)));
        return file(fd, path);
    }
    file(file&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
    file(const file&) = delete;
    file& operator=(const file&) = delete;
    file& operator=(file&&) = delete;
    ~file() {
        if (fd_ >= 0) ::close(fd_);
    }
    int fd() const { return fd_; }
    std::unexpected<error> failure(std::string_view what) const {
        return fail(errc::io_error, fmt::format("{}: {}: {}", path_.string(), what, std::strerror(errno)));
    }

  private:
    file(int fd, path_fs::path path) : fd_(fd), path_(std::move(path)) {}
    int fd_;
    path_fs::path path_;
};

class stop_watch {
  public:
    double seconds() const { return std::chrono::duration<double>(steady_clock::now() - start_).count(); }

  private:
    steady_clock::time_point start_ = steady_clock::now();
};

/// Bytes that nothing can compress or deduplicate.
buffer noise(std::size_t size) {
    buffer bytes(size);
    const auto source = make_drbg();
    (void)source->begin_chunk();
    (void)source->fill(bytes.span());
    return bytes;
}

operation_times times_of(std::vector<double> each, double all) {
    operation_times out;
    if (each.empty()) return out;
    std::ranges::sort(each);
    out.per_second = static_cast<double>(each.size()) / all;
    out.p50_ms = each[each.size() / 2] * 1e3;
    out.p99_ms = each[each.size() * 99 / 100] * 1e3;
    return out;
}

path_fs::path small_file(const path_fs::path& directory, unsigned number) {
    return directory / fmt::format("d{:02}", number / small_files_in_folder) / fmt::format("f{:05}", number);
}

result<void> write_whole(const file& out, bytes_view bytes, off_t at) {
    while (!bytes.empty()) {
        const ssize_t put = ::pwrite(out.fd(), bytes.data(), bytes.size(), at);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return out.failure("write");
        bytes = bytes.subspan(static_cast<std::size_t>(put));
        at += put;
    }
    return {};
}

/// A listening socket on loopback and its address.
result<std::pair<int, sockaddr_in>> listen_on_loopback() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (fd < 0 || ::bind(fd, generic, size) != 0 || ::listen(fd, 1) != 0 || ::getsockname(fd, generic, &size) != 0) {
        if (fd >= 0) ::close(fd);
        return fail(errc::io_error, fmt::format("loopback: {}", std::strerror(errno)));
    }
    return std::pair(fd, address);
}

}  // namespace

result<double> bench_write(const path_fs::path& directory, std::uint64_t size) {
    const buffer bytes = noise(step_size);
    TRY(const auto out, file::open(directory / "large", O_WRONLY | O_CREAT | O_TRUNC));
    const stop_watch watch;
    for (std::uint64_t at = 0; at < size; at += step_size)
        TRY_VOID(
            write_whole(out, bytes.view(0, std::min<std::uint64_t>(step_size, size - at)), static_cast<off_t>(at)));
    if (::fsync(out.fd()) != 0) return out.failure("fsync");
    return watch.seconds();
}

result<double> bench_read(const path_fs::path& directory, std::uint64_t size) {
    buffer bytes = buffer::zeroed(step_size);
    TRY(const auto in, file::open(directory / "large", O_RDONLY));
    const stop_watch watch;
    std::uint64_t total = 0;
    while (true) {
        const ssize_t got = ::read(in.fd(), bytes.data(), bytes.size());
        if (got < 0) return in.failure("read");
        if (got == 0) break;
        total += static_cast<std::uint64_t>(got);
    }
    if (total != size) return fail(errc::io_error, "the large file came back short");
    return watch.seconds();
}

result<operation_times> bench_random_write(const path_fs::path& directory, double seconds) {
    const buffer bytes = noise(block_size);
    TRY(const auto out, file::open(directory / "random", O_RDWR | O_CREAT));
    if (::ftruncate(out.fd(), static_cast<off_t>(random_write_file_size)) != 0 || ::fsync(out.fd()) != 0)
        return out.failure("prepare");
    std::mt19937_64 where(7);
    std::vector<double> syncs;
    const stop_watch watch;
    while (watch.seconds() < seconds) {
        const std::uint64_t block = where() % (random_write_file_size / block_size);
        TRY_VOID(write_whole(out, bytes.view(), static_cast<off_t>(block * block_size)));
        const stop_watch sync;
        if (::fdatasync(out.fd()) != 0) return out.failure("fdatasync");
        syncs.push_back(sync.seconds());
    }
    return times_of(std::move(syncs), watch.seconds());
}

result<operation_times> bench_rename(const path_fs::path& directory, double seconds) {
    const path_fs::path names[] = {directory / "renamed.0", directory / "renamed.1"};
    TRY_VOID(file::open(names[0], O_WRONLY | O_CREAT));
    TRY(const auto folder, file::open(directory, O_RDONLY | O_DIRECTORY));
    if (::fsync(folder.fd()) != 0) return folder.failure("fsync");
    std::vector<double> renames;
    const stop_watch watch;
    for (unsigned i = 0; watch.seconds() < seconds; ++i) {
        const stop_watch one;
        if (::rename(names[i % 2].c_str(), names[1 - i % 2].c_str()) != 0 || ::fsync(folder.fd()) != 0)
            return folder.failure("rename and fsync");
        renames.push_back(one.seconds());
    }
    return times_of(std::move(renames), watch.seconds());
}

result<double> bench_random_read(const path_fs::path& directory, double seconds, bool direct) {
    buffer bytes = buffer::zeroed(block_size);
    TRY(const auto in, file::open(directory / "large", O_RDONLY | (direct ? O_DIRECT : 0)));
    ::posix_fadvise(in.fd(), 0, 0, POSIX_FADV_RANDOM);
    const off_t size = ::lseek(in.fd(), 0, SEEK_END);
    if (size < static_cast<off_t>(block_size)) return in.failure("seek");
    std::mt19937_64 where(11);
    const stop_watch watch;
    std::uint64_t count = 0;
    while (watch.seconds() < seconds) {
        const std::uint64_t block = where() % (static_cast<std::uint64_t>(size) / block_size);
        if (::pread(in.fd(), bytes.data(), block_size, static_cast<off_t>(block * block_size)) !=
            static_cast<ssize_t>(block_size))
            return in.failure("read");
        ++count;
    }
    return static_cast<double>(count) / watch.seconds();
}

result<small_files_made> make_small_files(const path_fs::path& directory, unsigned count) {
    const buffer bytes = noise(16384);
    std::mt19937_64 draw(5);
    small_files_made made;
    const stop_watch watch;
    for (unsigned i = 0; i < count; ++i) {
        const path_fs::path path = small_file(directory, i);
        std::error_code ec;
        if (i % small_files_in_folder == 0) path_fs::create_directories(path.parent_path(), ec);
        if (ec) return fail(errc::io_error, fmt::format("{}: {}", path.parent_path().string(), ec.message()));
        TRY(const auto out, file::open(path, O_WRONLY | O_CREAT | O_TRUNC));
        const bytes_view content = bytes.view(draw() % 4096, 1500 + draw() % 7500);
        TRY_VOID(write_whole(out, content, 0));
        made.bytes += content.size();
    }
    made.seconds = watch.seconds();
    return made;
}

result<double> bench_stat(const path_fs::path& directory, unsigned count) {
    std::vector<std::string> names;
    for (unsigned i = 0; i < count; ++i) names.push_back(small_file(directory, i).string());
    struct stat found{};
    const stop_watch watch;
    for (const std::string& name : names)
        if (::stat(name.c_str(), &found) != 0)
            return fail(errc::io_error, fmt::format("{}: {}", name, std::strerror(errno)));
    return watch.seconds();
}

result<double> bench_command(const std::vector<std::string>& command) {
    std::vector<std::string> texts = command;
    std::vector<char*> arguments;
    for (auto& text : texts) arguments.push_back(text.data());
    arguments.push_back(nullptr);
    const stop_watch watch;
    const pid_t pid = ::fork();
    if (pid == 0) {
        const int null = ::open("/dev/null", O_RDWR);
        ::dup2(null, STDIN_FILENO);
        ::dup2(null, STDOUT_FILENO);
        ::dup2(null, STDERR_FILENO);
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
    }
    int status = 0;
    if (pid < 0 || ::waitpid(pid, &status, 0) != pid)
        return fail(errc::io_error, fmt::format("{} does not run", command[0]));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        const bool missing = WIFEXITED(status) && WEXITSTATUS(status) == 127;
        return fail(errc::io_error, fmt::format("{} {}", command[0], missing ? "is not installed" : "failed"));
    }
    return watch.seconds();
}

result<double> bench_rsync(const path_fs::path& source, const path_fs::path& directory) {
    const stop_watch watch;
    TRY_VOID(bench_command({"rsync", "-a", source.string() + "/", (directory / "small").string() + "/"}));
    TRY_VOID(bench_command({"sync", "-f", (directory / "small").string()}));
    TRY_VOID(bench_command({"sync", (directory / "small").string()}));  // syncfs does not reach FUSE
    return watch.seconds();
}

result<double> bench_tar_read(const path_fs::path& tree) {
    // To a pipe: tar does not read what goes to /dev/null.
    return bench_command({"sh", "-c", "tar -cf - -C \"$0\" . | cat >/dev/null", tree.string()});
}

result<double> bench_remove(const path_fs::path& tree) {
    return bench_command({"rm", "-rf", tree.string()});
}

result<disk_seconds> bench_disk(const path_fs::path& directory, std::uint64_t size) {
    constexpr unsigned depth = 16;
    const path_fs::path path = directory / "direct";
    TRY(const auto disk, file::open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT));
    if (::fallocate(disk.fd(), 0, 0, static_cast<off_t>(size)) != 0) return disk.failure("allocate");
    std::vector<buffer> steps;
    for (unsigned i = 0; i < depth; ++i) steps.push_back(noise(step_size));
    // One pass over the file by `depth` threads, each of which takes the next step that nobody has.
    const auto pass = [&](auto transfer) -> result<double> {
        std::atomic<std::uint64_t> next = 0;
        std::atomic<int> failed = 0;
        const stop_watch watch;
        {
            std::vector<std::jthread> threads;
            for (auto& bytes : steps)
                threads.emplace_back([&] {
                    for (std::uint64_t at = next.fetch_add(step_size); at + step_size <= size && !failed;
                         at = next.fetch_add(step_size))
                        if (transfer(bytes, static_cast<off_t>(at)) != static_cast<ssize_t>(step_size)) failed = errno;
                });
        }
        if (failed) errno = failed;
        if (failed || ::fdatasync(disk.fd()) != 0) return disk.failure("O_DIRECT");
        return watch.seconds();
    };
    disk_seconds out;
    TRY(out.write,
        pass([&](const buffer& bytes, off_t at) { return ::pwrite(disk.fd(), bytes.data(), step_size, at); }));
    TRY(out.read, pass([&](buffer& bytes, off_t at) { return ::pread(disk.fd(), bytes.data(), step_size, at); }));
    std::error_code ec;
    path_fs::remove(path, ec);
    return out;
}

result<double> bench_loopback(std::uint64_t size) {
    TRY(const auto listening, listen_on_loopback());
    const auto [listener, address] = listening;
    const buffer bytes = buffer::zeroed(step_size);
    std::thread sender([&bytes, size, where = address] {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0) {
            for (std::uint64_t sent = 0; sent < size;) {
                const ssize_t put = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
                if (put <= 0) break;
                sent += static_cast<std::uint64_t>(put);
            }
        }
        ::close(fd);
    });
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    buffer in = buffer::zeroed(step_size);
    const stop_watch watch;
    std::uint64_t total = 0;
    while (fd >= 0) {
        const ssize_t got = ::recv(fd, in.data(), in.size(), 0);
        if (got <= 0) break;
        total += static_cast<std::uint64_t>(got);
    }
    const double seconds = watch.seconds();
    sender.join();
    if (fd >= 0) ::close(fd);
    ::close(listener);
    if (total < size) return fail(errc::io_error, "loopback: the connection ended early");
    return seconds;
}

bool drop_kernel_caches() {
    ::sync();
    std::ofstream out("/proc/sys/vm/drop_caches");
    out << "3" << std::flush;
    return out.good();
}

double cpu_seconds(int pid) {
    std::ifstream in(fmt::format("/proc/{}/stat", pid));
    std::string text;
    if (!std::getline(in, text)) return 0;
    const auto close = text.rfind(')');
    if (close == std::string::npos) return 0;
    std::istringstream fields(text.substr(close + 2));
    std::string field;
    double ticks = 0;
    // Fields 14 and 15: user and system time.
    for (int number = 3; number <= 15 && fields >> field; ++number)
        if (number >= 14) ticks += std::strtod(field.c_str(), nullptr);
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace warifu
