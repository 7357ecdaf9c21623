#pragma once
// keyd's status in the OpenMetrics text format 1.0, for Prometheus. README.md lists the names.

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace warifu {

/// `status` is the object of FORMAT.md, "The status text"; what is missing in it is left out. Ends with "# EOF".
std::string openmetrics_of(const nlohmann::json& status);

}  // namespace warifu
