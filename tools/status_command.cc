// warifu status.

#include <fmt/format.h>

#include "tools/cli.h"
#include "tools/exit_code.h"
#include "tools/status_report.h"

namespace warifu {

void add_status_command(cli& c) {
    auto* command = cli::command(
        c.app, "status", "Sites, links, key stock; what can be written and read back now",
        "  warifu status /srv/demo\n"
        "  warifu status /etc/warifu/volume.json --json | jq .volume.writable\n"
        "Exit codes: 0 everything is up; 4 usable, but something is down; 9 not mounted or too few sites.");
    struct arguments {
        std::filesystem::path config;
        bool json = false;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("CONFIG", given->config, "a deployment directory or volume.json")->required();
    command->add_flag("--json", given->json, "as JSON");
    c.run(command, [given]() -> result<int> {
        TRY(const auto place, find_volume(given->config));
        TRY(const auto report, status_report(place));
        if (given->json)
            fmt::print("{}\n", report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
        else
            fmt::print("{}", status_table(report));
        if (report["healthy"] == true) return exit_ok;
        return report["usable"] == true ? exit_degraded : exit_stopped;
    });
}

}  // namespace warifu
