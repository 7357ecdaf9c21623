#pragma once
// The simulated QKD network of a local deployment: DIR/kme/ has a KME for each site (keyd/kme_sim, one process), their
// certificates, and each site's keyd gets its key from it as from real equipment.

#include <vector>

#include "tools/deployment.h"

namespace warifu {

/// Gives each site's configuration what its keyd needs: where it listens for other keyds, where theirs are, and its KME
/// per link. `stock`: unspent bytes to keep per outbound stream.
result<void> plan_key_network(const deployment_layout& layout, std::vector<site_config>& sites, std::uint64_t stock);

/// Makes DIR/kme: certificates, kme-sim.json (`link_rate`: bits per second per direction, 0: no limit), and enrols each
/// two sites' keyds with each other. REQUIRES: planned sites whose pads directories exist.
result<void> make_key_network(const deployment_layout& layout, const std::vector<site_config>& sites,
                              std::uint64_t link_rate);

}  // namespace warifu
