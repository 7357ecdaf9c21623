#include "tools/mount_options.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "tools/text.h"

namespace warifu {
namespace {

// What the kernel understands and libfuse passes on.
constexpr std::array pass_on = {"suid",    "nosuid",   "dev",        "nodev",    "exec", "noexec", "atime",
                                "noatime", "diratime", "nodiratime", "relatime", "sync", "async",  "dirsync"};
// Words of fstab that concern mount(8) and systemd only, and what always holds here.
constexpr std::array ignored = {"defaults", "auto",  "noauto", "user",    "nouser", "users",
                                "owner",    "group", "nofail", "_netdev", "rw",     "default_permissions"};

bool is_ignored(const std::string& word) {
    return word.empty() || word.starts_with("x-") || word.starts_with("X-") || word.starts_with("comment=") ||
           std::ranges::find(ignored, word) != ignored.end();
}

/// Words without a value; false: not one of them.
bool take_flag(parsed_mount_options& out, const std::string& word) {
    if (word == "ro")
        out.read_only = true;
    else if (word == "takeover")
        out.takeover = true;
    else if (word == "sync_close")
        out.sync_close = true;
    else if (word == "resume")
        out.resume = true;
    else if (word == "allow_other")
        out.allow_other = true;
    else if (std::ranges::find(pass_on, word) != pass_on.end())
        out.pass_on.push_back(word);
    else
        return false;
    return true;
}

result<void> take_value(parsed_mount_options& out, const std::string& name, const std::string& value) {
    if (name == "uidmap") return out.users.add(value);
    if (name == "gidmap") return out.groups.add(value);
    if (name == "memory") {
        TRY(out.memory_size, parse_size(value));
        return {};
    }
    if (name == "alarm_key") {
        TRY(out.alarm_key, parse_size(value));
        return {};
    }
    if (name == "alarm") {
        if (!value.starts_with('/')) return fail(errc::bad_argument, "the program's path does not begin with '/'");
        out.alarm = value;
        return {};
    }
    return fail(errc::bad_argument, "unknown");
}

result<void> take_word(parsed_mount_options& out, const std::string& word) {
    if (is_ignored(word) || take_flag(out, word)) return {};
    const auto equals = word.find('=');
    if (equals == std::string::npos) return fail(errc::bad_argument, fmt::format("unknown mount option '{}'", word));
    const auto taken = take_value(out, word.substr(0, equals), word.substr(equals + 1));
    if (taken) return {};
    const bool unknown = taken.error().text == "unknown";
    return fail(errc::bad_argument, unknown ? fmt::format("unknown mount option '{}'", word)
                                            : fmt::format("mount option '{}': {}", word, taken.error().text));
}

}  // namespace

result<parsed_mount_options> parse_mount_options(const std::vector<std::string>& lists) {
    parsed_mount_options out;
    for (const auto& list : lists) {
        std::size_t begin = 0;
        while (begin <= list.size()) {
            const std::size_t end = std::min(list.find(',', begin), list.size());
            TRY_VOID(take_word(out, list.substr(begin, end - begin)));
            begin = end + 1;
        }
    }
    return out;
}

}  // namespace warifu
