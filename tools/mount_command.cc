// warifu mount: opens a volume and serves it at a mount point.

#include "tools/mount_command.h"

#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <thread>
#include <unistd.h>

#include "fs/base/buffer.h"
#include "fs/files/file_system.h"
#include "fs/mount/mount.h"
#include "fs/mount/mount_point.h"
#include "tools/control.h"
#include "tools/core_thread.h"
#include "tools/daemon.h"
#include "tools/deployment.h"
#include "tools/exit_code.h"
#include "tools/key_reserve.h"
#include "tools/mount_control.h"
#include "tools/mount_holder.h"
#include "tools/mount_options.h"
#include "tools/text.h"
#include "tools/volume_session.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

constexpr std::size_t memory_size_min = 64U << 20U;
constexpr std::uint32_t upgrade_timeout_ms = 120'000;

/// The redo log is a part of the memory for data under way.
std::size_t redo_size(std::size_t memory_size, const parsed_mount_options& options) {
    return options.read_only ? redo_size_min / 64 : std::max(memory_size / 8, redo_size_min);
}

file_system_options files_options(const mount_arguments& arguments, const parsed_mount_options& options,
                                  std::shared_ptr<redo_log> redo) {
    file_system_options out;
    out.dirty_size_max = arguments.memory_size * 3 / 8;
    if (redo) {
        const std::size_t ring = redo_size(arguments.memory_size, options);
        out.dirty_size_max = std::max(out.dirty_size_max - std::min(ring, out.dirty_size_max), memory_size_min / 4);
    }
    out.redo = std::move(redo);
    out.read_cache_size = arguments.memory_size * 3 / 16;
    out.read_ahead_size = std::min<std::size_t>(out.read_ahead_size, out.read_cache_size / 4);
    out.sync_close = options.sync_close;
    return out;
}

/// What run_mount's outcome means for the command.
result<int> exit_of(int outcome, const std::string& last_report) {
    switch (outcome) {
        case mount_ok:
            return exit_ok;
        case mount_handed_over:
            return exit_handed_over;
        case mount_refused:
            return fail(errc::io_error, last_report);
        default:
            return fail(errc::cancelled, last_report);
    }
}

/// Whether a later daemon may do again what this one could not.
bool may_pass(errc code) {
    switch (code) {
        case errc::unreachable:
        case errc::timed_out:
        case errc::missing_shares:
        case errc::no_key:
        case errc::no_space:
        case errc::busy:
        case errc::cancelled:
        case errc::io_error:
            return true;
        default:
            return false;
    }
}

/// The mount is gone, its daemon died before everything was durable: that is all there is to do.
result<int> only_drain(core_thread& core, file_system& files) {
    TRY_VOID(core.wait_for(files.drain([](std::uint64_t) {})));
    spdlog::info("what an earlier daemon had left is durable");
    return exit_ok;
}

/// Everything between the open volume and its end.
result<int> serve(core_thread& core, volume_session& session, const volume_config& volume,
                  const mount_arguments& arguments, const parsed_mount_options& options, ready_signal& ready) {
    TRY(const auto held, parse_held(arguments.held));
    std::shared_ptr<redo_log> redo;
    if (held.is_held()) {
        TRY(redo, redo_log::open(held.log));
    }
    auto files = file_system::make(core.context(), session.get(), files_options(arguments, options, redo));
    const auto health = std::make_shared<mount_health>();
    mount_control control(session, *files, arguments.mountpoint.string(), health);
    std::unique_ptr<mount_watcher> watcher;
    std::unique_ptr<key_reserve> reserve;
    auto listening = control_server::listen(core.context(), volume.run / "mount.sock", [&control](std::string command) {
        return control.answer(std::move(command));
    });
    result<int> outcome = exit_failure;
    const auto replayed = options.read_only ? result<void>() : files->replay();
    if (!listening) {
        outcome = fail(listening.error());
    } else if (!replayed) {
        if (!may_pass(replayed.error().code)) say_ended(held);
        outcome = fail(replayed.error());
    } else if (held.only_drains()) {
        outcome = only_drain(core, *files);
        if (outcome) say_ended(held);
    } else {
        std::string last_report;
        mount_options mount;
        mount.mountpoint = arguments.mountpoint.string();
        mount.volume_name = path_fs::absolute(arguments.config).string();
        mount.allow_other = options.allow_other || ::geteuid() == 0;
        mount.read_only = options.read_only;
        mount.fuse_options = options.pass_on;
        mount.users = options.users;
        mount.groups = options.groups;
        mount.health = health;
        mount.redo = redo;
        mount.held_fd = held.fuse;
        if (redo) {
            mount.keep = [&held](int fd) { give_descriptor(held, fd); };
            mount.unmounted = [&held] { say_unmounted(held); };
            if (redo->starts() > 1) spdlog::info("daemon {} of this mount", redo->starts());
        }
        if (!options.read_only) {
            run_on(core.context(), [&]() -> awaitable<void> {
                reserve = std::make_unique<key_reserve>(core.context().get_executor(), session, *files);
                co_return;
            });
        }
        if (!options.alarm.empty()) {
            run_on(core.context(), [&]() -> awaitable<void> {
                watcher = std::make_unique<mount_watcher>(core.context(), session, options, health);
                co_return;
            });
        }
        mount.ready = [&ready, &held] {
            spdlog::info("mounted");
            ready.ready();
            say_serving(held);
        };
        mount.report = [&last_report](std::string_view line) {
            last_report = line;
            spdlog::info("{}", line);
        };
        const int ended = run_mount(mount, *files, core.context());
        if (ended != mount_handed_over) say_ended(held);
        outcome = exit_of(ended, last_report);
    }
    // Server and file system belong to the core thread.
    run_on(core.context(), [&]() -> awaitable<void> {
        if (watcher) co_await watcher->stop();
        if (reserve) co_await reserve->stop();
        if (listening) listening->reset();
        files.reset();
    });
    return outcome;
}

result<int> mount_in_foreground(mount_arguments arguments, ready_signal& ready) {
    if (!arguments.site.empty()) {
        TRY(arguments.config, config_at_site(arguments.config, std::exchange(arguments.site, "")));
    }
    TRY(const auto options, parse_mount_options(arguments.options));
    if (options.memory_size != 0) arguments.memory_size = options.memory_size;
    if (arguments.memory_size < memory_size_min) return fail(errc::bad_argument, "the memory is at least 64M");
    TRY(const auto place, find_volume(arguments.config));
    TRY(const auto site, find_site(place, ""));
    const bool holds = options.resume && arguments.held.empty();
    TRY_VOID(prepare_daemon(arguments.daemon, site.name + (holds ? " mount's holder" : " mount")));
    bool detached = false;
    TRY(const auto held, parse_held(arguments.held));
    if (held.is_first()) TRY_VOID(check_mountpoint(arguments.mountpoint.string(), &detached));
    if (holds) return hold_mount(arguments, redo_size(arguments.memory_size, options), ready);
    core_thread core;
    session_options how;
    how.mode = options.read_only ? open_mode::read_only : open_mode::write;
    how.takeover = options.takeover && held.is_first();  // whoever displaced an earlier daemon stays
    how.patient = !held.is_first();
    how.follow = options.read_only;
    how.memory_size = arguments.memory_size / 4;
    set_buffer_memory(arguments.memory_size / 8 * 5);  // the rest: key, tables of metadata, the program itself
    TRY(const auto session, core.wait_for(volume_session::open(core.context(), place.volume, site, how)));
    spdlog::info("volume open");
    auto outcome = serve(core, *session, place.volume, arguments, options, ready);
    const auto closed = core.wait_for(session->close());
    if (!closed && outcome) return fail(closed.error());
    return outcome;
}

/// Lets a new daemon, of the program as it is installed now, go on with a mount that has a holder.
result<int> upgrade_mount(const mount_arguments& arguments) {
    TRY(const auto place, find_volume(arguments.config));
    const path_fs::path socket = place.volume.run / "mount.sock";
    TRY(const auto holder, running_process(place.volume.run / "mount.pid"));
    if (!holder) return fail(errc::not_found, "this volume is not mounted here");
    TRY(const auto before, ask_control(socket, "status", std::chrono::seconds(10)));
    const nlohmann::json resume = before.value("resume", nlohmann::json::object());
    if (!resume.value("on", false))
        return fail(errc::bad_argument, "the volume was not mounted with -o resume: umount and mount it");
    const auto daemons = resume.value("daemons", 0U);
    if (::kill(holder->pid, SIGUSR1) != 0) return fail(errc::denied, "the mount's holder cannot be signalled");
    const deadline until = deadline_in_ms(upgrade_timeout_ms);
    while (steady_clock::now() < until) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        const auto now = ask_control(socket, "status", std::chrono::seconds(2));
        if (now && now->value("serving", false) && (*now)["resume"].value("daemons", 0U) > daemons) return exit_ok;
    }
    return fail(errc::timed_out, "the old daemon is still making everything durable; the mount's log says why");
}

result<int> mount_in_background(mount_arguments arguments) {
    if (!arguments.site.empty()) {
        TRY(arguments.config, config_at_site(arguments.config, std::exchange(arguments.site, "")));
    }
    TRY(const auto place, find_volume(arguments.config));
    TRY_VOID(spawn_mount(arguments, place));
    return exit_ok;
}

}  // namespace

result<path_fs::path> config_at_site(const path_fs::path& config, const std::string& name) {
    TRY(auto place, find_volume(config));
    TRY(const auto site, find_site(place, name));
    place.volume.site = place.layout ? place.layout->site_file(site.name) : path_fs::absolute(name).lexically_normal();
    place.volume.run /= site.name;
    std::error_code ec;
    path_fs::create_directories(place.volume.run, ec);
    const path_fs::path file = place.volume.run / "volume.json";
    TRY_VOID(save(place.volume, file));
    return file;
}

result<process_identity> spawn_mount(const mount_arguments& arguments, const volume_place& place) {
    TRY_VOID(parse_mount_options(arguments.options));
    std::error_code ec;
    path_fs::create_directories(place.volume.run, ec);
    const path_fs::path pid_file = place.volume.run / "mount.pid";
    TRY(const auto running, running_process(pid_file));
    if (running) return fail(errc::busy, fmt::format("this volume is mounted here already (process {})", running->pid));
    bool detached = false;
    TRY_VOID(check_mountpoint(arguments.mountpoint.string(), &detached));
    TRY(const auto site, find_site(place, ""));
    spawn_request request;
    request.label = "the mount";
    request.log = place.layout ? place.layout->log(site.name) : place.volume.run / "mount.log";
    request.ready_timeout = std::chrono::minutes(2);
    request.arguments = {"mount",
                         arguments.config.string(),
                         arguments.mountpoint.string(),
                         "-f",
                         "--memory",
                         std::to_string(arguments.memory_size),
                         "--pid-file",
                         pid_file.string()};
    for (const auto& list : arguments.options) request.arguments.insert(request.arguments.end(), {"-o", list});
    return spawn(request);
}

void add_mount_command(cli& c) {
    auto* command =
        cli::command(c.app, "mount", "Mount a volume; returns when it is usable",
                     "  warifu mount /etc/warifu/volume.json /mnt/genomes\n"
                     "  warifu mount /srv/demo /srv/demo/mnt -o ro\n"
                     "  warifu mount /etc/warifu/volume.json /mnt/genomes --takeover --memory 1G\n"
                     "  warifu mount /srv/demo /mnt/second --site site2 --takeover\n"
                     "  warifu mount /etc/warifu/volume.json /mnt/genomes -o alarm=/usr/local/sbin/page,alarm_key=1G\n"
                     "  warifu mount /etc/warifu/volume.json /mnt/genomes -o resume\n"
                     "  warifu mount /etc/warifu/volume.json /mnt/genomes --upgrade\n"
                     "  mount -t fuse.warifu /etc/warifu/volume.json /mnt/genomes      # with the mount helper\n"
                     "Options of -o: ro, takeover (displace a live writer), sync_close (close waits until the file\n"
                     "is durable), resume (programs go on when the daemon crashed or was upgraded), allow_other "
                     "(default for root), uidmap= and gidmap=STORED:LOCAL:COUNT (several\n"
                     "times), memory=SIZE, alarm=PROGRAM (run as PROGRAM EVENT ABOUT TEXT when a site is lost, key or\n"
                     "space is low, the volume turns read-only or requests are stuck), alarm_key=SIZE (what is low),\n"
                     "noatime, nosuid, nodev, noexec and the like; words of fstab are passed over.");
    const auto given = std::make_shared<mount_arguments>();
    const auto memory = std::make_shared<std::string>("512M");
    const auto foreground = std::make_shared<bool>(false), upgrade = std::make_shared<bool>(false);
    command->add_option("CONFIG", given->config, "volume.json or a deployment directory")->required();
    command->add_option("MOUNTPOINT", given->mountpoint, "an empty directory")->required();
    command->add_option("-o", given->options, "mount options, separated by commas")->take_all();
    const auto takeover = std::make_shared<bool>(false);
    command->add_flag("--takeover", *takeover, "displace a writer that lives; it turns read-only for good");
    command->add_option("--site", given->site, "of a deployment: mount as this site does (its status: RUN/SITE)");
    command->add_option("--memory", *memory, "memory for data under way and caches")->capture_default_str();
    command->add_flag("-f,--foreground", *foreground, "stay in the foreground");
    command->add_flag("--upgrade", *upgrade, "a new daemon goes on with a volume that was mounted with -o resume");
    command->add_option("--held", given->held, "descriptors from the holder of the mount")->group("");
    add_daemon_options(command, given->daemon);
    c.run(command, [given, memory, foreground, upgrade, takeover]() -> result<int> {
        ready_signal ready(given->daemon.ready_fd);
        auto outcome = [&]() -> result<int> {
            if (*takeover) given->options.emplace_back("takeover");
            TRY(given->memory_size, parse_size(*memory));
            if (given->memory_size < memory_size_min) return fail(errc::bad_argument, "--memory is at least 64M");
            if (*upgrade) return upgrade_mount(*given);
            return *foreground ? mount_in_foreground(*given, ready) : mount_in_background(*given);
        }();
        if (*foreground) forget_daemon(given->daemon);
        if (!outcome) ready.failed(outcome.error());
        return outcome;
    });
}

}  // namespace warifu
