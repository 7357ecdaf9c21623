#pragma once
// Processes that outlive the command that starts them: pid files that are never mistaken for another process, start
// with a ready message, orderly stop.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "fs/base/clock.h"
#include "fs/base/error.h"

namespace warifu {

/// A process for ever: its number and its start time (/proc/PID/stat field 22), because numbers are reused.
struct process_identity {
    pid_t pid = 0;
    std::uint64_t start = 0;
    bool operator==(const process_identity&) const = default;
};

/// nullopt when there is no such process or it is a zombie.
std::optional<process_identity> identity_of(pid_t pid);
bool is_running(const process_identity& who);

/// Writes "PID START\n". The directory must exist.
result<void> write_pid_file(const std::filesystem::path& file, const process_identity& who);
/// The process that the file names, if it runs; nullopt when the file is missing or names a process that ended.
/// bad_format when the file holds something else.
result<std::optional<process_identity>> running_process(const std::filesystem::path& file);

/// The far end of spawn(): a daemon says once that it is ready, or why not. Without a ready pipe (in the foreground)
/// both do nothing.
class ready_signal {
  public:
    explicit ready_signal(int fd) : fd_(fd) {}
    ready_signal(ready_signal&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    ready_signal(const ready_signal&) = delete;
    ready_signal& operator=(const ready_signal&) = delete;
    ready_signal& operator=(ready_signal&&) = delete;
    ~ready_signal();

    void ready();
    void failed(const error& e);
    /// The descriptor is the caller's from now on; -1 when there is none.
    int release() { return std::exchange(fd_, -1); }

  private:
    void send(std::string text);
    int fd_;
};

struct spawn_request {
    std::string label;                   // for messages: "site1's keyd"
    std::vector<std::string> arguments;  // after the program's name
    std::filesystem::path log;           // appended to by standard output and error; created 0600
    std::chrono::milliseconds ready_timeout{30'000};
};

/// Starts this program (/proc/self/exe) with `arguments` and "--ready-fd N" in a session of its own, and waits until it
/// says that it is ready. Errors: what the process said; unreachable when it ended without a word or said nothing in
/// time (it is then killed), naming the log.
result<process_identity> spawn(const spawn_request& request);

enum class stop_outcome : std::uint8_t { was_not_running, stopped, still_running };
/// SIGTERM, then waits until it ended; `waiting` is called about five times a second. Never signals another process
/// that has got the same number.
stop_outcome stop_process(const process_identity& who, deadline until, const std::function<void()>& waiting = {});
/// The same without a signal: for a process that is ending by itself.
stop_outcome wait_for_process(const process_identity& who, deadline until, const std::function<void()>& waiting = {});
/// SIGKILL and wait.
void kill_process(const process_identity& who);

/// A lock that lives as long as this object and this process: commands that change a deployment exclude each other.
class file_lock {
  public:
    /// Waits up to the deadline. busy: somebody else holds it.
    static result<file_lock> take(const std::filesystem::path& file, deadline until);
    file_lock(file_lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    file_lock(const file_lock&) = delete;
    file_lock& operator=(const file_lock&) = delete;
    file_lock& operator=(file_lock&&) = delete;
    ~file_lock();

  private:
    explicit file_lock(int fd) : fd_(fd) {}
    int fd_;
};

}  // namespace warifu
