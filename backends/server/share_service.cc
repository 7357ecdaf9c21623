#include "backends/server/share_service.h"

#include <sys/stat.h>
#include <unistd.h>

namespace warifu {

share_service::share_service(asio::any_io_executor executor, share_server_options options)
    : executor_(executor), options_(std::move(options)), tcp_(executor), unix_(executor), empty_(executor) {
    empty_.set();
    counters_.site = options_.site;
    counters_.process = process_;
}

result<void> share_service::listen_tcp() {
    boost::system::error_code ec;
    const auto address = asio::ip::make_address(options_.listen_host, ec);
    if (ec) return fail(errc::bad_argument, "'" + options_.listen_host + "' is not an address");
    if (!options_.broker) return fail(errc::bad_argument, "a network address needs a pad broker");
    const asio::ip::tcp::endpoint endpoint(address, options_.listen_port);
    const std::string name = options_.listen_host + ":" + std::to_string(options_.listen_port);
    tcp_.open(endpoint.protocol(), ec);
    if (!ec) tcp_.set_option(asio::socket_base::reuse_address(true), ec);
    if (!ec) tcp_.bind(endpoint, ec);
    if (!ec) tcp_.listen(asio::socket_base::max_listen_connections, ec);
    if (ec == asio::error::address_in_use) return fail(errc::busy, name + " is in use");
    if (ec) return fail(errc::io_error, name + ": " + ec.message());
    return {};
}

result<void> share_service::listen_unix() {
    using asio::local::stream_protocol;
    constexpr std::size_t path_size_max = 107;  // sockaddr_un
    const std::string& path = options_.unix_path;
    if (path.size() > path_size_max) return fail(errc::bad_argument, path + ": a socket path is at most 107 bytes");
    boost::system::error_code ec;
    stream_protocol::socket probe(executor_);
    probe.connect(stream_protocol::endpoint(path), ec);
    if (!ec) return fail(errc::busy, path + " is served by another process");
    struct stat found{};
    const bool is_left =
        ec == asio::error::connection_refused && ::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode);
    if (is_left) ::unlink(path.c_str());  // by a process that died
    unix_.open(stream_protocol(), ec);
    if (!ec) unix_.bind(stream_protocol::endpoint(path), ec);
    unix_bound_ = !ec;
    if (!ec && ::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0) ec.assign(errno, boost::system::system_category());
    if (!ec) unix_.listen(asio::socket_base::max_listen_connections, ec);
    if (ec == asio::error::address_in_use) return fail(errc::busy, path + " is in use");
    if (ec) return fail(errc::io_error, path + ": " + ec.message());
    return {};
}

result<void> share_service::start() {
    if (!options_.volumes || !options_.access)
        return fail(errc::bad_argument, "a share server needs volumes and an access list");
    if (!options_.unix_path.empty()) TRY_VOID(listen_unix());
    if (!options_.listen_host.empty()) TRY_VOID(listen_tcp());
    const auto self = shared_from_this();
    if (unix_.is_open()) asio::co_spawn(executor_, accept_loop(self, unix_, transport::plain), asio::detached);
    if (tcp_.is_open()) asio::co_spawn(executor_, accept_loop(self, tcp_, transport::otp), asio::detached);
    return {};
}

std::uint16_t share_service::port() const {
    boost::system::error_code ec;
    const auto endpoint = tcp_.local_endpoint(ec);
    return ec ? std::uint16_t{0} : endpoint.port();
}

template <typename Acceptor>
awaitable<void> share_service::accept_loop(std::shared_ptr<share_service> self, Acceptor& acceptor, transport mode) {
    while (!stopping_) {
        typename Acceptor::protocol_type::socket socket(executor_);
        const auto [ec] = co_await acceptor.async_accept(socket, use_values);
        if (stopping_ || ec == asio::error::operation_aborted) break;
        if (ec) {  // out of descriptors, most likely: they come back
            co_await sleep_for(std::chrono::milliseconds(reconnect_delay_min_ms));
            continue;
        }
        ++counters_.connections_accepted;
        if (clients_.size() + greeting_.size() >= options_.connection_limit) {
            ++counters_.connections_denied;
            continue;
        }
        auto accepted = std::make_shared<stream>(stream::socket_type(std::move(socket)));
        asio::co_spawn(executor_, serve(self, std::move(accepted), mode), asio::detached);
    }
}

/// Decides before any store is opened, so that a site without a grant learns nothing of which volumes exist.
result<void> share_service::admit(transport mode, const std::string& site, const volume_id& volume) {
    if (stopping_) return fail(errc::unreachable, "the share server is stopping");
    if (mode == transport::plain) return {};
    if (options_.access(volume, site) == access_grant::none) return fail(errc::denied, "no grant");
    const auto is_same = [&](const auto& who) { return !who->is_local && who->site == site; };
    if (std::ranges::count_if(clients_, is_same) >= static_cast<std::ptrdiff_t>(connection_count_per_site_max))
        return fail(errc::busy, "too many connections of this site");
    const auto store = options_.volumes->open(volume);
    if (!store) return fail(store.error().code);
    return {};
}

result<std::shared_ptr<client>> share_service::make_client(const greeted& peer) {
    auto who = std::make_shared<client>();
    who->site = peer.peer_site;
    who->volume = peer.volume;
    who->is_local = peer.mode == transport::plain;
    if (!peer.volume.is_zero()) {
        TRY(who->store, options_.volumes->open(peer.volume));
    }
    return who;
}

awaitable<void> share_service::serve(std::shared_ptr<share_service> self, std::shared_ptr<stream> socket,
                                     transport mode) {
    responder_options how;
    how.mode = mode;
    how.own_site = options_.site;
    how.process = process_;
    how.broker = mode == transport::otp ? options_.broker : nullptr;
    how.admit = [this, mode](const std::string& site, const volume_id& volume) -> result<void> {
        TRY_VOID(admit(mode, site, volume));
        if (mode == transport::otp || volume.is_zero()) return {};
        if (const auto store = options_.volumes->open(volume); !store) return fail(store.error());
        return {};
    };
    greeting_.insert(socket);
    auto peer = co_await answer_greeting(socket, std::move(how), deadline_in_ms(greeting_timeout_ms));
    greeting_.erase(socket);
    if (!peer) {
        const errc code = peer.error().code;
        const bool is_denial = code == errc::denied || code == errc::not_found || code == errc::busy;
        ++(is_denial ? counters_.connections_denied : counters_.greetings_refused);
        co_return;
    }
    const auto who = make_client(*peer);
    if (!who || stopping_) co_return;  // closing the socket is answer enough: the peer connects again
    begin(socket, std::move(*peer), *who);
}

void share_service::begin(std::shared_ptr<stream> socket, greeted peer, std::shared_ptr<client> who) {
    clients_.insert(who);
    empty_.reset();
    connection_options options;
    options.key_wait_ms = options_.key_wait;
    // The connection holds these, so they must not hold it.
    options.on_request = [self = shared_from_this(), who](std::shared_ptr<connection> from, incoming request) {
        asio::co_spawn(self->executor_, self->handle(self, who, std::move(from), std::move(request)), asio::detached);
    };
    options.on_closed = [self = shared_from_this(), who](const error& why) { self->ended(who, why); };
    who->link = connection::start(std::move(socket), std::move(peer), std::move(options));
}

void share_service::ended(std::shared_ptr<client> who, const error& why) {
    if (why.code != errc::cancelled) ++counters_.connections_failed;
    if (who->link) {
        const auto c = who->link->counters();
        counters_.pad_sent += c.pad_sent;
        counters_.pad_received += c.pad_received;
        counters_.verification_failures += c.frames.forged + c.frames.replayed + c.frames.out_of_place;
    }
    who->link.reset();
    clients_.erase(who);
    if (clients_.empty()) empty_.set();
}

result<void> share_service::check_access(const client& who, verb what) const {
    if (is_admin_verb(what)) {
        if (!who.is_local) return fail(errc::denied, "administration is for this machine only");
        return {};
    }
    if (!who.store) return fail(errc::bad_argument, "this connection has no volume");
    if (who.is_local) return {};
    const access_grant grant = options_.access(who.volume, who.site);
    if (grant == access_grant::write || (grant == access_grant::read && is_read_verb(what))) return {};
    return fail(errc::denied, "site " + who.site + " has no grant for this");
}

awaitable<void> share_service::handle(std::shared_ptr<share_service> self, std::shared_ptr<client> who,
                                      std::shared_ptr<connection> from, incoming request) {
    ++counters_.requests;
    ++who->requests;
    const message_header header = request.header;
    auto answer = co_await carry_out(who, std::move(request));
    if (!answer) ++counters_.requests_failed;
    from->respond(header, std::move(answer));
}

task<message_body> share_service::carry_out(std::shared_ptr<client> who, incoming request) {
    if (auto allowed = check_access(*who, request.header.what); !allowed) {
        if (allowed.error().code == errc::denied) ++counters_.requests_denied;
        co_return fail(std::move(allowed).error());
    }
    if (is_admin_verb(request.header.what)) co_return administer(std::move(request));
    co_return co_await serve_store_request(who->store, std::move(request));
}

result<message_body> share_service::administer(incoming request) {
    switch (request.header.what) {
        case verb::server_status: return encode_server_status(status());
        case verb::create_volume: {
            TRY(const auto decoded, decode_create_volume_request(request.body()));
            TRY_VOID(options_.volumes->create(decoded.volume, decoded.spec));
            return message_body{};
        }
        case verb::reload_access: {
            if (options_.reload_access) TRY_VOID(options_.reload_access());
            return message_body{};
        }
        default: return fail(errc::unsupported, "not a request to a share server");
    }
}

server_status share_service::status() const {
    server_status out = counters_;
    const auto now = steady_clock::now();
    const auto ms_since = [now](steady_clock::time_point then) {
        return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now - then).count());
    };
    out.uptime_ms = ms_since(since_);
    for (const auto& who : clients_) {
        if (!who->link) continue;
        const auto c = who->link->counters();
        connection_status entry;
        entry.peer = who->is_local ? "local" : who->site;
        entry.volume = who->volume;
        entry.mode = who->link->mode();
        entry.age_ms = ms_since(who->since);
        entry.requests = who->requests;
        entry.requests_in_flight = who->link->requests_in_flight();
        entry.pad_sent = c.pad_sent;
        entry.pad_received = c.pad_received;
        out.pad_sent += c.pad_sent;
        out.pad_received += c.pad_received;
        out.connections.push_back(std::move(entry));
    }
    return out;
}

awaitable<void> share_service::stop(deadline until) {
    const auto self = shared_from_this();
    stopping_ = true;
    boost::system::error_code ignored;
    tcp_.close(ignored);
    if (std::exchange(unix_bound_, false)) ::unlink(options_.unix_path.c_str());
    unix_.close(ignored);
    for (const auto& socket : greeting_) socket->close();
    const auto close = [](std::shared_ptr<connection> link, deadline when) -> awaitable<void> {
        co_await link->close(when);
    };
    for (const auto& who : std::set(clients_))
        if (who->link) asio::co_spawn(executor_, close(who->link, until), asio::detached);
    if (!co_await empty_.wait(until + std::chrono::seconds(1))) cut();
}

void share_service::cut() {
    stopping_ = true;
    boost::system::error_code ignored;
    tcp_.close(ignored);
    if (std::exchange(unix_bound_, false)) ::unlink(options_.unix_path.c_str());
    unix_.close(ignored);
    for (const auto& socket : greeting_) socket->close();
    for (const auto& who : std::set(clients_))
        if (const auto link = who->link) link->abort(error(errc::unreachable, "the share server stops"));
}

}  // namespace warifu
