#pragma once
// The directory of a local deployment: where everything lies in it, and which of its processes run.
//
//   DIR/mnt/                          the mount
//   DIR/sites/siteX/{store,pads/,site.json,access.json,log}
//   DIR/run/{volume.json,deployment.json,mount.pid,mount.sock,siteX.keyd.pid,siteX.server.pid,kme-sim.pid,...}
//   DIR/kme/                          the simulated QKD network: certificates, kme-sim.json
//
// Sockets lie in DIR/run unless its path is too long for a Unix socket (107 bytes): then in a directory of the user's
// run-time directory (/run/user/UID) or the system's temporary folder, named after a hash of DIR.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "fs/config/config.h"
#include "tools/process.h"

namespace warifu {

class deployment_layout {
  public:
    /// `root` is made absolute.
    explicit deployment_layout(const std::filesystem::path& root);

    const std::filesystem::path& root() const { return root_; }
    std::filesystem::path mount_point() const { return root_ / "mnt"; }
    std::filesystem::path run() const { return root_ / "run"; }
    std::filesystem::path site(std::string_view name) const { return root_ / "sites" / name; }
    std::filesystem::path site_file(std::string_view name) const { return site(name) / "site.json"; }
    std::filesystem::path pads(std::string_view name) const { return site(name) / "pads"; }
    std::filesystem::path log(std::string_view name) const { return site(name) / "log"; }
    std::filesystem::path keyd_pid(std::string_view name) const { return run() / (std::string(name) + ".keyd.pid"); }
    std::filesystem::path server_pid(std::string_view name) const {
        return run() / (std::string(name) + ".server.pid");
    }
    std::filesystem::path mount_pid() const { return run() / "mount.pid"; }
    /// While the process that it names lives, the dealer makes no key.
    std::filesystem::path dealer_pause() const { return run() / "dealer.pause"; }
    std::filesystem::path dealer_pid() const { return run() / "dealer.pid"; }
    std::filesystem::path kme_sim_pid() const { return run() / "kme-sim.pid"; }
    std::filesystem::path key_network() const { return root_ / "kme"; }
    std::filesystem::path volume_file() const { return run() / "volume.json"; }
    std::filesystem::path deployment_file() const { return run() / "deployment.json"; }
    std::filesystem::path lock_file() const { return run() / "lock"; }
    /// Where sockets go; made by make_socket_directory().
    std::filesystem::path socket_directory() const;

  private:
    std::filesystem::path root_;
};

/// Makes it, private to this user. denied when it exists and belongs to somebody else.
result<void> make_socket_directory(const std::filesystem::path& directory);

/// Names of all sites of a new deployment: site1 .. siteN.
std::vector<std::string> site_names(unsigned count);

/// A deployment that exists.
struct deployment {
    deployment_layout layout;
    volume_config volume;
    deployment_config settings;
    std::vector<site_config> sites;  // in the volume's order
};
/// Reads every configuration of the directory. not_found with a hint when DIR is no deployment.
result<deployment> load_deployment(const std::filesystem::path& root);
/// Whether DIR has a deployment, finished or not.
bool is_deployment(const std::filesystem::path& root);

/// What a command was given: a deployment directory or a configuration file, and what they lead to.
struct volume_place {
    volume_config volume;
    std::optional<deployment_layout> layout;  // of a deployment directory
};
result<volume_place> find_volume(const std::filesystem::path& config_or_directory);
/// site.json of `site`: a path to a file, or the name of a site of the deployment; the volume's own when `site` is
/// empty.
result<site_config> find_site(const volume_place& place, const std::string& site);

/// `count` free TCP ports on loopback, outside the range that the kernel gives to outgoing connections.
result<std::vector<std::uint16_t>> choose_ports(std::size_t count);

}  // namespace warifu
