#pragma once
// A site's share server: serves the volumes of this site to the mounts of its peers (TCP, one-time pads) and of this
// site (Unix socket, peer credentials). Which store a volume has is its volume provider's business; who may use it, its
// access check's.

#include "backends/share_store.h"
#include "fs/channel/connection.h"
#include "fs/wire/admin.h"

namespace warifu {

/// A peer site's rights on a volume. `read` allows state, get, describe, list, read_journal and pin.
enum class access_grant : std::uint8_t { none = 0, read = 1, write = 2 };

/// Where the shares of volumes are.
class volume_provider {
  public:
    virtual ~volume_provider() = default;
    /// The store of a volume; the same one while it is in use. Errors: not_found, io_error, ...
    virtual result<std::shared_ptr<share_store>> open(const volume_id& volume) = 0;
    /// Creates the store of a volume. `spec` comes from the administrator's command. Errors: exists, unsupported, ...
    virtual result<void> create(const volume_id& volume, const std::string& spec) = 0;
};

struct share_server_options {
    std::string site;
    std::string unix_path;    // empty: none. An old socket file that nobody serves is replaced.
    std::string listen_host;  // an address of this machine; empty: none
    std::uint16_t listen_port = 0;  // 0: any free one
    std::shared_ptr<pad_broker> broker;         // for listen_host
    std::shared_ptr<volume_provider> volumes;
    /// The access list. Local peers may do everything without being asked for. Asked at every request, so changes count
    /// at once.
    std::function<access_grant(const volume_id& volume, const std::string& peer_site)> access;
    /// Reads the access list anew.
    std::function<result<void>()> reload_access;
    std::uint32_t key_wait = server_key_wait_timeout_ms;
    std::size_t connection_limit = connection_count_max;
};

/// Thread: the core thread of `executor`.
class share_server {
  public:
    share_server(asio::any_io_executor executor, share_server_options options);
    ~share_server();

    /// Listens and serves. Errors: bad_argument, busy (port or path in use), denied, io_error.
    result<void> start();
    /// The TCP port that is listened on; 0 without one.
    std::uint16_t port() const;
    /// Takes no more connections, answers what is in flight, ends every connection in order; cuts off what is left at
    /// `until`.
    awaitable<void> stop(deadline until);
    server_status status() const;

  private:
    std::shared_ptr<class share_service> service_;  // shared with its coroutines
};

/// Runs a share server until `stop` is set, then stops it in order within `drain_ms`. Errors: those of start().
task<> run_share_server(share_server_options options, std::shared_ptr<event> stop, std::uint32_t drain_ms);

/// Administration over a share server's Unix socket, for command-line tools.
class share_server_admin {
  public:
    share_server_admin() = default;  // to be assigned to

    /// Errors: unreachable, denied (another user's server, or one of another site), timed_out.
    static task<share_server_admin> connect(std::string unix_path, std::string site, deadline until);

    task<server_status> status();
    task<> create_volume(volume_id volume, std::string spec);
    task<> reload_access();
    awaitable<void> close();

  private:
    explicit share_server_admin(std::shared_ptr<connection> c) : connection_(std::move(c)) {}
    std::shared_ptr<connection> connection_;
};

}  // namespace warifu
