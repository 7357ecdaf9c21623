#pragma once
// One end of a simulated quantum link between two processes: connects or listens, again and again.

#include <memory>

#include "keyd/kme_sim/network.h"

namespace warifu::kme_sim {

/// Core thread of `core`.
class link_socket {
  public:
    /// Gives the network its remote_link. busy, io_error, bad_argument: cannot listen there.
    static result<std::unique_ptr<link_socket>> start(asio::io_context& core, std::shared_ptr<kme_network> network,
                                                      const link_config& config);
    virtual ~link_socket() = default;
};

}  // namespace warifu::kme_sim
