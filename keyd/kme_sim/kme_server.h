#pragma once
// One KME's face to its SAEs: HTTPS with mutual certificates.

#include <memory>

#include "keyd/kme_sim/network.h"

namespace warifu::kme_sim {

/// Core thread of `core`. Listens until destroyed; connections end with it.
class kme_server {
  public:
    /// Errors: of the certificates' files; busy (the address is
    /// in use), io_error, bad_argument (no such address).
    static result<std::unique_ptr<kme_server>> start(asio::io_context& core, std::shared_ptr<kme_network> network,
                                                     const kme_config& config);
    virtual ~kme_server() = default;
    /// "https://HOST:PORT" with the real port.
    virtual std::string url() const = 0;
};

}  // namespace warifu::kme_sim
