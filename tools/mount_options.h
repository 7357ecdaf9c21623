#pragma once
// "-o" options of a mount, as on a command line or in fstab.

#include <string>
#include <vector>

#include "fs/base/error.h"
#include "fs/mount/id_map.h"

namespace warifu {

struct parsed_mount_options {
    bool read_only = false;
    bool takeover = false;    // displace a live writer
    bool sync_close = false;  // close(2) waits until the file is durable
    bool allow_other = false;
    bool resume = false;               // the mount outlives its daemon (mount_holder.h)
    id_map users, groups;              // uidmap=, gidmap=: the volume's numbers under others here
    std::size_t memory_size = 0;       // memory=SIZE; 0: not said
    std::string alarm;                 // alarm=PROGRAM: run when something happens (mount_alarm.h)
    std::uint64_t alarm_key = 0;       // alarm_key=SIZE: less key than that left is "low"; 0: not said
    std::vector<std::string> pass_on;  // nosuid, noatime and the like: the kernel's
};

/// bad_argument names the option that is not known.
result<parsed_mount_options> parse_mount_options(const std::vector<std::string>& lists);

}  // namespace warifu
