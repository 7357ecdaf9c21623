#pragma once
// A whole simulated QKD network as one object: what `warifu kme-sim` runs, and what tests start in their process.

#include <memory>

#include "keyd/kme_sim/kme_server.h"

namespace warifu::kme_sim {

/// Core thread of `core`. Destroying it ends the servers; `core` must then still run out its last handlers before it
/// goes, or be destroyed with them.
class simulation {
  public:
    /// Servers listen and links to other processes are on their way when this returns.
    static result<std::unique_ptr<simulation>> start(asio::io_context& core, network_config config);
    ~simulation();

    kme_network& network();
    /// "https://127.0.0.1:34567" of a KME of this process; empty: none has this name.
    std::string url_of(const std::string& kme) const;
    /// {"kmes": [{"name", "url", "saes"}]}, for who starts it.
    nlohmann::ordered_json places() const;

  private:
    struct impl;
    explicit simulation(std::shared_ptr<impl> all) : all_(std::move(all)) {}
    std::shared_ptr<impl> all_;
};

}  // namespace warifu::kme_sim
