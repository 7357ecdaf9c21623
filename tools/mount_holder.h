#pragma once
// The holder of a mount: a small process that keeps what must outlive the daemon, the kernel's connection and the redo
// log, and starts the daemon again when it died (`warifu mount -o resume`). Programs that use the mount see a pause.
//
// Between the two is a socket. The daemon sends one byte a message:
//
// | byte | with it | meaning |
// |---|---|---|
// | 'M' | the descriptor of /dev/fuse | mounted: keep this |
// | 'S' | | it serves, and listens to signals |
// | 'U' | | unmounted; what the log holds is being made durable |
// | 'E' | | all of it is, or nobody can: keep nothing any more |
//
// The holder passes signals on: SIGTERM, SIGINT and SIGHUP end the mount (when no daemon serves, as soon as one does;
// a second one ends it at once), SIGUSR1 makes the daemon hand over to a new one (`warifu mount --upgrade`). If the
// holder dies, the daemon gets SIGTERM.

#include <string>

#include "fs/base/error.h"
#include "tools/mount_command.h"
#include "tools/process.h"

namespace warifu {

/// What a daemon gets from its holder, as descriptors: `--held SOCKET,LOG,FUSE`.
struct held_mount {
    int socket = -1, log = -1;
    int fuse = -1;  // of a mount that an earlier daemon made; no_mount_left: it was unmounted
    bool is_held() const { return socket >= 0; }
    bool is_first() const { return fuse == -1; }
    bool only_drains() const { return fuse == no_mount_left; }
    static constexpr int no_mount_left = -2;
};
result<held_mount> parse_held(const std::string& text);
/// The daemon's side.
void give_descriptor(const held_mount& held, int fd);
void say_serving(const held_mount& held);
void say_unmounted(const held_mount& held);
void say_ended(const held_mount& held);

inline constexpr int exit_handed_over = 75;                   // of a daemon: start another one
inline constexpr std::uint32_t holder_patience_ms = 600'000;  // without a daemon that serves; then the mount ends
inline constexpr unsigned holder_deaths_max = 10;             // crashes in a row, none served for holder_quick_ms
inline constexpr std::uint32_t holder_quick_ms = 2'000;

/// Runs the mount until it ends; returns the exit code of its last daemon. `ring_size`: of the redo log, bytes.
result<int> hold_mount(const mount_arguments& arguments, std::size_t ring_size, ready_signal& ready);

}  // namespace warifu
