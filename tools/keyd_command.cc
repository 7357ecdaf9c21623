// warifu keyd: one site's key manager.

#include <cerrno>
#include <grp.h>

#include "fs/config/config.h"
#include "keyd/daemon/keyd.h"
#include "keyd/etsi014/etsi014_client.h"
#include "tools/daemon.h"
#include "tools/exit_code.h"

namespace warifu {
namespace {

result<gid_t> group_id(const std::string& name) {
    errno = 0;
    const auto* found = ::getgrnam(name.c_str());
    if (found == nullptr) return fail(errc::not_found, "$.keyd.group: there is no group " + name);
    return found->gr_gid;
}

keyd_link link_of(const site_config& site, const link_config& link) {
    keyd_link out;
    out.peer = link.peer;
    out.control = link.control;
    out.strength = link.kme->strength;
    out.stock = site.keyd.stock;
    out.key_size = link.kme->key_size;
    etsi014_options options;
    options.urls = link.kme->urls;
    options.ca_file = link.kme->ca;
    options.certificate_file = link.kme->certificate;
    options.key_file = link.kme->key;
    options.own_sae = link.kme->own_sae;
    options.peer_sae = link.kme->peer_sae;
    out.connect_kme = [options](asio::any_io_executor core) -> result<std::shared_ptr<key_delivery>> {
        TRY(auto client, etsi014_client::create(std::move(core), options));
        return std::shared_ptr<key_delivery>(std::move(client));
    };
    return out;
}

result<int> run(const std::filesystem::path& config, const std::string& metrics, const daemon_options& daemon,
                ready_signal& ready) {
    TRY(const auto site, load_site_config(config));
    TRY_VOID(prepare_daemon(daemon, site.name + " keyd"));
    keyd_options options;
    options.site = site.name;
    options.directory = site.keyd.pads.string();
    options.socket_path = site.keyd.socket.string();
    options.control_reserve = site.keyd.reserve;
    options.metrics = metrics.empty() ? site.keyd.metrics : metrics;
    if (!site.keyd.group.empty()) {
        TRY(options.group, group_id(site.keyd.group));
    }
    if (site.keyd.random) {
        options.random.emplace();
        options.random->device = site.keyd.random->device.string();
        options.random->strength = site.keyd.random->strength;
        options.random->min_entropy = site.keyd.random->entropy_bits;
        options.random->target = site.keyd.random->target;
    }
    options.listen = site.keyd.listen;
    for (const auto& link : site.links) {
        options.peers.push_back(link.peer);
        if (link.kme) options.links.push_back(link_of(site, link));
    }
    auto ended = run_keyd(options, [&ready] { ready.ready(); });
    forget_daemon(daemon);
    if (!ended) return fail(std::move(ended).error());
    return exit_ok;
}

}  // namespace

void add_keyd_command(cli& c) {
    auto* command = cli::command(c.app, "keyd", "Keep a site's key (a daemon; stays in the foreground)",
                                 "  warifu keyd /etc/warifu/site.json\n"
                                 "  warifu keyd /etc/warifu/site.json --metrics 127.0.0.1:9109   for Prometheus");
    struct arguments {
        std::filesystem::path config;
        std::string metrics;
        daemon_options daemon;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("CONFIG", given->config, "the site's site.json")->required();
    command->add_option("--metrics", given->metrics, "ADDRESS:PORT for OpenMetrics at /metrics (default: site.json's)");
    add_daemon_options(command, given->daemon);
    c.run(command, [given]() -> result<int> {
        ready_signal ready(given->daemon.ready_fd);
        auto outcome = run(given->config, given->metrics, given->daemon, ready);
        if (!outcome) ready.failed(outcome.error());
        return outcome;
    });
}

}  // namespace warifu
