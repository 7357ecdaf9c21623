#pragma once
// The port of a keyd where the keyds of other sites call. Strangers get a bounded number of connections and a bounded
// time; what is wrong with a greeting is counted, never answered.

#include <list>
#include <vector>

#include "keyd/link/service.h"

namespace warifu {

struct link_listener_counters {
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;  // dropped for newer strangers, no greeting, or of no link here
};

class link_listener : public std::enable_shared_from_this<link_listener> {
  public:
    /// Errors: bad_argument (the host is no address), busy (the port is in use), naming the endpoint.
    static result<std::shared_ptr<link_listener>> start(asio::any_io_executor core, const std::string& host,
                                                        std::uint16_t port);
    /// REQUIRES: the service outlives the listener or stop() comes first.
    void add(std::shared_ptr<link_service> service) { services_.push_back(std::move(service)); }
    void stop();
    std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
    const link_listener_counters& counters() const { return count_; }

    /// One stranger; also what tests call with pipes of their own.
    awaitable<void> greet(std::shared_ptr<link_pipe> pipe);

  private:
    explicit link_listener(asio::any_io_executor core) : core_(core), acceptor_(core) {}
    awaitable<void> accept_loop();

    asio::any_io_executor core_;
    asio::ip::tcp::acceptor acceptor_;
    std::vector<std::shared_ptr<link_service>> services_;
    std::list<std::shared_ptr<link_pipe>> strangers_;  // oldest first
    link_listener_counters count_;
};

}  // namespace warifu
