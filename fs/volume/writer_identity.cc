#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>

#include "fs/volume/volume_impl.h"

namespace warifu {
namespace {

std::string first_line(const char* path) {
    std::ifstream in(path);
    std::string line;
    std::getline(in, line);
    return line;
}

/// Field 22 of /proc/PID/stat (start time in clock ticks since boot); 0 when there is no such process.
std::uint64_t process_start(std::uint64_t pid) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    if (!std::getline(in, line)) return 0;
    const std::size_t name_end = line.rfind(')');  // field 2 may hold spaces and parentheses
    if (name_end == std::string::npos) return 0;
    std::istringstream fields(line.substr(name_end + 1));
    std::string field;
    for (int number = 3; number <= 22; ++number) fields >> field;
    return fields ? std::stoull(field) : 0;
}

/// Host, machine id and process-id namespace: clones of one image have the same machine id, and containers of one
/// machine the same boot id, but a process number means something only where all three agree.
std::string machine_name() {
    char host[256] = {};
    ::gethostname(host, sizeof host - 1);
    char space[64] = {};
    const ssize_t size = ::readlink("/proc/self/ns/pid", space, sizeof space - 1);
    return std::string(host) + '/' + first_line("/etc/machine-id") + '/' +
           std::string(space, size > 0 ? static_cast<std::size_t>(size) : 0);
}

}  // namespace

writer_identity this_writer() {
    writer_identity self;
    self.machine = machine_name();
    self.boot = first_line("/proc/sys/kernel/random/boot_id");
    self.pid = static_cast<std::uint64_t>(::getpid());
    self.start = process_start(self.pid);
    return self;
}

bool is_dead(const writer_identity& writer) {
    const writer_identity self = this_writer();
    if (writer.machine != self.machine) return false;
    if (writer.boot != self.boot) return true;  // this machine was restarted since
    return process_start(writer.pid) != writer.start;
}

std::string describe(const writer_identity& writer) {
    return "process " + std::to_string(writer.pid) + " on " + writer.machine.substr(0, writer.machine.find('/'));
}

}  // namespace warifu
