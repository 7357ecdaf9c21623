#pragma once
// What every process that holds secrets starts with: plaintext and key stay off the disk (contract S1).

#include "fs/base/error.h"

namespace warifu {

/// Forbids core dumps and ptrace reading (PR_SET_DUMPABLE 0, RLIMIT_CORE 0) and locks the process's memory, present and
/// future. Lets the process have as many descriptors as the system allows, and the allocator keep little of what is
/// freed. Fails when memory cannot be locked while swap is on. Call first in every process that holds secrets.
result<void> harden_process();

}  // namespace warifu
