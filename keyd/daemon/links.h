#pragma once
// The links of a keyd that have a key delivery service: their services, the port where peers call, and the way of their
// blocks into the pool.

#include <optional>

#include "fs/config/config.h"
#include "keyd/link/listener.h"
#include "keyd/pool/pool.h"

namespace warifu {

/// One link with a key delivery service.
struct keyd_link {
    std::string peer;
    std::optional<endpoint> control;  // the peer's keyd; needed when this site's name sorts first
    claim strength = claim::simulated;
    std::uint64_t stock = 256U << 20U;
    std::uint64_t key_size = 0;
    /// Makes the client of the service; called once, on the core thread.
    std::function<result<std::shared_ptr<key_delivery>>(asio::any_io_executor)> connect_kme;
};

/// Writes a block to DIRECTORY/ID.staged, whole and flushed. Worker thread.
result<staged_block> stage_bytes(const block_header& header, bytes_view bytes, const std::string& directory);

/// Core thread of keyd.
class keyd_links {
  public:
    /// Errors: those of link_service::start, link_listener::start and connect_kme, naming link or endpoint.
    static result<std::unique_ptr<keyd_links>> start(asio::any_io_executor core, const std::string& site,
                                                     const std::string& pads_directory,
                                                     const std::optional<endpoint>& listen,
                                                     const std::vector<keyd_link>& links, link_host& host);
    /// Ends all links at once. False: some have not ended by `until`; the host must outlive them.
    awaitable<bool> stop(deadline until);
    nlohmann::json status() const;
    /// What a person should look at, a line each.
    std::vector<std::string> alarms() const;
    std::uint16_t port() const { return listener_ ? listener_->port() : std::uint16_t{0}; }
    const std::vector<std::shared_ptr<link_service>>& services() const { return services_; }

  private:
    std::shared_ptr<link_listener> listener_;
    std::vector<std::shared_ptr<link_service>> services_;
};

}  // namespace warifu
