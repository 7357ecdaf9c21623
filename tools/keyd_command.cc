// warifu keyd: one site's key manager.

#include "fs/config/config.h"
#include "keyd/daemon/keyd.h"
#include "tools/daemon.h"
#include "tools/exit_code.h"

namespace warifu {
namespace {

result<int> run(const std::filesystem::path& config, const daemon_options& daemon, ready_signal& ready) {
    TRY(const auto site, load_site_config(config));
    TRY_VOID(prepare_daemon(daemon, site.name + " keyd"));
    keyd_options options;
    options.site = site.name;
    options.directory = site.keyd.pads.string();
    options.socket_path = site.keyd.socket.string();
    options.control_reserve = site.keyd.reserve;
    for (const auto& link : site.links) options.peers.push_back(link.peer);
    auto ended = run_keyd(options, [&ready] { ready.ready(); });
    forget_daemon(daemon);
    if (!ended) return fail(std::move(ended).error());
    return exit_ok;
}

}  // namespace

void add_keyd_command(cli& c) {
    auto* command = cli::command(c.app, "keyd", "Keep a site's key (a daemon; stays in the foreground)",
                                 "  warifu keyd /etc/warifu/site.json");
    struct arguments {
        std::filesystem::path config;
        daemon_options daemon;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("CONFIG", given->config, "the site's site.json")->required();
    add_daemon_options(command, given->daemon);
    c.run(command, [given]() -> result<int> {
        ready_signal ready(given->daemon.ready_fd);
        auto outcome = run(given->config, given->daemon, ready);
        if (!outcome) ready.failed(outcome.error());
        return outcome;
    });
}

}  // namespace warifu
