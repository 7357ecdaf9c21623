#pragma once
// Making a site's directory, and the processes of a deployment: start, stop, what runs.

#include <chrono>
#include <filesystem>
#include <string>

#include "fs/config/config.h"
#include "tools/deployment.h"

namespace warifu {

/// Makes the site's directories, an access list if there is none, an empty store, and last its site.json. exists when
/// there is a site.json or a store already, unless `anew` (then the store is formatted again).
result<void> make_site(const site_config& site, const std::filesystem::path& file, const access_config& access,
                       bool anew);
/// Formats the store again: a fresh incarnation without any share.
result<void> wipe_store(const site_config& site);

enum class deployment_part : std::uint8_t { keyd, server, dealer, kme_sim };
std::string_view to_string(deployment_part part);

/// How long a part may take to stop before it is killed.
inline constexpr auto stop_patience = std::chrono::seconds(10);

/// Starts the part if it does not run. Returns whether it was started now.
result<bool> start_part(const deployment_layout& layout, const site_config& site, deployment_part part);
/// What serves all sites with key, dealer or simulated KMEs; `site` is not used for these.
result<bool> start_key_source(const deployment_layout& layout, deployment_part part);
/// SIGTERM; SIGKILL after `patience` (the part loses nothing by it: what counts is durable). Returns whether it ran.
result<bool> stop_part(const deployment_layout& layout, std::string_view site, deployment_part part,
                       std::chrono::seconds patience);
bool part_runs(const deployment_layout& layout, std::string_view site, deployment_part part);

}  // namespace warifu
