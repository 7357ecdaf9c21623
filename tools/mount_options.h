#pragma once
// "-o" options of a mount, as on a command line or in fstab.

#include <string>
#include <vector>

#include "fs/base/error.h"

namespace warifu {

struct parsed_mount_options {
    bool read_only = false;
    bool takeover = false;     // displace a live writer
    bool sync_close = false;   // close(2) waits until the file is durable
    bool allow_other = false;
    std::vector<std::string> pass_on;  // nosuid, noatime and the like: the kernel's
};

/// bad_argument names the option that is not known.
result<parsed_mount_options> parse_mount_options(const std::vector<std::string>& lists);

}  // namespace warifu
