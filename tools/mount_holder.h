#pragma once
// The holder of a mount: a small process that keeps what must outlive the daemon, the kernel's connection and the redo
// log, and starts the daemon again when it died (`warifu mount -o resume`). Programs that use the mount see a pause.
//
// Between the two is a socket. The daemon sends one byte a message:
//
// | byte | with it | meaning |
// |---|---|---|
// | 'M' | the descriptor of /dev/fuse | mounted: keep this |
// | 'E' | | unmounted, or it cannot go on: keep nothing any more |
//
// The holder passes signals on: SIGTERM, SIGINT and SIGHUP end the mount, SIGUSR1 makes the daemon hand over to a new
// one
// (`warifu mount --upgrade`). If the holder dies, the daemon gets SIGTERM.

#include <string>

#include "fs/base/error.h"
#include "tools/mount_command.h"
#include "tools/process.h"

namespace warifu {

/// What a daemon gets from its holder, as descriptors: `--held SOCKET,LOG,FUSE`.
struct held_mount {
    int socket = -1, log = -1;
    int fuse = -1;  // of a mount that an earlier daemon made
    bool is_held() const { return socket >= 0; }
};
result<held_mount> parse_held(const std::string& text);
/// The daemon's side.
void give_descriptor(const held_mount& held, int fd);
void say_unmounted(const held_mount& held);

inline constexpr int exit_handed_over = 75;                   // of a daemon: start another one
inline constexpr std::uint32_t holder_patience_ms = 600'000;  // without a daemon that serves; then the mount ends
inline constexpr unsigned holder_deaths_max = 10;             // crashes in a row, each within holder_quick_ms
inline constexpr std::uint32_t holder_quick_ms = 10'000;

/// Runs the mount until it ends; returns the exit code of its last daemon. `ring_size`: of the redo log, bytes.
result<int> hold_mount(const mount_arguments& arguments, std::size_t ring_size, ready_signal& ready);

}  // namespace warifu
