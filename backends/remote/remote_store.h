#pragma once
// A share store at another site, behind its share server: share_store over one-time-pad connections (TCP), or at this
// site over a Unix socket.
//
// Connecting: in the background, with a growing pause between attempts. While there is no connection, calls fail at
// once with unreachable (or no_key, denied: why the last attempt failed), except that the very first calls wait for the
// first attempt. Repeating: requests that may be repeated are sent once more under fresh pad when the connection is
// lost within their deadline. Order: control requests (append, promise, ...) all take the first connection, so they
// arrive in the order of the calls.

#include <memory>

#include "backends/share_store.h"
#include "fs/base/clock.h"
#include "fs/base/random.h"
#include "fs/channel/connection.h"

namespace warifu {

struct remote_store_options {
    volume_id volume;
    std::string own_site;
    std::string peer_site;
    // Where the share server listens: a Unix socket path (same site, no pads), or a host and port (one-time pads,
    // always).
    std::string unix_path;
    std::string host;
    std::uint16_t port = 0;
    std::shared_ptr<pad_broker> broker;  // for host and port
    unsigned connection_count = 1;       // 1 or 2 per link
    process_id process = random_uuid<process_id>();
    std::uint32_t request_timeout = request_timeout_ms;
    std::uint32_t key_wait = key_wait_timeout_ms;  // how long requests wait for key before they fail with no_key
    std::uint32_t reconnect_delay_max = reconnect_delay_max_ms;
};

struct remote_store_counters {
    std::uint64_t pad_sent = 0;      // pad bytes used by frames; what reconnects burnt is keyd's to tell
    std::uint64_t pad_received = 0;
    std::uint64_t pad_in_hand = 0;           // that data can still be sent with, without asking keyd
    std::uint64_t connects = 0;              // greetings that succeeded
    std::uint64_t connect_failures = 0;      // attempts that did not
    std::uint64_t connections_lost = 0;      // without an authenticated end
    std::uint64_t verification_failures = 0;  // frames refused
    std::uint64_t requests = 0;
    std::uint64_t repeats = 0;
};

/// Thread: the core thread of `executor`. Destroying it cuts the connections off (unused pad is burnt); stop() ends
/// them in order.
class remote_store final : public share_store {
  public:
    /// Starts connecting at once.
    remote_store(asio::any_io_executor executor, remote_store_options options);
    ~remote_store() override;

    bool connected() const;
    /// Why there is no connection now.
    error last_error() const;
    /// True while requests wait, or no connection can be made, for want of key to the peer.
    bool waits_for_key() const;
    /// Called on every change of connected(), from the core thread.
    void on_change(std::function<void(bool connected)> observer);
    remote_store_counters counters() const;
    const std::string& peer_site() const;
    /// Waits for a connection; false at the deadline.
    awaitable<bool> wait_connected(deadline until);
    /// Ends all connections in order (requests in flight first) and stops connecting. Later calls fail with cancelled.
    awaitable<void> stop(deadline until);

    task<store_state> state() override;
    task<> reserve(ballot authority, std::uint64_t size) override;
    task<> put(share_put share) override;
    task<std::vector<slice>> get(chunk_id chunk, std::vector<share_range> ranges) override;
    task<share_description> describe(chunk_id chunk) override;
    task<> remove(ballot authority, std::vector<share_removal> removals) override;
    task<std::vector<chunk_id>> list(chunk_id after, std::uint32_t count) override;
    task<> append(append_request request) override;
    task<std::vector<journal_entry>> read_journal(std::uint64_t from, std::uint32_t size_max) override;
    task<> cut_journal(ballot authority, std::uint64_t first) override;
    task<> promise(ballot b) override;
    task<> heartbeat(ballot authority, writer_identity writer) override;
    task<> pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) override;
    /// Fails once with unreachable after the peer's process changed while puts or removes were not yet durable: they
    /// may be lost.
    task<> sync() override;

  private:
    /// Which process of the peer answered changes that nothing has made durable yet.
    struct volatile_changes {
        std::optional<process_id> process;
        std::uint64_t count = 0;
        bool lost = false;  // the process changed meanwhile
    };
    task<> change(verb what, message_body body);

    std::shared_ptr<class remote_link> link_;  // shared with its coroutines
    volatile_changes changes_;
};

}  // namespace warifu
