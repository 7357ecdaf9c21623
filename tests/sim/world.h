#pragma once
// One simulated life of a volume: sites, a network, writers that displace each other, readers, and trouble. A seed
// names it.

#include <list>

#include "tests/sim/client.h"

namespace warifu::sim {

struct life_report {
    std::optional<std::string> violation;  // what was promised and not kept
    std::uint64_t acknowledged = 0, opened = 0, shown = 0, requests = 0, crashes = 0;
    double simulated_s = 0;
};

/// Lives the life of this seed on the calling thread, in simulated time, to its end.
life_report live(std::uint64_t seed);

}  // namespace warifu::sim
