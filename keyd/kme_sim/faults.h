#pragma once
// Faults on request: what a real KME or link does on a bad day, for the tests of those who use it.

#include <optional>
#include <string>
#include <vector>

#include "fs/base/error.h"

namespace warifu::kme_sim {

enum class fault_kind : std::uint8_t {
    link_down,    // enc_keys over the link: 503
    rate,         // the link's rate becomes `value` bit/s
    slow,         // each answer waits `value` ms
    lost,         // keys leave the KME, the answer does not: the connection is closed
    wrong_keys,   // the slave's KME holds other bytes than the master got
    html,         // HTTP status `value` (default 502) with a page in HTML
    expired,      // keys that wait for a slave expire at once
    unavailable,  // 503 with the standard's error body
};
std::string_view to_string(fault_kind kind);
result<fault_kind> parse_fault_kind(std::string_view text);

struct fault {
    fault_kind kind = fault_kind::unavailable;
    std::string kme;     // only at this KME; empty: at all
    std::string link_a;  // only on this link (either order); empty: on all
    std::string link_b;
    std::uint64_t value = 0;  // as the kind says
    std::uint64_t left = 0;   // how often it still happens; 0: until cleared
    bool operator==(const fault&) const = default;
};

/// "slow kme=kme-site1 value=500 count=3", "rate link=kme-site1,kme-site2 value=1000000". bad_argument.
result<fault> parse_fault(std::string_view text);
std::string to_text(const fault& f);

/// The faults that are asked for. Core thread of the network.
class fault_list {
  public:
    /// busy: too many.
    result<void> add(fault f);
    void clear() { faults_.clear(); }
    /// Whether it happens here and now; counts it. `link_a` is empty where no link is concerned.
    std::optional<std::uint64_t> happens(fault_kind kind, std::string_view kme, std::string_view link_a = {},
                                         std::string_view link_b = {});
    /// The same without counting.
    const fault* find(fault_kind kind, std::string_view kme, std::string_view link_a = {},
                      std::string_view link_b = {}) const;
    const std::vector<fault>& all() const { return faults_; }

  private:
    std::vector<fault> faults_;
};

}  // namespace warifu::kme_sim
