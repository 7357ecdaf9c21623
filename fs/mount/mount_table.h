#pragma once
// What is mounted in this process's mount namespace: /proc/self/mountinfo (proc_pid_mountinfo(5)).

#include <string>
#include <vector>

namespace warifu {

struct mount_entry {
    std::string where;   // absolute path
    std::string device;  // "major:minor"
    std::string type;    // "fuse.warifu", "ext4"
    std::string source;  // what mount(8) calls the device; for our mounts the configuration
};

/// All mounts, in the kernel's order: of several at one place the last is on top. Never touches what is mounted, so a
/// mount whose daemon is gone does no harm. Empty without /proc.
std::vector<mount_entry> read_mount_table();

/// One line of mountinfo; an entry without `type` when it is not one.
mount_entry parse_mount_line(const std::string& line);

}  // namespace warifu
