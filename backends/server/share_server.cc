#include "backends/server/share_server.h"

#include "backends/server/share_service.h"

namespace warifu {
namespace {

constexpr std::uint32_t status_answer_size_max = 256U << 10U;

}  // namespace

share_server::share_server(asio::any_io_executor executor, share_server_options options)
    : service_(std::make_shared<share_service>(std::move(executor), std::move(options))) {}

share_server::~share_server() {
    service_->cut();
}

result<void> share_server::start() {
    return service_->start();
}

std::uint16_t share_server::port() const {
    return service_->port();
}

awaitable<void> share_server::stop(deadline until) {
    return service_->stop(until);
}

server_status share_server::status() const {
    return service_->status();
}

task<> run_share_server(share_server_options options, std::shared_ptr<event> stop, std::uint32_t drain_ms) {
    share_server server(co_await asio::this_coro::executor, std::move(options));
    CO_TRY_VOID(server.start());
    co_await stop->wait();
    co_await server.stop(deadline_in_ms(drain_ms));
    co_return result<void>{};
}

task<share_server_admin> share_server_admin::connect(std::string unix_path, std::string site, deadline until) {
    CO_TRY(auto socket, co_await connect_unix(std::move(unix_path), until));
    initiator_options how;
    how.mode = transport::plain;
    how.own_site = site;
    how.peer_site = site;
    how.process = random_uuid<process_id>();
    CO_TRY(auto peer, co_await greet(socket, std::move(how), until));
    co_return share_server_admin(connection::start(socket, std::move(peer), connection_options{}));
}

task<server_status> share_server_admin::status() {
    CO_TRY(const auto answer, co_await connection_->call(verb::server_status, {}, status_answer_size_max,
                                                         deadline_in_ms(request_timeout_ms)));
    co_return decode_server_status(answer.body());
}

task<> share_server_admin::create_volume(volume_id volume, std::string spec) {
    create_volume_request request;
    request.volume = volume;
    request.spec = std::move(spec);
    CO_TRY(const auto answer, co_await connection_->call(verb::create_volume, encode_create_volume_request(request), 0,
                                                         deadline_in_ms(request_timeout_ms)));
    co_return result<void>{};
}

task<> share_server_admin::reload_access() {
    CO_TRY(const auto answer,
           co_await connection_->call(verb::reload_access, {}, 0, deadline_in_ms(request_timeout_ms)));
    co_return result<void>{};
}

awaitable<void> share_server_admin::close() {
    return connection_->close(deadline_in_ms(request_timeout_ms));
}

}  // namespace warifu
