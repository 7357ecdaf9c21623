// warifu access grant|revoke|list: a site's access list.

#include <algorithm>
#include <fmt/format.h>

#include "backends/server/share_server.h"
#include "tools/cli.h"
#include "tools/core_thread.h"
#include "tools/deployment.h"
#include "tools/exit_code.h"
#include "tools/text.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

struct access_arguments {
    path_fs::path site_file;  // site.json, or a deployment directory with --at
    std::string at;           // which site of a deployment
    std::string volume, site, word;
    bool json = false;
};

result<site_config> find(const access_arguments& given) {
    std::error_code ec;
    if (!path_fs::is_directory(given.site_file, ec)) return load_site_config(given.site_file);
    if (given.at.empty())
        return fail(errc::bad_argument, "a deployment has several sites: say at which one with --at NAME");
    TRY(const auto place, find_volume(given.site_file));
    return find_site(place, given.at);
}

/// Tells a running server; it also looks for itself within a second.
void tell_server(const site_config& site) {
    core_thread core;
    (void)core.wait_for([](const site_config& at) -> awaitable<bool> {
        auto admin = co_await share_server_admin::connect(at.server.socket.string(), at.name, deadline_in_ms(2'000));
        if (!admin) co_return false;
        const auto told = co_await admin->reload_access();
        co_await admin->close();
        co_return told.has_value();
    }(site));
}

result<int> change(const access_arguments& given, grant allowed) {
    TRY(const auto site, find(given));
    const auto bytes = uuid_from_text(given.volume);
    if (!bytes)
        return fail(errc::bad_argument, fmt::format("volume {}: {}", given.volume.substr(0, 60), bytes.error().text));
    if (!valid_site_name(given.site)) return fail(errc::bad_argument, "the site's name is not a site name");
    TRY(auto access, load_access_config(site.server.access));
    access.set(volume_id{*bytes}, given.site, allowed);
    TRY_VOID(save(access, site.server.access));
    tell_server(site);
    fmt::print("{}: {} has {} access to volume {}\n", site.name, given.site, to_string(allowed), given.volume);
    return exit_ok;
}

result<int> list(const access_arguments& given) {
    TRY(const auto site, find(given));
    TRY(const auto access, load_access_config(site.server.access));
    if (given.json) {
        fmt::print("{}", to_json_text(access));
        return exit_ok;
    }
    std::vector<std::vector<std::string>> rows = {{"SITE", "ACCESS", "VOLUME"}};
    for (const auto& entry : access.entries)
        rows.push_back({entry.site, std::string(to_string(entry.allowed)), to_text(entry.volume)});
    fmt::print("{}", access.entries.empty() ? std::string("nobody has access\n") : table_text(rows));
    return exit_ok;
}

void add_common(CLI::App* command, const std::shared_ptr<access_arguments>& given) {
    command
        ->add_option("SITE.JSON", given->site_file, "the site whose list it is (or a deployment directory, with --at)")
        ->required();
    command->add_option("--at", given->at, "the site, when a deployment directory is given");
}

}  // namespace

void add_access_commands(cli& c) {
    auto* access =
        cli::command(c.app, "access", "Who may use a site's shares",
                     "  warifu access grant /etc/warifu/site.json 6f1d3a52-93b7-4c1e-8a55-0d9f2b6c7e10 site1 write\n"
                     "  warifu access list /etc/warifu/site.json");
    access->require_subcommand(1);
    const auto given = std::make_shared<access_arguments>();
    auto* granting =
        cli::command(*access, "grant", "Let another site read or write a volume's shares here",
                     "  warifu access grant /etc/warifu/site.json 6f1d3a52-93b7-4c1e-8a55-0d9f2b6c7e10 site3 read");
    add_common(granting, given);
    granting->add_option("VOLUME", given->volume, "the volume's id (in its volume.json)")->required();
    granting->add_option("SITE", given->site, "who gets access")->required();
    granting->add_option("GRANT", given->word, "read or write")->required()->check(CLI::IsMember({"read", "write"}));
    c.run(granting, [given]() -> result<int> {
        TRY(const auto allowed, parse_grant(given->word));
        return change(*given, allowed);
    });
    auto* revoking =
        cli::command(*access, "revoke", "Take a grant back; it counts at the next request",
                     "  warifu access revoke /etc/warifu/site.json 6f1d3a52-93b7-4c1e-8a55-0d9f2b6c7e10 site3");
    add_common(revoking, given);
    revoking->add_option("VOLUME", given->volume, "the volume's id")->required();
    revoking->add_option("SITE", given->site, "who loses access")->required();
    c.run(revoking, [given] { return change(*given, grant::none); });
    auto* listing =
        cli::command(*access, "list", "Show a site's access list", "  warifu access list /etc/warifu/site.json --json");
    add_common(listing, given);
    listing->add_flag("--json", given->json, "as JSON");
    c.run(listing, [given] { return list(*given); });
}

}  // namespace warifu
