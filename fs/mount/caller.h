#pragma once
// The thread whose request the kernel waits for: whether a signal that came is one that ends its process. A local disk
// makes the caller of fsync or write wait through every other signal, and so do we: programs that take SIGALRM, SIGCHLD
// or Ctrl-Z do not expect EINTR from a regular file.

#include <optional>
#include <string_view>
#include <sys/types.h>

namespace warifu {

/// From the text of /proc/TID/status (proc_pid_status(5)): a signal is pending that is not blocked, ignored or caught,
/// and ends a process by default (signal(7)); the kernel turns most of them into SIGKILL for each thread. None: the
/// text has no such lines.
std::optional<bool> is_dying(std::string_view proc_status);

/// The same for a thread now. True for one that cannot be seen (0: of a process namespace outside of ours; /proc hides
/// it): nobody could end its wait otherwise. False while this process is short of descriptors or memory: who waits asks
/// again. Any thread.
bool is_dying(pid_t thread);

}  // namespace warifu
