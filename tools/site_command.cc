// warifu site init|stop|start|wipe.

#include <algorithm>
#include <fmt/format.h>
#include <thread>

#include "tools/cli.h"
#include "tools/control.h"
#include "tools/deployment.h"
#include "tools/exit_code.h"
#include "tools/site_setup.h"
#include "tools/text.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

constexpr std::uint64_t reserve_default = 1ULL << 20U;

struct init_arguments {
    path_fs::path directory;
    std::string name, listen, store_size = "100G";
    path_fs::path store, pads, run;
    std::vector<std::string> peers;  // NAME=HOST:PORT
};

result<link_config> parse_peer(const std::string& text) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || !valid_site_name(text.substr(0, equals)))
        return fail(errc::bad_argument, fmt::format("--peer {}: expected NAME=HOST:PORT", text.substr(0, 100)));
    const auto address = parse_endpoint(text.substr(equals + 1));
    if (!address)
        return fail(errc::bad_argument, fmt::format("--peer {}: {}", text.substr(0, 100), address.error().text));
    return link_config{text.substr(0, equals), *address};
}

result<int> init(const init_arguments& given) {
    const path_fs::path root = path_fs::absolute(given.directory).lexically_normal();
    const path_fs::path file = root / "site.json";
    if (!valid_site_name(given.name))
        return fail(errc::bad_argument, "--name: 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit first");
    const auto listen = parse_endpoint(given.listen);
    if (!listen) return fail(errc::bad_argument, fmt::format("--listen: {}", listen.error().text));
    const auto under_root = [&root](const path_fs::path& chosen, const char* otherwise) {
        return chosen.empty() ? root / otherwise : path_fs::absolute(chosen).lexically_normal();
    };
    site_config site;
    site.name = given.name;
    const path_fs::path run = under_root(given.run, "run");
    site.keyd.socket = run / "keyd.sock";
    site.keyd.pads = under_root(given.pads, "pads");
    site.keyd.reserve = reserve_default;
    site.server.listen = *listen;
    site.server.socket = run / "server.sock";
    site.server.store = under_root(given.store, "store");
    TRY(site.server.store_size, parse_size(given.store_size));
    site.server.access = root / "access.json";
    for (const auto& peer : given.peers) {
        TRY(auto link, parse_peer(peer));
        site.links.push_back(std::move(link));
    }
    TRY_VOID(make_site(site, file, access_config{}, false));
    fmt::print("{}: site {} made; nobody has access yet\n", file.string(), site.name);
    return exit_ok;
}

void add_init(cli& c, CLI::App& parent) {
    auto* command =
        cli::command(parent, "init", "Make a site: configuration, empty store, empty access list",
                     "  warifu site init /etc/warifu --name site1 --listen 192.0.2.1:7101 --store /dev/sdb \\\n"
                     "      --pads /var/lib/warifu/pads --run /run/warifu \\\n"
                     "      --peer site2=198.51.100.2:7101 --peer site3=203.0.113.3:7101");
    const auto given = std::make_shared<init_arguments>();
    command->add_option("DIR", given->directory, "where site.json and access.json go")->required();
    command->add_option("--name", given->name, "name of the site, the same everywhere")->required();
    command->add_option("--listen", given->listen, "HOST:PORT for the other sites")->required();
    command->add_option("--peer", given->peers, "another site and its address: NAME=HOST:PORT")->take_all();
    command->add_option("--store", given->store, "file or block device for the shares (default DIR/store)");
    command->add_option("--store-size", given->store_size, "size of the store if it is a file")->capture_default_str();
    command->add_option("--pads", given->pads, "directory of the key (default DIR/pads)");
    command->add_option("--run", given->run, "directory of the sockets (default DIR/run)");
    c.run(command, [given] { return init(*given); });
}

struct part_arguments {
    path_fs::path directory;
    std::string name;
    bool keyd = false;
};

/// The deployment and the site's place in it.
result<std::pair<deployment, site_config>> find_part(const part_arguments& given) {
    TRY(auto where, load_deployment(given.directory));
    const auto found = std::ranges::find(where.sites, given.name, &site_config::name);
    if (found == where.sites.end()) {
        return fail(errc::bad_argument,
                    fmt::format("no site '{}' here (sites: {})", given.name, fmt::join(where.volume.sites, ", ")));
    }
    auto site = *found;
    return std::pair(std::move(where), std::move(site));
}

constexpr std::uint32_t notice_ms = 10'000;

/// Returns when the mount, if there is one, counts the site as down: what is done next finds the view as it will be.
void wait_until_noticed(const deployment& where, const std::string& name) {
    const deadline until = deadline_in_ms(notice_ms);
    while (steady_clock::now() < until) {
        const auto told = ask_control(where.volume.run / "mount.sock", "status", std::chrono::seconds(2));
        if (!told || !told->contains("sites")) return;
        for (const auto& site : (*told)["sites"])
            if (site.value("name", "") == name && site.value("state", "") == "down") return;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
}

result<int> stop(const part_arguments& given) {
    TRY(const auto found, find_part(given));
    TRY(const auto lock, file_lock::take(found.first.layout.lock_file(), deadline_in_ms(60'000)));
    TRY_VOID(stop_part(found.first.layout, given.name, deployment_part::server, stop_patience));
    if (given.keyd) TRY_VOID(stop_part(found.first.layout, given.name, deployment_part::keyd, stop_patience));
    wait_until_noticed(found.first, given.name);
    return exit_ok;
}

result<int> start(const part_arguments& given) {
    TRY(const auto found, find_part(given));
    TRY(const auto lock, file_lock::take(found.first.layout.lock_file(), deadline_in_ms(60'000)));
    TRY_VOID(make_socket_directory(found.second.keyd.socket.parent_path()));
    // A share server without its keyd could serve nobody: both are wanted.
    TRY_VOID(start_part(found.first.layout, found.second, deployment_part::keyd));
    TRY_VOID(start_part(found.first.layout, found.second, deployment_part::server));
    return exit_ok;
}

/// The store only: what a new disk would hold. A running server is stopped first and stays down.
result<int> wipe(const part_arguments& given) {
    TRY(const auto found, find_part(given));
    TRY(const auto lock, file_lock::take(found.first.layout.lock_file(), deadline_in_ms(60'000)));
    TRY_VOID(stop_part(found.first.layout, given.name, deployment_part::server, stop_patience));
    wait_until_noticed(found.first, given.name);
    TRY_VOID(wipe_store(found.second));
    fmt::print("{}: the store of {} is empty and a stranger to the volume; 'warifu site start' has it rebuilt\n",
               given.directory.string(), given.name);
    return exit_ok;
}

CLI::App* add_part(cli& c, CLI::App& parent, const std::string& name, const std::string& description,
                   const std::string& examples, result<int> (*action)(const part_arguments&)) {
    auto* command = cli::command(parent, name, description, examples);
    const auto given = std::make_shared<part_arguments>();
    command->add_option("DIR", given->directory, "directory of the deployment")->required();
    command->add_option("NAME", given->name, "the site, such as site2")->required();
    command->add_flag("--keyd", given->keyd, "its keyd too");
    c.run(command, [given, action] { return action(*given); });
    return command;
}

}  // namespace

void add_site_commands(cli& c) {
    auto* site = cli::command(c.app, "site", "Make a site; stop, start or wipe one of a deployment",
                              "  warifu site init /etc/warifu --name site1 --listen 192.0.2.1:7101\n"
                              "  warifu site stop /srv/demo site3\n"
                              "  warifu site start /srv/demo site3");
    site->require_subcommand(1);
    add_init(c, *site);
    add_part(c, *site, "stop", "Stop a site's share server", "  warifu site stop /srv/demo site3 --keyd", stop);
    add_part(c, *site, "start", "Start a site's share server (and its keyd if it is down)",
             "  warifu site start /srv/demo site3", start);
    add_part(c, *site, "wipe", "Empty a site's store, as if its disk had been replaced",
             "  warifu site wipe /srv/demo site3", wipe);
}

}  // namespace warifu
