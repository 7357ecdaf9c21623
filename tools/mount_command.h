#pragma once
// Starting a mount in the background: for `warifu mount` and `warifu up`.

#include <filesystem>
#include <string>
#include <vector>

#include "tools/daemon.h"
#include "tools/deployment.h"
#include "tools/process.h"

namespace warifu {

inline constexpr std::size_t mount_memory_size_default = 512U << 20U;

struct mount_arguments {
    std::filesystem::path config;  // volume.json or a deployment directory
    std::string site;              // of a deployment: mount as this site does; empty: as the volume's own
    std::filesystem::path mountpoint;
    std::vector<std::string> options;  // each a list of -o words
    std::size_t memory_size = mount_memory_size_default;
    daemon_options daemon;
    std::string held;  // of a daemon that has a holder: mount_holder.h
};

/// The volume as another site mounts it: writes a configuration of its own below the volume's run directory (RUN/SITE),
/// so that both can be mounted on one machine, and status and umount find this one. `site`: a name of the deployment,
/// or a site.json.
result<std::filesystem::path> config_at_site(const std::filesystem::path& config, const std::string& site);

/// Returns when the mount is usable. Errors: busy (mounted already, mount point not empty), what opening the volume
/// says.
result<process_identity> spawn_mount(const mount_arguments& arguments, const volume_place& place);

/// Makes everything durable, unmounts and waits for the mount's process. Not mounted: success. Errors: busy (in use),
/// timed_out, and why something could not be made durable (it then stays mounted unless `force`).
struct unmount_arguments {
    std::filesystem::path target;  // deployment directory, volume.json or mount point
    bool force = false;
    std::chrono::seconds timeout{600};
};
result<void> unmount(const unmount_arguments& arguments);

}  // namespace warifu
