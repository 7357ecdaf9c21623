// warifu umount: drain, unmount, wait.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <future>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/mount/mount_table.h"
#include "tools/control.h"
#include "tools/exit_code.h"
#include "tools/mount_command.h"
#include "tools/progress.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

/// All mounts of this program.
std::vector<mount_entry> our_mounts() {
    auto mounts = read_mount_table();
    std::erase_if(mounts, [](const mount_entry& entry) { return entry.type != "fuse.warifu"; });
    return mounts;
}

bool is_mounted(const path_fs::path& mountpoint) {
    return std::ranges::any_of(our_mounts(), [&](const mount_entry& entry) { return entry.where == mountpoint; });
}

/// Ends the mount without asking the process. busy when files are open or something works in it.
result<void> detach(const path_fs::path& mountpoint) {
    if (::geteuid() == 0) {
        if (::umount2(mountpoint.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
        const errc code = errno == EBUSY ? errc::busy : errc::io_error;
        const std::string hint = errno == EBUSY ? " (open files or a shell stand in it; 'fuser -vm' names them)" : "";
        return fail(code, fmt::format("{}: {}{}", mountpoint.string(), std::strerror(errno), hint));
    }
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::execlp("fusermount3", "fusermount3", "-u", "-q", mountpoint.c_str(), nullptr);
        ::_exit(127);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (!is_mounted(mountpoint)) return {};
    return fail(errc::busy, fmt::format("{}: in use ('fuser -vm' names who)", mountpoint.string()));
}

std::uint64_t dirty_bytes(const path_fs::path& socket) {
    const auto status = ask_control(socket, "status", std::chrono::seconds(2));
    if (!status || !status->contains("counters")) return 0;
    return (*status)["counters"].value("dirty_bytes", std::uint64_t{0});
}

/// Waits until everything is at the sites and durable, showing how much is left.
result<void> make_durable(const path_fs::path& socket, std::chrono::seconds timeout) {
    auto asked = std::async(std::launch::async, [&] { return ask_control(socket, "sync", timeout); });
    const std::uint64_t start = dirty_bytes(socket);
    progress bar("to the sites", start);
    while (asked.wait_for(std::chrono::milliseconds(300)) != std::future_status::ready) {
        const std::uint64_t left = dirty_bytes(socket);
        bar.update(start > left ? start - left : 0);
    }
    bar.finish();
    const auto answer = asked.get();
    if (!answer) return fail(answer.error());
    return {};
}

struct target_place {
    path_fs::path mountpoint;
    path_fs::path run;
};

/// What the user named: a mount point of ours, or a configuration whose mount is asked where it is.
result<target_place> find_target(const path_fs::path& target) {
    const path_fs::path absolute = path_fs::absolute(target).lexically_normal();
    for (const auto& place : our_mounts()) {
        if (place.where != absolute && path_fs::path(place.where) / "" != absolute) continue;
        TRY(const auto volume, find_volume(place.source));
        return target_place{place.where, volume.volume.run};
    }
    TRY(const auto volume, find_volume(target));
    target_place out;
    out.run = volume.volume.run;
    if (volume.layout) out.mountpoint = volume.layout->mount_point();
    // One whose daemon died says no more where it is, but the table of mounts does.
    for (const auto& place : our_mounts())
        if (place.source == absolute) out.mountpoint = place.where;
    const auto status = ask_control(out.run / "mount.sock", "status", std::chrono::seconds(5));
    if (status && status->contains("mountpoint")) out.mountpoint = (*status)["mountpoint"].get<std::string>();
    return out;
}

/// A process that was unmounted drains and ends by itself (a signal would make it give up); one that never was mounted
/// is told.
result<void> wait_for_end(const process_identity& who, bool was_mounted, std::chrono::seconds timeout) {
    progress bar("waiting for the mount to end", 0);
    const deadline until = steady_clock::now() + timeout;
    const auto waiting = [&bar] { bar.update(0); };
    const auto outcome = was_mounted ? wait_for_process(who, until, waiting) : stop_process(who, until, waiting);
    if (outcome == stop_outcome::still_running)
        return fail(errc::timed_out,
                    fmt::format("the mount (process {}) is still draining; its log says why", who.pid));
    return {};
}

}  // namespace

result<void> unmount(const unmount_arguments& arguments) {
    TRY(const auto place, find_target(arguments.target));
    TRY(const auto running, running_process(place.run / "mount.pid"));
    const bool mounted = !place.mountpoint.empty() && is_mounted(place.mountpoint);
    if (!running) {
        // The process died: what is left is a mount that answers nothing.
        if (mounted) ::umount2(place.mountpoint.c_str(), MNT_DETACH);
        return {};
    }
    if (mounted) {
        const auto durable = make_durable(place.run / "mount.sock", arguments.timeout);
        if (!durable && !arguments.force) {
            return fail(durable.error().code, fmt::format("not everything is durable yet: {} (--force unmounts anyway)",
                                                          durable.error().text));
        }
        TRY_VOID(detach(place.mountpoint));
    }
    return wait_for_end(*running, mounted, arguments.timeout);
}

void add_umount_command(cli& c) {
    auto* command = cli::command(c.app, "umount", "Make everything durable and unmount",
                                 "  warifu umount /mnt/genomes\n"
                                 "  warifu umount /srv/demo");
    const auto given = std::make_shared<unmount_arguments>();
    const auto seconds = std::make_shared<unsigned>(600);
    command->add_option("TARGET", given->target, "a mount point, volume.json or deployment directory")->required();
    command->add_flag("--force", given->force, "unmount even if something cannot be made durable");
    command->add_option("--timeout", *seconds, "seconds to wait for the sites")->capture_default_str();
    c.run(command, [given, seconds]() -> result<int> {
        given->timeout = std::chrono::seconds(*seconds);
        TRY_VOID(unmount(*given));
        return exit_ok;
    });
}

}  // namespace warifu
