#pragma once
// The path and query of a request, as section 5 of ETSI GS QKD 014 has them: /api/v1/keys/{SAE_ID}/{method}?name=value

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace warifu::kme_sim {

struct request_target {
    std::string sae;     // without escapes
    std::string method;  // "status", "enc_keys", "dec_keys"
    std::vector<std::pair<std::string, std::string>> query;
};

/// nullopt: no such resource.
std::optional<request_target> parse_target(std::string_view target);

}  // namespace warifu::kme_sim
