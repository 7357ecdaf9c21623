#pragma once
// A site with a share server over memory stores, on loopback, for tests.

#include <unistd.h>

#include <filesystem>

#include "backends/memory/memory_store.h"
#include "backends/remote/remote_store.h"
#include "backends/server/share_server.h"
#include "keyd/memory_broker.h"

namespace warifu {

/// Stores are made on demand and live as long as the provider.
class memory_provider final : public volume_provider {
  public:
    result<std::shared_ptr<share_store>> open(const volume_id& volume) override {
        const auto found = stores.find(volume);
        if (found == stores.end()) return fail(errc::not_found, "no such volume");
        return found->second;
    }
    result<void> create(const volume_id& volume, const std::string& spec) override {
        if (spec == "broken") return fail(errc::bad_argument, "broken");
        if (stores.contains(volume)) return fail(errc::exists, "this volume exists");
        stores.emplace(volume, std::make_shared<memory_store>(capacity));
        return {};
    }
    std::map<volume_id, std::shared_ptr<share_store>> stores;
    std::uint64_t capacity = 16U << 20U;
};

struct test_site {
    asio::io_context& core;
    std::shared_ptr<pad_broker> broker;
    std::shared_ptr<memory_provider> volumes = std::make_shared<memory_provider>();
    std::map<std::string, access_grant> grants;
    unsigned reloads = 0;
    std::filesystem::path directory;
    std::uint16_t port = 0;  // kept over restarts
    std::unique_ptr<share_server> server;

    test_site(asio::io_context& c, std::shared_ptr<pad_broker> b) : core(c), broker(std::move(b)) {
        std::string pattern = (std::filesystem::temp_directory_path() / "warifu-server-XXXXXX").string();
        directory = ::mkdtemp(pattern.data());
        grants["a"] = access_grant::write;
        start();
    }
    ~test_site() {
        server.reset();
        std::filesystem::remove_all(directory);
    }
    std::string path() const { return directory / "socket"; }

    void start() {
        share_server_options options;
        options.site = "b";
        options.unix_path = path();
        options.listen_host = "127.0.0.1";
        options.listen_port = port;
        options.broker = broker;
        options.volumes = volumes;
        options.access = [this](const volume_id&, const std::string& site) {
            const auto found = grants.find(site);
            return found == grants.end() ? access_grant::none : found->second;
        };
        options.reload_access = [this]() -> result<void> {
            ++reloads;
            return {};
        };
        options.key_wait = 200;
        server = std::make_unique<share_server>(core.get_executor(), std::move(options));
        const auto started = server->start();
        if (!started) throw std::runtime_error(started.error().message());
        port = server->port();
    }
    void restart() {
        server.reset();
        start();
    }
};

inline remote_store_options remote_options(const test_site& site, volume_id volume, std::shared_ptr<pad_broker> broker,
                                           bool is_local = false) {
    remote_store_options options;
    options.volume = volume;
    options.own_site = "a";
    options.peer_site = "b";
    options.broker = std::move(broker);
    options.request_timeout = 3000;
    options.key_wait = 300;
    if (is_local) {
        options.unix_path = site.path();
    } else {
        options.host = "127.0.0.1";
        options.port = site.port;
    }
    return options;
}

}  // namespace warifu
