#pragma once
// The inside of a share server: accepting, greeting, and carrying out requests on stores.

#include <set>

#include "backends/server/share_server.h"

namespace warifu {

/// Who is at the other end of a connection, and the store that it uses.
struct client {
    std::string site;
    volume_id volume;
    bool is_local = false;
    std::shared_ptr<share_store> store;  // null: administration only
    steady_clock::time_point since = steady_clock::now();
    std::shared_ptr<connection> link;
    std::uint64_t requests = 0;
};

/// Carries out one request on a store. Errors: those of decoding and of the store.
task<message_body> serve_store_request(std::shared_ptr<share_store> store, incoming request);

/// Thread: the core thread. Kept alive by its coroutines until stop() or cut().
class share_service : public std::enable_shared_from_this<share_service> {
  public:
    share_service(asio::any_io_executor executor, share_server_options options);

    result<void> start();
    std::uint16_t port() const;
    awaitable<void> stop(deadline until);
    void cut();
    server_status status() const;

  private:
    result<void> listen_tcp();
    result<void> listen_unix();
    template <typename Acceptor>
    awaitable<void> accept_loop(std::shared_ptr<share_service> self, Acceptor& acceptor, transport mode);
    awaitable<void> serve(std::shared_ptr<share_service> self, std::shared_ptr<stream> socket, transport mode);
    result<void> admit(transport mode, const std::string& site, const volume_id& volume);
    result<std::shared_ptr<client>> make_client(const greeted& peer);
    void begin(std::shared_ptr<stream> socket, greeted peer, std::shared_ptr<client> who);
    void ended(std::shared_ptr<client> who, const error& why);
    result<void> check_access(const client& who, verb what) const;
    awaitable<void> handle(std::shared_ptr<share_service> self, std::shared_ptr<client> who,
                           std::shared_ptr<connection> from, incoming request);
    task<message_body> carry_out(std::shared_ptr<client> who, incoming request);
    result<message_body> administer(incoming request);

    asio::any_io_executor executor_;
    share_server_options options_;
    asio::ip::tcp::acceptor tcp_;
    asio::local::stream_protocol::acceptor unix_;
    process_id process_ = random_uuid<process_id>();
    steady_clock::time_point since_ = steady_clock::now();
    std::set<std::shared_ptr<client>> clients_;
    std::set<std::shared_ptr<stream>> greeting_;  // connections that are not yet greeted
    event empty_;  // no client is connected
    bool unix_bound_ = false;
    bool stopping_ = false;
    server_status counters_;  // of ended connections, and of the server
};

}  // namespace warifu
