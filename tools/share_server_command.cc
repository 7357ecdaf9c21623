// warifu share-server: one site's share server over its sector store.

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "backends/block/block_store.h"
#include "backends/server/share_server.h"
#include "fs/config/config.h"
#include "keyd/client.h"
#include "tools/daemon.h"
#include "tools/exit_code.h"

namespace warifu {
namespace {

constexpr std::uint32_t drain_ms = 5'000;

/// All volumes of a site in its one sector store. A volume comes into being with its first record.
class store_provider final : public volume_provider {
  public:
    explicit store_provider(block_store& store) : store_(store) {}
    result<std::shared_ptr<share_store>> open(const volume_id& volume) override { return store_.open_volume(volume); }
    result<void> create(const volume_id&, const std::string&) override { return {}; }

  private:
    block_store& store_;
};

/// The access list, read again when the file changed (looked at once a second at most) or when told to. A list that
/// cannot be read any more leaves the last good one in force, and the log says so.
class access_list {
  public:
    explicit access_list(std::filesystem::path file) : file_(std::move(file)) {}

    result<void> reload() {
        checked_ = steady_clock::now();
        stamp_ = stamp_of_file();
        auto loaded = load_access_config(file_);
        if (!loaded) {
            spdlog::error("access list not read, the last one stays in force: {}", loaded.error().text);
            return fail(std::move(loaded).error());
        }
        config_ = std::move(*loaded);
        return {};
    }

    access_grant of(const volume_id& volume, const std::string& site) {
        if (steady_clock::now() - checked_ > std::chrono::seconds(1)) {
            checked_ = steady_clock::now();
            if (stamp_of_file() != stamp_) (void)reload();
        }
        switch (config_.of(volume, site)) {
            case grant::none:
                return access_grant::none;
            case grant::read:
                return access_grant::read;
            case grant::write:
                return access_grant::write;
        }
        return access_grant::none;
    }

  private:
    struct stamp {
        std::int64_t seconds = 0, nanoseconds = 0, size = -1;
        std::uint64_t number = 0;
        bool operator==(const stamp&) const = default;
    };
    stamp stamp_of_file() const {
        struct stat found{};
        if (::stat(file_.c_str(), &found) != 0) return {};
        return {found.st_mtim.tv_sec, found.st_mtim.tv_nsec, found.st_size, found.st_ino};
    }

    std::filesystem::path file_;
    access_config config_;
    stamp stamp_;
    steady_clock::time_point checked_;
};

/// keyd and share server are started together: the first moments it may not be there yet.
task<std::shared_ptr<pad_broker>> connect_keyd(std::string socket) {
    const deadline until = deadline_in_ms(request_timeout_ms);
    for (;;) {
        auto keys = co_await keyd_client::connect(socket);
        if (keys) co_return std::shared_ptr<pad_broker>(std::move(*keys));
        if (keys.error().code != errc::unreachable || steady_clock::now() >= until) co_return fail(keys.error());
        co_await sleep_for(std::chrono::milliseconds(100));
    }
}

task<> serve(asio::io_context& core, std::shared_ptr<event> stop, daemon_ready ready, site_config site) {
    const auto access = std::make_shared<access_list>(site.server.access);
    CO_TRY_VOID(access->reload());
    block_store_options store_options;
    store_options.path = site.server.store.string();
    CO_TRY(std::shared_ptr<pad_broker> keys, co_await connect_keyd(site.keyd.socket.string()));
    CO_TRY(const auto store, co_await block_store::open(core, store_options));
    share_server_options options;
    options.site = site.name;
    options.unix_path = site.server.socket.string();
    options.listen_host = site.server.listen.host;
    options.listen_port = site.server.listen.port;
    options.broker = std::move(keys);
    options.volumes = std::make_shared<store_provider>(*store);
    options.access = [access](const volume_id& volume, const std::string& peer) { return access->of(volume, peer); };
    options.reload_access = [access] { return access->reload(); };
    {
        share_server server(core.get_executor(), std::move(options));
        auto started = server.start();
        if (!started) {
            (void)co_await store->close();
            co_return fail(std::move(started).error());
        }
        ready();
        co_await stop->wait();
        co_await server.stop(deadline_in_ms(drain_ms));
    }
    co_return co_await store->close();
}

}  // namespace

void add_share_server_command(cli& c) {
    auto* command = cli::command(c.app, "share-server", "Serve a site's shares (a daemon; stays in the foreground)",
                                 "  warifu share-server /etc/warifu/site.json");
    struct arguments {
        std::filesystem::path config;
        daemon_options daemon;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("CONFIG", given->config, "the site's site.json")->required();
    add_daemon_options(command, given->daemon);
    c.run(command, [given]() -> result<int> {
        auto site = load_site_config(given->config);
        if (!site) {
            ready_signal(given->daemon.ready_fd).failed(site.error());
            return fail(std::move(site).error());
        }
        return run_daemon(given->daemon, site->name + " share-server",
                          [&site](asio::io_context& core, std::shared_ptr<event> stop, daemon_ready ready) {
                              return serve(core, std::move(stop), std::move(ready), *site);
                          });
    });
}

}  // namespace warifu
