#pragma once
// What the sites' keyds have: for up (is there enough to begin?), status and restore.

#include <cstdint>
#include <string>
#include <vector>

#include "fs/async/asio.h"
#include "fs/config/config.h"

namespace warifu {

/// One pad stream. Bytes; hello regions are not counted.
struct stream_stock {
    stream_stock() = default;
    stream_stock(std::string sender, std::string receiver) : from(std::move(sender)), to(std::move(receiver)) {}

    std::string from, to;
    bool known = false;           // at least one end's keyd answered
    std::uint64_t available = 0;  // unspent at both ends (at the one end that answered)
    std::uint64_t used = 0;       // spent and used; the greater of the two ends
    std::uint64_t burnt = 0;
    std::string claim;  // the weaker one's word
};

/// Asks every site's keyd over its socket; a keyd that is down leaves its half unknown. Streams of sites that `sites`
/// has a link for, ordered by (from, to). Core thread.
awaitable<std::vector<stream_stock>> link_stocks(std::vector<site_config> sites);

/// Key that one byte of a file costs on a link that carries a share of it: tags, frame masks and messages on top of the
/// share.
inline constexpr double pad_per_share_byte = 1.01;

/// Secret bytes that can be read back: k shares of every byte are needed, one of them without key when the local site
/// is up, the others from links with these unspent inbound bytes. Different bytes may come over different links.
std::uint64_t restorable_bytes(unsigned threshold, bool local_is_up, const std::vector<std::uint64_t>& inbound);
/// Secret bytes that can be written: every remote member gets a share of each.
std::uint64_t writable_bytes(std::uint64_t space, const std::vector<std::uint64_t>& outbound);

}  // namespace warifu
