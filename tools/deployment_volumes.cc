#include "tools/deployment_volumes.h"

#include <algorithm>

#include "fs/base/random.h"
#include "tools/mount_command.h"
#include "tools/site_setup.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

path_fs::path volumes_of(const deployment_layout& layout) {
    return layout.root() / "volumes";
}

std::vector<std::string> folders_in(const path_fs::path& directory) {
    std::vector<std::string> names;
    std::error_code ec;
    for (const auto& entry : path_fs::directory_iterator(directory, ec))
        if (entry.is_directory()) names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
}

result<void> make_mount_point(const path_fs::path& place) {
    std::error_code ec;
    path_fs::create_directories(place, ec);
    // A mount whose daemon died, perhaps just now, is there and cannot be looked at; mounting detaches it.
    if (ec && ec != std::errc::not_connected && ec != std::errc::connection_aborted)
        return fail(errc::io_error, place.string() + ": " + ec.message());
    return {};
}

result<void> mount_one(const deployment_mount& what) {
    TRY_VOID(make_mount_point(what.mountpoint));
    mount_arguments arguments;
    arguments.config = what.config;
    arguments.mountpoint = what.mountpoint;
    if (!what.reader.empty()) {
        TRY(arguments.config, config_at_site(what.config, what.reader.string()));
        arguments.options = {"ro"};
    }
    TRY(const auto place, find_volume(arguments.config));
    TRY_VOID(spawn_mount(arguments, place));
    return {};
}

}  // namespace

std::vector<std::string> further_owners(const deployment_layout& layout) {
    return folders_in(volumes_of(layout));
}

path_fs::path further_volume_file(const deployment_layout& layout, const std::string& owner) {
    return volumes_of(layout) / owner / "volume.json";
}

volume_config plan_further_volume(const deployment_layout& layout, const volume_config& first,
                                  const std::string& owner) {
    volume_config volume = first;
    volume.id = random_uuid<volume_id>();
    volume.name = first.name.substr(0, 200) + "-" + owner;
    volume.site = layout.site_file(owner);
    volume.run = volumes_of(layout) / owner;
    return volume;
}

result<std::vector<deployment_mount>> deployment_mounts(const deployment& where) {
    const auto& layout = where.layout;
    struct owned {
        std::string owner;
        path_fs::path config, run;
    };
    std::vector<owned> volumes{{where.sites.front().name, layout.root(), layout.run()}};
    for (const auto& owner : further_owners(layout)) {
        TRY(const auto volume, load_volume_config(further_volume_file(layout, owner)));
        volumes.push_back({owner, further_volume_file(layout, owner), volume.run});
    }
    std::vector<deployment_mount> mounts;
    for (const owned& one : volumes)
        mounts.push_back({one.config,
                          {},
                          one.run == layout.run() ? layout.mount_point() : layout.root() / ("mnt-" + one.owner),
                          one.run});
    for (const owned& reader : volumes)
        for (const owned& read : volumes)
            if (reader.owner != read.owner)
                mounts.push_back({read.config, layout.site_file(reader.owner),
                                  layout.root() / "seen" / reader.owner / read.owner, read.run / reader.owner});
    return mounts;
}

result<void> mount_all(const deployment& where) {
    TRY(const auto mounts, deployment_mounts(where));
    std::vector<path_fs::path> made;
    for (const deployment_mount& one : mounts) {
        if (running_process(one.run / "mount.pid").value_or(std::nullopt)) continue;
        const auto outcome = mount_one(one);
        if (!outcome) {
            for (auto it = made.rbegin(); it != made.rend(); ++it)
                (void)unmount({.target = *it, .force = true, .timeout = stop_patience});
            return outcome;
        }
        made.push_back(one.mountpoint);
    }
    return {};
}

result<void> unmount_all(const deployment_layout& layout, bool force, std::chrono::seconds timeout) {
    std::vector<path_fs::path> configs;
    const auto with_followers = [&](const path_fs::path& run, const path_fs::path& config) {
        for (const auto& name : folders_in(run)) configs.push_back(run / name / "volume.json");
        configs.push_back(config);
    };
    for (const auto& owner : further_owners(layout))
        with_followers(further_volume_file(layout, owner).parent_path(), further_volume_file(layout, owner));
    with_followers(layout.run(), layout.volume_file());
    std::error_code ec;
    for (const auto& config : configs)
        if (path_fs::exists(config, ec)) TRY_VOID(unmount({.target = config, .force = force, .timeout = timeout}));
    return {};
}

}  // namespace warifu
