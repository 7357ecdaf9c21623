// warifu dealer: plays the QKD links of a local deployment.

#include <algorithm>
#include <sys/resource.h>

#include "fs/config/config.h"
#include "keyd/dealer.h"
#include "tools/daemon.h"
#include "tools/deployment.h"
#include "tools/exit_code.h"
#include "tools/process.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

/// Every site below DIR/sites: the volume's own list may not be written yet.
result<dealer_options> options_of(const deployment_layout& layout) {
    TRY(const auto settings, load_deployment_config(layout.deployment_file()));
    dealer_options options;
    options.target = settings.pads_target;
    options.rate_bits = settings.link_rate;
    options.is_paused = [file = layout.dealer_pause()] {
        const auto who = running_process(file);
        return who && *who;
    };
    std::vector<path_fs::path> files;
    std::error_code ec;
    for (const auto& entry : path_fs::directory_iterator(layout.root() / "sites", ec))
        if (path_fs::exists(entry.path() / "site.json", ec)) files.push_back(entry.path() / "site.json");
    std::ranges::sort(files);
    for (const auto& file : files) {
        TRY(const auto site, load_site_config(file));
        for (const auto& other : options.sites)
            if (site.link_to(other.site) != nullptr) options.links.emplace_back(other.site, site.name);
        options.sites.push_back({site.name, (site.keyd.pads / "incoming").string(), site.keyd.socket.string()});
    }
    return options;
}

result<int> run(const path_fs::path& directory, const daemon_options& daemon, ready_signal& ready) {
    TRY(const auto options, options_of(deployment_layout(directory)));
    TRY_VOID(prepare_daemon(daemon, "dealer"));
    // A real link makes its key elsewhere: the sites' own work goes first. Who waits for key leaves the dealer time.
    ::setpriority(PRIO_PROCESS, 0, 15);
    auto ended = run_dealer(options, [&ready] { ready.ready(); });
    forget_daemon(daemon);
    if (!ended) return fail(std::move(ended).error());
    return exit_ok;
}

}  // namespace

void add_dealer_command(cli& c) {
    auto* command =
        cli::command(c.app, "dealer", "Deal simulated key to the sites of a deployment ('warifu up' starts it)",
                     "  warifu dealer /srv/demo");
    struct arguments {
        path_fs::path directory;
        daemon_options daemon;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("DIR", given->directory, "directory of the deployment")->required();
    add_daemon_options(command, given->daemon);
    c.run(command, [given]() -> result<int> {
        ready_signal ready(given->daemon.ready_fd);
        auto outcome = run(given->directory, given->daemon, ready);
        if (!outcome) ready.failed(outcome.error());
        return outcome;
    });
}

}  // namespace warifu
