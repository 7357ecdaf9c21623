#include "tools/site_setup.h"

#include <fmt/format.h>

#include "backends/block/block_store.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

path_fs::path pid_file_of(const deployment_layout& layout, std::string_view site, deployment_part part) {
    switch (part) {
        case deployment_part::keyd:
            return layout.keyd_pid(site);
        case deployment_part::server:
            return layout.server_pid(site);
        case deployment_part::dealer:
            return layout.dealer_pid();
        case deployment_part::kme_sim:
            return layout.kme_sim_pid();
    }
    return {};
}

result<void> make_directories(const path_fs::path& directory, path_fs::perms access) {
    std::error_code ec;
    path_fs::create_directories(directory, ec);
    if (ec) {
        const errc code = ec == std::errc::permission_denied ? errc::access_denied : errc::io_error;
        return fail(code, fmt::format("{}: {}", directory.string(), ec.message()));
    }
    path_fs::permissions(directory, access, ec);
    return {};
}

block_store_options store_options(const site_config& site, bool force) {
    block_store_options options;
    options.path = site.server.store.string();
    options.size = site.server.store_size;
    options.force = force;
    return options;
}

result<bool> start(const deployment_layout& layout, std::string_view site, deployment_part part,
                   spawn_request request) {
    const path_fs::path pid_file = pid_file_of(layout, site, part);
    TRY(const auto running, running_process(pid_file));
    if (running) return false;
    request.arguments.insert(request.arguments.end(), {"--pid-file", pid_file.string()});
    TRY_VOID(spawn(request));
    return true;
}

}  // namespace

result<void> make_site(const site_config& site, const path_fs::path& file, const access_config& access, bool anew) {
    std::error_code ec;
    if (!anew && path_fs::exists(file, ec)) return fail(errc::exists, fmt::format("{}: exists already", file.string()));
    const path_fs::path directory = file.has_parent_path() ? file.parent_path() : path_fs::path(".");
    TRY_VOID(make_directories(directory, path_fs::perms::owner_all));
    TRY_VOID(make_directories(site.keyd.pads, path_fs::perms::owner_all));
    // Where a courier's key may be put before keyd's first start.
    TRY_VOID(make_directories(site.keyd.pads / "incoming", path_fs::perms::owner_all));
    // For a sockets' directory that is there already, such as /run/warifu, its permissions are not ours to change.
    path_fs::create_directories(site.keyd.socket.parent_path(), ec);
    path_fs::create_directories(site.server.socket.parent_path(), ec);
    TRY_VOID(block_store::format(store_options(site, anew)));
    if (anew || !path_fs::exists(site.server.access, ec)) TRY_VOID(save(access, site.server.access));
    return save(site, file);
}

result<void> wipe_store(const site_config& site) {
    return block_store::format(store_options(site, true));
}

std::string_view to_string(deployment_part part) {
    switch (part) {
        case deployment_part::keyd:
            return "keyd";
        case deployment_part::server:
            return "share server";
        case deployment_part::dealer:
            return "dealer";
        case deployment_part::kme_sim:
            return "QKD network";
    }
    return "part";
}

result<bool> start_part(const deployment_layout& layout, const site_config& site, deployment_part part) {
    spawn_request request;
    request.label = fmt::format("{}'s {}", site.name, to_string(part));
    request.log = layout.log(site.name);
    request.arguments = {part == deployment_part::keyd ? "keyd" : "share-server", layout.site_file(site.name).string()};
    return start(layout, site.name, part, std::move(request));
}

result<bool> start_key_source(const deployment_layout& layout, deployment_part part) {
    const bool simulated = part == deployment_part::kme_sim;
    spawn_request request;
    request.label = fmt::format("the {}", to_string(part));
    request.log = layout.run() / (simulated ? "kme-sim.log" : "dealer.log");
    if (simulated)
        request.arguments = {"kme-sim", (layout.key_network() / "kme-sim.json").string()};
    else
        request.arguments = {"dealer", layout.root().string()};
    return start(layout, "", part, std::move(request));
}

result<bool> stop_part(const deployment_layout& layout, std::string_view site, deployment_part part,
                       std::chrono::seconds patience) {
    TRY(const auto running, running_process(pid_file_of(layout, site, part)));
    if (!running) return false;
    if (stop_process(*running, steady_clock::now() + patience) == stop_outcome::still_running) kill_process(*running);
    return true;
}

bool part_runs(const deployment_layout& layout, std::string_view site, deployment_part part) {
    const auto running = running_process(pid_file_of(layout, site, part));
    return running && *running;
}

}  // namespace warifu
