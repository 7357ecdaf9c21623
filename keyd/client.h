#pragma once
// The pad broker of a process that uses its site's keyd: requests over keyd's local socket, windows in memory that it
// lends to keyd. One core thread. When keyd restarts the client connects again by itself and claims the windows that it
// still has; until then calls fail with unreachable. A release that fails so is repeated. A window that was destroyed
// and is not released within abandon_delay_ms is given up: keyd burns it.

#include <memory>
#include <string>

#include "keyd/limits.h"
#include "keyd/pad_broker.h"

namespace warifu {

class keyd_client final : public pad_broker {
  public:
    /// Connects and asks who is there. unreachable, denied, timed_out; the text names the socket.
    /// `weight`: of this consumer's claims when key is short, 1 to claim_weight_max.
    static task<std::unique_ptr<keyd_client>> connect(std::string socket_path,
                                                      std::uint32_t weight = claim_weight_default);
    ~keyd_client() override;

    const std::string& site() const;
    /// keyd's status (stock, use, failures) as JSON text; FORMAT.md lists the fields.
    task<std::string> status_json();
    /// Sets aside `size` bytes of a stream on which this site is the sender: data claims of other consumers leave them
    /// alone, and this one's draw on them. Replaces what was reserved of the stream before. Returns how much of it
    /// there is for this consumer now (README.md, "Who gets key when it is short"). Forgotten when the connection or
    /// keyd ends, so ask again from time to time. Errors: unreachable, bad_argument (wrong end), not_found (no link).
    task<std::uint64_t> reserve(stream_name stream, std::uint64_t size);

    claim strength() const override;
    task<std::unique_ptr<pad_window>> claim_send(stream_name stream, session_id session, std::uint64_t size_min,
                                                 std::uint64_t size_want, key_use use, deadline until) override;
    task<std::unique_ptr<pad_window>> claim_receive(stream_name stream, session_id session, pad_range range) override;
    task<> skip_to(stream_name stream, std::uint64_t offset) override;
    task<std::uint64_t> next_free(stream_name stream, std::uint64_t from) override;
    task<hello_slot> take_hello_slot(stream_name stream, deadline until) override;
    task<hello_slot> peek_hello_slot(stream_name stream, std::uint64_t offset) override;
    task<> spend_hello_slot(stream_name stream, std::uint64_t offset) override;
    task<> release(stream_name stream, pad_range window, std::uint64_t used_to) override;
    task<stock> available(std::string peer) override;
    task<byte_vector> take_random(std::size_t size, deadline until) override;

  private:
    class connection;
    explicit keyd_client(std::shared_ptr<connection> to) : connection_(std::move(to)) {}

    std::shared_ptr<connection> connection_;
};

}  // namespace warifu
