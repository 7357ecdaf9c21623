#pragma once
// What the program's exit status means (README.md has the same table).

#include "fs/base/error.h"

namespace warifu {

inline constexpr int exit_ok = 0;
inline constexpr int exit_failure = 1;         // anything not named below
inline constexpr int exit_usage = 2;           // wrong options or arguments
inline constexpr int exit_configuration = 3;   // a configuration file is wrong
inline constexpr int exit_degraded = 4;        // status: usable, but a part is down; audit: findings
inline constexpr int exit_no_key_or_space = 5; // key or space ran out
inline constexpr int exit_missing_sites = 6;   // fewer than k good sites answered, or the newest record is disputed
inline constexpr int exit_busy = 7;            // in use: a port, a mount point, a live writer, a store
inline constexpr int exit_denied = 8;          // permission, access list, /dev/fuse
inline constexpr int exit_stopped = 9;         // a process of the deployment is down or did not start

int exit_code_of(const error& e);

}  // namespace warifu
