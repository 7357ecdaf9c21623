// warifu key status|import|deal|audit.

#include <algorithm>
#include <fmt/format.h>
#include <iostream>
#include <iterator>

#include "keyd/commands.h"
#include "tools/cli.h"
#include "tools/deployment.h"
#include "tools/exit_code.h"
#include "tools/text.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

/// The sites that a path leads to: all of a deployment, or the one of a site.json or volume.json.
result<std::vector<site_config>> sites_at(const path_fs::path& where) {
    std::error_code ec;
    if (path_fs::is_directory(where, ec)) {
        TRY(auto found, load_deployment(where));
        return std::move(found.sites);
    }
    auto site = load_site_config(where);
    if (!site && site.error().code == errc::bad_format) {
        // A volume's configuration leads to its site; when it is neither, the complaint about the site stands.
        const auto volume = load_volume_config(where);
        if (volume) site = load_site_config(volume->site);
    }
    if (!site) return fail(std::move(site).error());
    return std::vector<site_config>{std::move(*site)};
}

result<std::vector<site_config>> sites_at(const std::vector<path_fs::path>& places) {
    std::vector<site_config> sites;
    for (const auto& place : places) {
        TRY(auto more, sites_at(place));
        std::ranges::move(more, std::back_inserter(sites));
    }
    return sites;
}

/// What keyd/commands.h calls findings and unreadable, as exit codes of this program.
int exit_code_from(int outcome, int findings, int unreadable) {
    if (outcome == key_exit_good) return exit_ok;
    return outcome == key_exit_findings ? findings : unreadable;
}

struct places_arguments {
    std::vector<path_fs::path> places;
    bool json = false;
    bool watch = false;
};
constexpr auto watch_pause = std::chrono::seconds(2);

void add_status(cli& c, CLI::App& key) {
    auto* command = cli::command(key, "status", "Stock and use of key at sites whose keyd runs",
                                 "  warifu key status /srv/demo\n  warifu key status /etc/warifu/site.json --json\n"
                                 "  warifu key status /srv/demo --watch      every 2 seconds, until interrupted");
    const auto given = std::make_shared<places_arguments>();
    command->add_option("PLACE", given->places, "a deployment directory, site.json or volume.json")->required();
    auto* as_json = command->add_flag("--json", given->json, "as JSON");
    command->add_flag("--watch", given->watch, "again every 2 seconds")->excludes(as_json);
    c.run(command, [given]() -> result<int> {
        TRY(const auto sites, sites_at(given->places));
        std::vector<std::string> sockets;
        for (const auto& site : sites) sockets.push_back(site.keyd.socket.string());
        const int outcome = given->watch ? key_watch(sockets, watch_pause, [] { return true; }, std::cout, std::cerr)
                                         : key_status(sockets, given->json, std::cout, std::cerr);
        return exit_code_from(outcome, exit_failure, exit_stopped);
    });
}

void add_audit(cli& c, CLI::App& key) {
    auto* command =
        cli::command(key, "audit", "Read the ledgers: was, or could, any byte be used twice?",
                     "  warifu key audit /srv/demo\n"
                     "  warifu key audit /mnt/site1/site.json /mnt/site2/site.json   both ends against each other\n"
                     "Exit codes: 0 clean; 4 findings; 1 a ledger could not be read.");
    const auto given = std::make_shared<places_arguments>();
    command->add_option("PLACE", given->places, "a deployment directory, site.json or volume.json")->required();
    command->add_flag("--json", given->json, "as JSON");
    c.run(command, [given]() -> result<int> {
        TRY(const auto sites, sites_at(given->places));
        std::vector<std::string> directories;
        for (const auto& site : sites) directories.push_back(site.keyd.pads.string());
        return exit_code_from(key_audit(directories, given->json, std::cout, std::cerr), exit_degraded, exit_failure);
    });
}

void add_import(cli& c, CLI::App& key) {
    auto* command = cli::command(key, "import", "Hand a courier's pad files to a site's keyd",
                                 "  warifu key import /etc/warifu/site.json /media/courier/site1/*.pad\n"
                                 "The files are checked and copied; destroy the originals afterwards.");
    struct arguments {
        path_fs::path site;
        std::vector<std::string> files;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("SITE.JSON", given->site, "the site that gets the key")->required();
    command->add_option("FILE", given->files, "pad files")->required();
    c.run(command, [given]() -> result<int> {
        TRY(const auto site, load_site_config(given->site));
        return exit_code_from(key_import(site.keyd.pads.string(), given->files, std::cout, std::cerr),
                              exit_configuration, exit_failure);
    });
}

void add_deal(cli& c, CLI::App& key) {
    auto* command =
        cli::command(key, "deal", "Make simulated key for both ends of a link, as pad files for a courier",
                     "  warifu key deal site1 site2 --size 64M --count 4 --out /media/courier\n"
                     "Writes OUT/site1/*.pad and OUT/site2/*.pad: both directions, the same bytes for both ends.\n"
                     "A later delivery goes on where this one ended: --offset 256M.");
    struct arguments {
        std::string first, second, size = "64M", offset = "0";
        std::uint64_t count = 1;
        path_fs::path out;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("SITE", given->first, "one end of the link")->required();
    command->add_option("PEER", given->second, "the other end")->required();
    command->add_option("--size", given->size, "bytes of a block")->capture_default_str();
    command->add_option("--count", given->count, "blocks for each direction")->capture_default_str();
    command->add_option("--offset", given->offset, "where in the streams the first block lies")->capture_default_str();
    command->add_option("--out", given->out, "directory for the files")->required();
    c.run(command, [given]() -> result<int> {
        for (const auto& name : {given->first, given->second})
            if (!valid_site_name(name))
                return fail(errc::bad_argument, fmt::format("'{}' is not a site name", name.substr(0, 80)));
        if (given->first == given->second) return fail(errc::bad_argument, "a link has two different ends");
        TRY(const auto size, parse_size(given->size));
        TRY(const auto offset, parse_size(given->offset));
        for (const bool forward : {true, false}) {
            key_deal_options options;
            options.from = forward ? given->first : given->second;
            options.to = forward ? given->second : given->first;
            options.out_from = (given->out / options.from).string();
            options.out_to = (given->out / options.to).string();
            options.size = size;
            options.count = given->count;
            options.offset = offset;
            const int outcome = key_deal(options, std::cout, std::cerr);
            if (outcome != key_exit_good) return exit_failure;
        }
        return exit_ok;
    });
}

}  // namespace

void add_key_commands(cli& c) {
    auto* key = cli::command(c.app, "key", "The one-time key of a site: stock, deliveries, audit",
                             "  warifu key status /srv/demo\n  warifu key audit /srv/demo");
    key->require_subcommand(1);
    add_status(c, *key);
    add_import(c, *key);
    add_deal(c, *key);
    add_audit(c, *key);
}

}  // namespace warifu
