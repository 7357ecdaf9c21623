#include "fs/mount/caller.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <string>
#include <unistd.h>

namespace warifu {
namespace {

constexpr std::uint64_t bit_of(int signal) {
    return std::uint64_t{1} << static_cast<unsigned>(signal - 1);
}
constexpr std::uint64_t harmless = bit_of(SIGCHLD) | bit_of(SIGCONT) | bit_of(SIGSTOP) | bit_of(SIGTSTP) |
                                   bit_of(SIGTTIN) | bit_of(SIGTTOU) | bit_of(SIGURG) | bit_of(SIGWINCH);

/// A line as "SigPnd:\t0000000000000100".
std::optional<std::uint64_t> signals_of(std::string_view proc_status, std::string_view name) {
    const auto at = proc_status.find(name);
    if (at == std::string_view::npos) return std::nullopt;
    const auto digits = proc_status.substr(at + name.size());
    std::uint64_t set = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), set, 16).ec != std::errc()) return std::nullopt;
    return set;
}

}  // namespace

std::optional<bool> is_dying(std::string_view proc_status) {
    const auto of_thread = signals_of(proc_status, "\nSigPnd:\t");
    const auto of_process = signals_of(proc_status, "\nShdPnd:\t");
    const auto blocked = signals_of(proc_status, "\nSigBlk:\t");
    const auto ignored = signals_of(proc_status, "\nSigIgn:\t");
    const auto caught = signals_of(proc_status, "\nSigCgt:\t");
    if (!of_thread || !of_process || !blocked || !ignored || !caught) return std::nullopt;
    return ((*of_thread | *of_process) & ~(*blocked | *ignored | *caught | harmless)) != 0;
}

bool is_dying(pid_t thread) {
    const std::string path = "/proc/" + std::to_string(thread) + "/status";
    const auto is_short = [](int code) { return code == EMFILE || code == ENFILE || code == ENOMEM || code == EINTR; };
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return thread == 0 || !is_short(errno);
    std::string text;  // the groups come before the signals, and can be 65,536
    std::array<char, 4096> part{};
    ssize_t size = 0;
    while ((size = ::read(file, part.data(), part.size())) > 0)
        text.append(part.data(), static_cast<std::size_t>(size));
    const bool unknown = size < 0 && is_short(errno);
    ::close(file);
    return !unknown && is_dying(std::string_view(text)).value_or(true);
}

}  // namespace warifu
