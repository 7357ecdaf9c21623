#pragma once
// The volumes of a deployment and their mounts. The first site writes the deployment's volume at DIR/mnt. With
// `up --volumes` further sites write one of their own, and all of these sites follow the others':
//
//   DIR/volumes/OWNER/volume.json     a further volume and its run-time files
//   DIR/mnt-OWNER/                    ... as its owner writes it
//   DIR/seen/READER/OWNER/            an owner's volume as another owner follows it
//
// Access lists, share servers and key managers are the deployment's.

#include <string>
#include <vector>

#include "tools/deployment.h"

namespace warifu {

/// The sites that write a volume besides the first, in the order of their names. Empty without `up --volumes`.
std::vector<std::string> further_owners(const deployment_layout& layout);

/// A fresh volume of `owner` over the sites of `first`, the deployment's own; not yet saved or created.
volume_config plan_further_volume(const deployment_layout& layout, const volume_config& first,
                                  const std::string& owner);
std::filesystem::path further_volume_file(const deployment_layout& layout, const std::string& owner);

struct deployment_mount {
    std::filesystem::path config;  // deployment directory or volume.json
    std::filesystem::path reader;  // site.json of who follows; empty: its owner writes
    std::filesystem::path mountpoint;
    std::filesystem::path run;  // where mount.pid is
};
/// Every mount that belongs to the deployment, writers first.
result<std::vector<deployment_mount>> deployment_mounts(const deployment& where);

/// Mounts what is not mounted; unmounts again what it mounted when one of them fails.
result<void> mount_all(const deployment& where);

/// Unmounts every mount of the deployment's volumes, also those that were made with `mount --site`. Followers first.
result<void> unmount_all(const deployment_layout& layout, bool force, std::chrono::seconds timeout);

}  // namespace warifu
