#include "tools/volume_session.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "fs/async/wait.h"
#include "fs/volume/quorum.h"
#include "keyd/link/paths.h"
#include "keyd/random_stock.h"

namespace warifu {
namespace {

constexpr std::uint32_t disconnect_ms = 3'000;
constexpr std::uint32_t first_contact_ms = 5'000;
constexpr std::uint32_t patient_contact_ms = 30'000;
constexpr std::uint32_t contact_look_ms = 250;

/// Every site of the volume must be this one or have a link; `from` must name enough of them.
result<void> check_sites(const volume_config& volume, const site_config& site, const session_options& options) {
    for (const auto& name : volume.sites) {
        const bool wanted = options.from.empty() || std::ranges::find(options.from, name) != options.from.end();
        if (wanted && name != site.name && site.link_to(name) == nullptr) {
            return fail(errc::bad_argument,
                        fmt::format("{} has no link to {}, which is a site of the volume (sites: {})", site.name, name,
                                    fmt::join(volume.sites, ", ")));
        }
    }
    std::vector<std::string> distinct = options.from;
    std::ranges::sort(distinct);
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    for (const auto& name : distinct) {
        if (std::ranges::find(volume.sites, name) == volume.sites.end()) {
            return fail(errc::bad_argument,
                        fmt::format("no site '{}' in this volume (sites: {})", name, fmt::join(volume.sites, ", ")));
        }
    }
    if (!distinct.empty() && distinct.size() < volume.threshold) {
        return fail(errc::missing_shares,
                    fmt::format("{} alone cannot give anything back: this volume needs {} of its {} sites",
                                fmt::join(distinct, ", "), volume.threshold, volume.sites.size()));
    }
    return {};
}

/// Who relayed the key of k shares could put together what is written under it: then nothing is.
task<> check_routes(keyd_client& keys, std::string own_site, volume_config volume) {
    CO_TRY(const auto text, co_await keys.status_json());
    const auto status = nlohmann::json::parse(text, nullptr, false);
    if (!status.is_object() || !status.contains("links"))
        co_return fail(errc::bad_format, "keyd's status is malformed");
    std::vector<share_route> routes;
    for (const auto& site : volume.sites) routes.push_back(share_route{site, {}});
    for (const auto& link : status["links"])
        for (auto& route : routes)
            if (link.value("peer", std::string()) == route.site)
                route.nodes = link.value("relays", std::vector<std::string>());
    for (const auto& [node, sites] : placement_breaches(own_site, routes, volume.threshold)) {
        co_return fail(errc::denied,
                       fmt::format("{} has seen the key of {}, and {} shares give the data back: nothing is written "
                                   "over these links (warifu key status --json: links[].relays)",
                                   node, fmt::join(sites, " and "), volume.threshold));
    }
    co_return result<void>{};
}

}  // namespace

volume_session::~volume_session() = default;

task<std::unique_ptr<volume_session>> volume_session::connect(asio::io_context& core, volume_config volume,
                                                              site_config site, session_options options) {
    CO_TRY_VOID(check_sites(volume, site, options));
    CO_TRY(auto keys, co_await keyd_client::connect(site.keyd.socket.string()));
    if (options.mode == open_mode::write) CO_TRY_VOID(co_await check_routes(*keys, site.name, volume));
    std::unique_ptr<volume_session> session(new volume_session);
    session->keys_ = std::move(keys);
    session->own_site_ = site.name;
    const auto process = random_uuid<process_id>();
    for (const auto& name : volume.sites) {
        member one;
        one.name = name;
        one.local = name == site.name;
        if (options.from.empty() || std::ranges::find(options.from, name) != options.from.end()) {
            remote_store_options remote;
            remote.volume = volume.id;
            remote.own_site = site.name;
            remote.peer_site = name;
            remote.process = process;
            if (one.local) {
                remote.unix_path = site.server.socket.string();
            } else {
                const auto* link = site.link_to(name);
                remote.host = link->address.host;
                remote.port = link->address.port;
                remote.broker = session->keys_;
            }
            one.store = std::make_shared<remote_store>(core.get_executor(), std::move(remote));
        }
        session->members_.push_back(std::move(one));
    }
    co_return session;
}

claim volume_session::strength() const {
    return std::min(volume_->status().strength, keys_->strength());
}

volume_options volume_session::options_for(asio::any_io_executor core, const volume_config& config,
                                           const session_options& options) const {
    volume_options out;
    out.id = config.id;
    out.threshold = config.threshold;
    for (const auto& one : members_) out.sites.push_back(volume_site{one.name, one.store});
    out.mode = options.mode;
    out.takeover = options.takeover;
    out.follow = options.follow;
    out.newest = options.newest;
    out.memory_size = options.memory_size;
    out.pad_claim = keys_->strength();
    if (config.randomness == "pool") out.randomness = std::make_shared<random_stock>(core, keys_);
    return out;
}

task<std::unique_ptr<volume_session>> volume_session::open(asio::io_context& core, volume_config config,
                                                           site_config site, session_options options) {
    CO_TRY(auto session, co_await connect(core, config, site, options));
    // Sites that are up get their chance to answer before the volume decides who is silent.
    const unsigned site_count = static_cast<unsigned>(config.sites.size());
    unsigned connected = co_await session->connected_by(deadline_in_ms(first_contact_ms));
    const deadline last = deadline_in_ms(options.patient ? patient_contact_ms : 0);
    while (connected < promise_count_min(config.threshold, site_count) && steady_clock::now() < last)
        connected = co_await session->connected_by(deadline_in_ms(contact_look_ms));
    auto opened = co_await volume::open(core, session->options_for(core.get_executor(), config, options));
    if (!opened) {
        co_await session->disconnect();
        co_return fail(std::move(opened).error());
    }
    session->volume_ = std::move(*opened);
    for (const auto& one : session->members_)
        if (one.store)
            one.store->on_change([opened_volume = session->volume_.get()](bool) { opened_volume->site_changed(); });
    co_return session;
}

awaitable<unsigned> volume_session::connected_by(deadline until) {
    unsigned count = 0;
    for (const auto& one : members_)
        if (one.store && co_await one.store->wait_connected(until)) ++count;
    co_return count;
}

task<> volume_session::create(asio::io_context& core, volume_config config, site_config site) {
    const session_options options;
    CO_TRY(auto session, co_await connect(core, config, site, options));
    const deadline until = deadline_in_ms(first_contact_ms);
    result<void> outcome;
    for (const auto& one : session->members_) {
        if (outcome && !co_await one.store->wait_connected(until)) {
            const error why = one.store->last_error();
            outcome = fail(why.code, fmt::format("{}: {}", one.name, why.text.empty() ? why.message() : why.text));
        }
    }
    if (outcome) outcome = co_await volume::create(core, session->options_for(core.get_executor(), config, options));
    co_await session->disconnect();
    co_return outcome;
}

std::vector<std::string> volume_session::waiting_for_key() const {
    std::vector<std::string> out;
    for (const auto& one : members_)
        if ((one.store && one.store->waits_for_key()) || short_links_.contains(one.name)) out.push_back(one.name);
    return out;
}

task<volume_session::set_aside> volume_session::reserve_key(std::uint64_t wanted, std::uint64_t needed) {
    set_aside found{wanted, deadline::max()};
    std::set<std::string> in_view, short_links;
    for (const auto& site : volume_->status().sites) {
        const auto link = std::ranges::find(members_, site.name, &member::name);
        if (!site.in_view || link == members_.end() || link->local || !link->store) continue;
        const std::uint64_t in_hand = link->store->counters().pad_in_hand;
        in_view.insert(site.name);
        reserved_links_.insert(site.name);
        CO_TRY(const std::uint64_t size,
               co_await keys_->reserve({own_site_, site.name}, wanted > in_hand ? wanted - in_hand : 0));
        if (size + in_hand < needed) short_links.insert(site.name);
        found.least = std::min(found.least, size + in_hand);
        if (size + in_hand >= wanted) continue;
        CO_TRY(const pad_broker::stock stock, co_await keys_->available(site.name));
        auto& last = arrivals_[site.name];
        const std::uint64_t there = stock.outbound + in_hand;  // what comes may be claimed at once
        if (there > last.there) last.at = steady_clock::now();
        last.there = there;
        found.key_at = std::min(found.key_at, last.at);
    }
    if (found.least >= wanted) found.key_at = wanted == 0 ? deadline{} : steady_clock::now();
    for (auto peer = reserved_links_.begin(); peer != reserved_links_.end();) {
        if (!in_view.contains(*peer)) CO_TRY_VOID(co_await keys_->reserve({own_site_, *peer}, 0));
        peer = in_view.contains(*peer) ? std::next(peer) : reserved_links_.erase(peer);
    }
    short_links_ = std::move(short_links);
    co_return found;
}

awaitable<std::vector<link_stock>> volume_session::stocks() {
    std::vector<link_stock> out;
    for (const auto& one : members_) {
        if (one.local) continue;
        link_stock stock;
        stock.peer = one.name;
        const auto available = co_await keys_->available(one.name);
        stock.known = available.has_value();
        if (available) {
            stock.outbound = available->outbound;
            stock.inbound = available->inbound;
        }
        if (one.store) {
            const auto counters = one.store->counters();
            stock.sent = counters.pad_sent;
            stock.received = counters.pad_received;
        }
        out.push_back(std::move(stock));
    }
    co_return out;
}

awaitable<void> volume_session::disconnect() {
    const deadline until = deadline_in_ms(disconnect_ms);
    for (const auto& one : members_)
        if (one.store) co_await one.store->stop(until);
}

task<> volume_session::close() {
    for (const auto& one : members_)
        if (one.store) one.store->on_change({});
    auto closed = co_await volume_->close();
    volume_.reset();
    co_await disconnect();
    // Stores and keys belong to this thread; whoever destroys the session may be another one.
    members_.clear();
    keys_.reset();
    co_return closed;
}

}  // namespace warifu
