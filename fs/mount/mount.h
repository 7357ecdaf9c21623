#pragma once
// A mount: the kernel's requests over /dev/fuse become calls of a file_system. Nothing else is decided here.

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fs/files/file_system.h"
#include "fs/mount/id_map.h"

namespace warifu {

/// How the requests stand, about a second old. Any thread.
struct mount_health {
    std::atomic<std::uint64_t> waiting = 0;    // without a reply
    std::atomic<std::uint64_t> oldest_ms = 0;  // how long the oldest of them has waited
    std::atomic<std::uint64_t> stuck = 0;      // that waited longer than request_stuck_ms, since the mount
    std::atomic<bool> serving = false;         // the kernel's requests are answered
};

struct mount_options {
    std::string mountpoint;
    std::string volume_name;   // shown as the mounted device; the type is fuse.warifu
    bool allow_other = false;  // other users too (the kernel checks permissions either way)
    bool read_only = false;
    std::uint32_t cache_seconds = 60;       // how long the kernel may believe names and attributes; if read-only, 0.25
    id_map users, groups;                   // of the volume under other numbers here
    std::vector<std::string> fuse_options;  // more "-o" options for libfuse, each "name" or "name=value"
    std::shared_ptr<mount_health> health;   // kept up to date if set
    // A mount that outlives its daemon (connection.h):
    std::shared_ptr<redo_log> redo;                // the same as file_system_options::redo
    int held_fd = -1;                              // go on with this mount of an earlier daemon; stays the caller's
    std::function<void(int)> keep;                 // called with a fresh mount's descriptor, to be kept by somebody
    std::function<void()> unmounted;               // called before the drain: the connection is over, the log is not
    std::function<void()> ready;                   // called once the mount answers
    std::function<void(std::string_view)> report;  // one line for a person; default: standard error
};

/// Outcomes of run_mount: the exit code of `warifu mount`.
enum mount_exit : int {
    mount_ok = 0,           // unmounted, everything is durable
    mount_refused = 1,      // could not be mounted; one line says why, nothing was changed
    mount_not_durable = 2,  // unmounted, but what was written last could not be made durable
    mount_given_up = 3,     // a second signal ended the wait for the sites
    mount_handed_over = 4,  // SIGUSR1: still mounted, everything is durable; another daemon goes on
};

/// Mounts, serves until SIGTERM, SIGINT, SIGHUP or umount(8) (with a redo log also SIGUSR1), then drains. Blocks; the
/// core thread runs meanwhile. A mount left behind by a dead daemon at the same place is detached first. One at a time
/// in a process (it owns the signals).
int run_mount(const mount_options& options, file_system& files, asio::io_context& core);

}  // namespace warifu
