#pragma once
// Answers GET /metrics over HTTP/1.1 with whatever text its owner gives: for Prometheus on this machine. It tells
// stocks and rates to whoever reaches the address, so the address is a loopback one unless somebody decides otherwise.

#include <functional>
#include <memory>
#include <string>

#include "fs/async/asio.h"
#include "fs/base/error.h"

namespace warifu {

/// Core thread only; kept alive by its coroutines until stop().
class metrics_server : public std::enable_shared_from_this<metrics_server> {
  public:
    using writer_of_text = std::function<std::string()>;
    /// `address` is "HOST:PORT", HOST a numeric address ("[::1]:9109"); port 0: any free one. Errors: bad_argument,
    /// busy (the port is taken), denied, no_such_address.
    static result<std::shared_ptr<metrics_server>> start(asio::any_io_executor core, const std::string& address,
                                                         writer_of_text text);
    std::uint16_t port() const;
    void stop();

  private:
    metrics_server(asio::any_io_executor core, asio::ip::tcp::acceptor acceptor, writer_of_text text)
        : core_(std::move(core)), acceptor_(std::move(acceptor)), text_(std::move(text)) {}
    static awaitable<void> accept_all(std::shared_ptr<metrics_server> self);
    static awaitable<void> answer(std::shared_ptr<metrics_server> self, std::shared_ptr<asio::ip::tcp::socket> socket);

    asio::any_io_executor core_;
    asio::ip::tcp::acceptor acceptor_;
    writer_of_text text_;
    std::size_t open_ = 0;
};

}  // namespace warifu
