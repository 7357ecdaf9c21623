#pragma once
// One kept-alive HTTPS connection of a client, one request at a time.

#include <memory>
#include <string>

#include "fs/async/wait.h"
#include "fs/base/buffer.h"
#include "keyd/etsi014/tls.h"

namespace warifu::etsi014 {

/// "https://HOST[:PORT][/PREFIX]"
struct https_url {
    std::string host;
    std::uint16_t port = 443;
    std::string prefix;  // without a '/' at its end
    /// "https://HOST:PORT/PREFIX", for messages.
    std::string text() const;
    /// HOST:PORT as the Host field has it.
    std::string authority() const;
};
/// Errors: bad_argument with the text.
result<https_url> parse_https_url(std::string_view text);

struct https_request {
    bool post = false;
    std::string target;  // path and query, after the URL's prefix
    std::string body;    // JSON
};

struct https_answer {
    unsigned status = 0;
    buffer body;  // wiped when it goes
    std::string_view text() const { return as_text(body.view()); }
};

/// Core thread of its executor.
class https_connection {
  public:
    /// Address, TCP and TLS with host-name check. Errors: unreachable (also: a certificate that is not accepted),
    /// denied (the server refuses ours), timed_out.
    static task<std::unique_ptr<https_connection>> open(asio::any_io_executor executor,
                                                        std::shared_ptr<ssl::context> tls, https_url url,
                                                        deadline until);
    virtual ~https_connection() = default;

    /// Sends and waits for the whole answer, whose body may have `body_max` bytes. Errors: as open(), bad_format (no
    /// HTTP), too_large. After an error the connection is of no further use.
    virtual task<https_answer> exchange(https_request request, std::size_t body_max, deadline until) = 0;
    /// Lets an exchange under way fail; the connection is of no further use.
    virtual void abort() = 0;
    /// False: the server has closed it, said that it will, or it broke.
    virtual bool reusable() = 0;
    /// After a failed exchange: whether the server had begun to answer.
    virtual bool answer_begun() const = 0;
};

}  // namespace warifu::etsi014
