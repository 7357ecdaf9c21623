#pragma once
// From configuration to an open volume: the site's key manager, its own share server over a Unix socket, the other
// sites' over one-time pads. What mount, restore, volume create and bench begin with.

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backends/remote/remote_store.h"
#include "fs/config/config.h"
#include "fs/volume/volume.h"
#include "keyd/client.h"

namespace warifu {

struct session_options {
    open_mode mode = open_mode::write;
    bool takeover = false;
    bool follow = false;                    // read-only: take over what the writer commits
    bool newest = false;                    // a reader: as in volume_options
    bool patient = false;                   // wait longer for enough sites before the volume is opened
    std::vector<std::string> from;          // only these sites; empty: all
    std::size_t memory_size = 128U << 20U;  // for RocksDB and table pieces, bytes
};

/// Stock and use of the pads between this site and a peer, bytes.
struct link_stock {
    std::string peer;
    bool known = false;  // false: keyd is down
    std::uint64_t outbound = 0, inbound = 0;
    std::uint64_t sent = 0, received = 0;  // pad bytes used by this session
};

/// Core thread for all but the constructor's caller.
class volume_session {
  public:
    /// Errors: those of volume::open; bad_argument when a site of the volume has no link from this site, or `from`
    /// names none of the volume's sites; missing_shares when `from` names fewer than k.
    static task<std::unique_ptr<volume_session>> open(asio::io_context& core, volume_config volume, site_config site,
                                                      session_options options);
    /// Makes the volume at all its sites. denied: a site does not grant this one write access.
    static task<> create(asio::io_context& core, volume_config volume, site_config site);

    ~volume_session();
    volume& get() { return *volume_; }
    /// The weakest of the volume's randomness and this site's pads, as keyd told it last (stocks() asks). Core
    /// thread.
    claim strength() const;
    /// Asks keyd; waits two seconds at most.
    awaitable<std::vector<link_stock>> stocks();
    struct set_aside {
        std::uint64_t least = 0;  // bytes, on any of the links
        deadline key_at;          // until then key came on all links that have less than was wanted
    };
    /// Sets key aside on the links to the volume's members, so that with what is in hand there are `wanted` bytes on
    /// each. Links with less than `needed` count as waiting for key until the next call. Errors: those of
    /// keyd_client::reserve.
    task<set_aside> reserve_key(std::uint64_t wanted, std::uint64_t needed);
    /// Peers to which something waits to be sent for want of key, or for which bytes are not accepted.
    std::vector<std::string> waiting_for_key() const;
    /// Closes the volume and ends the connections in order (unused pads go back).
    task<> close();

  private:
    volume_session() = default;
    static task<std::unique_ptr<volume_session>> connect(asio::io_context& core, volume_config volume, site_config site,
                                                         session_options options);
    /// Waits for every site; says how many are connected then.
    awaitable<unsigned> connected_by(deadline until);
    volume_options options_for(asio::any_io_executor core, const volume_config& config,
                               const session_options& options) const;
    awaitable<void> disconnect();

    std::shared_ptr<keyd_client> keys_;
    std::string own_site_;
    std::set<std::string> reserved_links_, short_links_;  // to these peers
    struct arrival {
        std::uint64_t there = 0;  // bytes, at keyd and in hand
        deadline at{};            // when it was last more than before
    };
    std::map<std::string, arrival> arrivals_;  // of key, by peer, while there is less than is wanted
    struct member {
        std::string name;
        bool local = false;
        std::shared_ptr<remote_store> store;  // null: not used in this run
    };
    std::vector<member> members_;
    std::unique_ptr<volume> volume_;
};

}  // namespace warifu
