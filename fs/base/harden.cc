#include "fs/base/harden.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <malloc.h>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

namespace warifu {
namespace {

/// /proc/swaps has one heading line and a line for each active swap area.
bool swap_is_on() {
    std::ifstream swaps("/proc/swaps");
    std::string line;
    int lines = 0;
    while (std::getline(swaps, line)) ++lines;
    return lines > 1;
}

/// The allocator gives freed memory back by madvise, which leaves locked memory alone: what an arena once held stays
/// resident. So large blocks are mapped and unmapped one by one, and few arenas share the rest.
void keep_freed_memory_small() {
    constexpr int mapped_size_min = 128 << 10;  // fixed: by itself it would grow with what is freed
    constexpr int arena_count_max = 4;
    ::mallopt(M_MMAP_THRESHOLD, mapped_size_min);
    ::mallopt(M_ARENA_MAX, arena_count_max);
}

/// Each pad window in use, and each claim for one, is a memory descriptor.
void allow_many_descriptors() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

result<void> harden_process() {
    allow_many_descriptors();
    keep_freed_memory_small();
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    rlimit allowed{};
    if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0 && ::getrlimit(RLIMIT_MEMLOCK, &allowed) == 0) {
        allowed.rlim_cur = allowed.rlim_max;
        ::setrlimit(RLIMIT_MEMLOCK, &allowed);  // may be too little; mlockall below tells
    }
    // MCL_ONFAULT: pages are locked when touched, so address space set aside and never used costs nothing.
    if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 && swap_is_on())
        return fail(errc::denied, std::string("memory cannot be locked (") + std::strerror(errno) +
                                      ") while swap is on: raise LimitMEMLOCK or turn swap off");
    return {};
}

}  // namespace warifu
