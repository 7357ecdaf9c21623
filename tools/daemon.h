#pragma once
// What every daemon of this program does around its own work: lock memory, write its pid file, log to standard error,
// say when it is ready, stop in order on SIGTERM and SIGINT.

#include <filesystem>
#include <functional>
#include <memory>

#include "fs/async/wait.h"
#include "tools/cli.h"
#include "tools/process.h"

namespace warifu {

struct daemon_options {
    int ready_fd = -1;               // from spawn()
    std::filesystem::path pid_file;  // empty: none
};
/// The options that spawn() and the deployment pass on; not shown by --help.
void add_daemon_options(CLI::App* command, daemon_options& options);

/// Hardening, log format, pid file. Call before anything secret is in memory. busy: the pid file names a process that
/// runs.
result<void> prepare_daemon(const daemon_options& options, std::string_view name);
/// Removes the pid file if it is still ours.
void forget_daemon(const daemon_options& options);

using daemon_ready = std::function<void()>;
/// One coroutine on the core thread (this one): returns when `stop` was set and everything is put away. It calls the
/// daemon_ready once.
using daemon_work = std::function<task<>(asio::io_context& core, std::shared_ptr<event> stop, daemon_ready ready)>;

/// prepare_daemon, work, forget_daemon. Returns the exit code, or the error of `work`, which was also given to spawn().
result<int> run_daemon(const daemon_options& options, std::string_view name, const daemon_work& work);

}  // namespace warifu
