// memory_mount MOUNTPOINT [discard]: mounts a memory_volume, to try fs/files and fs/mount by hand and to profile them
// alone. With `discard` the bytes of files are dropped: what is measured then is FUSE and fs/files. For tests only:
// nothing survives it.

#include <filesystem>
#include <fmt/format.h>
#include <thread>

#include "fs/files/memory_volume.h"
#include "fs/mount/mount.h"

namespace {

using namespace warifu;

/// One mount, until it is unmounted.
int serve(const char* mountpoint, asio::io_context& core, const std::shared_ptr<memory_sites>& sites) {
    memory_volume volume(sites);
    const auto files = file_system::make(core, volume, {});
    mount_options options;
    options.mountpoint = mountpoint;
    options.volume_name = "memory";
    options.allow_other = true;
    options.ready = [] {
        fmt::print("ready\n");
        std::fflush(stdout);
    };
    const int outcome = run_mount(options, *files, core);
    const auto counters = files->counters();
    fmt::print("written {} read {} commits {} chunks {}\n", counters.bytes_written, counters.bytes_read,
               counters.commits, counters.chunks_put);
    return outcome;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr,
                   "usage: memory_mount MOUNTPOINT [discard] [fsync_delay_ms=N] [put_delay_ms=N] [read_delay_ms=N]\n"
                   "                    [while=FILE]\n");
        return 2;
    }
    asio::io_context core;
    const auto guard = asio::make_work_guard(core);
    auto sites = std::make_shared<memory_sites>();
    std::filesystem::path again;  // mounted again after each unmount while this file exists
    for (int i = 2; i < argc; ++i) {
        const std::string_view word = argv[i];
        const auto number = [word] {
            return static_cast<std::uint32_t>(std::stoul(std::string(word.substr(word.find('=') + 1))));
        };
        if (word == "discard") sites->discard = true;
        if (word.starts_with("fsync_delay_ms=")) sites->commit_delay_ms = number();
        if (word.starts_with("put_delay_ms=")) sites->put_delay_ms = number();
        if (word.starts_with("while=")) again = word.substr(6);
        if (word.starts_with("read_delay_ms=")) sites->read_delay_ms = number();
    }
    std::thread core_thread([&core] { core.run(); });
    int outcome = 0;
    do outcome = serve(argv[1], core, sites);
    while (outcome == mount_ok && !again.empty() && std::filesystem::exists(again));
    core.stop();
    core_thread.join();
    return outcome;
}
