#include "tools/mount_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace warifu {
namespace {

// What the kernel understands and libfuse passes on.
constexpr std::array pass_on = {"suid",  "nosuid",  "dev",        "nodev",    "exec",   "noexec", "atime",
                                "noatime", "diratime", "nodiratime", "relatime", "sync", "async",  "dirsync"};
// Words of fstab that concern mount(8) and systemd only.
constexpr std::array ignored = {"defaults", "auto", "noauto", "user", "nouser", "_netdev", "nofail", "rw"};

}  // namespace

result<parsed_mount_options> parse_mount_options(const std::vector<std::string>& lists) {
    parsed_mount_options out;
    for (const auto& list : lists) {
        std::size_t begin = 0;
        while (begin <= list.size()) {
            const std::size_t end = std::min(list.find(',', begin), list.size());
            const std::string word = list.substr(begin, end - begin);
            begin = end + 1;
            if (word.empty() || word.starts_with("x-") || std::ranges::find(ignored, word) != ignored.end()) continue;
            if (word == "ro") out.read_only = true;
            else if (word == "takeover") out.takeover = true;
            else if (word == "sync_close") out.sync_close = true;
            else if (word == "allow_other") out.allow_other = true;
            else if (std::ranges::find(pass_on, word) != pass_on.end()) out.pass_on.push_back(word);
            else return fail(errc::bad_argument, fmt::format("unknown mount option '{}'", word));
        }
    }
    return out;
}

}  // namespace warifu
