#pragma once
// What keeps plaintext and key off the disk (contract S1).

#include "fs/base/error.h"

namespace warifu {

/// Forbids core dumps and ptrace reading (PR_SET_DUMPABLE 0, RLIMIT_CORE 0) and locks the process's memory, present and
/// future. Fails when memory cannot be locked while swap is on. Call first in every process that holds secrets.
result<void> harden_process();

}  // namespace warifu
