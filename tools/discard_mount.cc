#include "tools/discard_mount.h"

#include <fmt/format.h>

#include "fs/files/memory_volume.h"
#include "fs/mount/mount.h"
#include "tools/core_thread.h"
#include "tools/daemon.h"
#include "tools/exit_code.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

result<int> serve(const path_fs::path& path, ready_signal& ready) {
    core_thread core;
    auto sites = std::make_shared<memory_sites>();
    sites->discard = true;
    memory_volume nothing(sites);
    auto files = run_on(core.context(), [&]() -> awaitable<std::unique_ptr<file_system>> {
        co_return file_system::make(core.context(), nothing, {});
    });
    mount_options options;
    options.mountpoint = path.string();
    options.volume_name = "discard";
    std::string last_report;
    options.report = [&last_report](std::string_view line) { last_report = line; };
    options.ready = [&ready] { ready.ready(); };
    const int outcome = run_mount(options, *files, core.context());
    run_on(core.context(), [&]() -> awaitable<void> {
        files.reset();
        co_return;
    });
    if (outcome == mount_refused) return fail(errc::io_error, last_report);
    return exit_ok;
}

}  // namespace

result<discard_mount> discard_mount::start(const path_fs::path& path) {
    std::error_code ec;
    path_fs::create_directories(path, ec);
    spawn_request request;
    request.label = "the discarding mount";
    request.log = path.string() + ".log";
    request.arguments = {"discard-mount", path.string()};
    TRY(const auto process, spawn(request));
    return discard_mount(path, process);
}

discard_mount& discard_mount::operator=(discard_mount&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(process_, other.process_);
    return *this;
}

discard_mount::~discard_mount() {
    if (path_.empty()) return;
    if (stop_process(process_, deadline_in_ms(30'000)) == stop_outcome::still_running) kill_process(process_);
}

void add_discard_mount_command(cli& c) {
    auto* command =
        cli::command(c.app, "discard-mount", "A mount that discards data (for bench)", "  warifu discard-mount /tmp/x");
    command->group("");
    struct arguments {
        path_fs::path path;
        daemon_options daemon;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("MOUNTPOINT", given->path, "an empty directory")->required();
    add_daemon_options(command, given->daemon);
    c.run(command, [given]() -> result<int> {
        ready_signal ready(given->daemon.ready_fd);
        auto outcome = serve(given->path, ready);
        if (!outcome) ready.failed(outcome.error());
        return outcome;
    });
}

}  // namespace warifu
