// warifu up, down: a whole deployment on this machine.

#include <algorithm>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/vfs.h>

#include "fs/base/limits.h"
#include "fs/base/random.h"
#include "tools/core_thread.h"
#include "tools/deployment.h"
#include "tools/deployment_volumes.h"
#include "tools/exit_code.h"
#include "tools/key_network.h"
#include "tools/key_stock.h"
#include "tools/mount_command.h"
#include "tools/progress.h"
#include "tools/site_setup.h"
#include "tools/text.h"
#include "tools/volume_session.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

constexpr std::uint64_t store_size_default = 4ULL << 30U;
constexpr std::uint64_t pads_default = 1280ULL << 20U;  // a first gigabyte out and back, with room
constexpr std::uint64_t pads_least = 16ULL << 20U;
constexpr std::uint64_t usable_pads = 64ULL << 20U;
constexpr std::uint64_t control_reserve = 1ULL << 20U;
constexpr auto key_sources = {deployment_part::kme_sim, deployment_part::dealer};
constexpr auto pads_timeout = std::chrono::minutes(5);

struct up_arguments {
    path_fs::path directory;
    scheme_argument scheme{2, 3};
    std::uint64_t store_size = 0;  // 0: default
    std::uint64_t pads = 0;        // 0: default
    path_fs::path pad_directory;   // empty: below each site
    std::uint64_t link_rate = 0;
    std::vector<std::string> owners;  // sites that write a volume of their own; empty: the first alone
    bool simulated_kmes = true;       // key from simulated KMEs; false: from the dealer
    bool changes_existing = false;    // options that only count for a new deployment were given
};

std::uint64_t free_bytes(const path_fs::path& directory) {
    std::error_code ec;
    const auto space = path_fs::space(directory, ec);
    return ec ? 0 : space.available;
}

bool is_in_memory(const path_fs::path& directory) {
    struct statfs found{};
    return ::statfs(directory.c_str(), &found) == 0 && found.f_type == TMPFS_MAGIC;
}

/// Each of the n(n-1) streams lies at two ends. What was asked for must fit; the default takes at most a third of the
/// disk, or a quarter of a memory file system.
result<std::uint64_t> pads_target(const up_arguments& given, const path_fs::path& where) {
    const std::uint64_t n = given.scheme.site_count;
    const std::uint64_t ends = 2 * n * (n - 1);
    const std::uint64_t free = free_bytes(where);
    if (given.pads == 0) {
        const std::uint64_t fair = free / (is_in_memory(where) ? 4 : 3) / ends;
        return std::max(pads_least, std::min(pads_default, fair) >> 20U << 20U);
    }
    if (given.pads * ends > free) {
        return fail(errc::no_space,
                    fmt::format("pads of {} per link and direction take {} ({} streams at two ends) and {} has {} "
                                "free: choose a smaller --pads",
                                size_text(given.pads), size_text(given.pads * ends), n * (n - 1), where.string(),
                                size_text(free)));
    }
    return given.pads;
}

/// A new directory, one that is empty, or one where `up` was interrupted. not_empty for anything else.
result<void> check_fresh_directory(const deployment_layout& layout) {
    const path_fs::path& directory = layout.root();
    std::error_code ec;
    if (!path_fs::exists(directory, ec) || path_fs::exists(layout.lock_file(), ec)) return {};
    if (!path_fs::is_directory(directory, ec))
        return fail(errc::exists, fmt::format("{}: not a directory", directory.string()));
    if (!path_fs::is_empty(directory, ec))
        return fail(errc::not_empty, fmt::format("{}: not empty, and no deployment", directory.string()));
    return {};
}

result<void> make_directory(const path_fs::path& directory) {
    std::error_code ec;
    path_fs::create_directories(directory, ec);
    if (!ec) return {};
    const errc code = ec == std::errc::permission_denied ? errc::access_denied : errc::io_error;
    return fail(code, fmt::format("{}: {}", directory.string(), ec.message()));
}

/// Configuration of all sites: every site may read what the volume has (so that a restore works from any), the first
/// may write.
result<std::vector<site_config>> plan_sites(const deployment_layout& layout, const up_arguments& given) {
    const auto names = site_names(given.scheme.site_count);
    TRY(const auto ports, choose_ports(names.size()));
    const path_fs::path sockets = layout.socket_directory();
    std::vector<site_config> sites;
    for (std::size_t i = 0; i < names.size(); ++i) {
        site_config site;
        site.name = names[i];
        site.keyd.socket = sockets / (site.name + ".keyd.sock");
        site.keyd.pads = given.pad_directory.empty()
                             ? layout.pads(site.name)
                             : path_fs::absolute(given.pad_directory).lexically_normal() / site.name;
        site.keyd.reserve = control_reserve;
        site.server.listen = endpoint{"127.0.0.1", ports[i]};
        site.server.socket = sockets / (site.name + ".server.sock");
        site.server.store = layout.site(site.name) / "store";
        site.server.store_size = given.store_size == 0 ? store_size_default : given.store_size;
        site.server.access = layout.site(site.name) / "access.json";
        for (std::size_t j = 0; j < names.size(); ++j)
            if (j != i) site.links.push_back(link_config{names[j], endpoint{"127.0.0.1", ports[j]}});
        sites.push_back(std::move(site));
    }
    return sites;
}

/// The volumes of sites other than the first, which has the deployment's own.
result<std::vector<volume_config>> plan_further_volumes(const deployment& made, const up_arguments& given) {
    std::vector<volume_config> volumes;
    for (const auto& owner : given.owners) {
        if (std::ranges::find(made.volume.sites, owner) == made.volume.sites.end())
            return fail(errc::bad_argument,
                        fmt::format("--volumes: no site '{}' (sites: {})", owner, fmt::join(made.volume.sites, ", ")));
        if (owner != made.volume.sites.front()) volumes.push_back(plan_further_volume(made.layout, made.volume, owner));
    }
    return volumes;
}

result<deployment> make_deployment(const deployment_layout& layout, const up_arguments& given) {
    for (const auto& directory : {layout.mount_point(), layout.run(), layout.root() / "sites"})
        TRY_VOID(make_directory(directory));
    TRY_VOID(make_socket_directory(layout.socket_directory()));
    const path_fs::path pads_at = given.pad_directory.empty() ? layout.root() : given.pad_directory;
    TRY_VOID(make_directory(pads_at));
    deployment made{layout, {}, {}, {}};
    TRY(made.settings.pads_target, pads_target(given, pads_at));
    made.settings.link_rate = given.link_rate;
    made.settings.simulated_kmes = given.simulated_kmes;
    TRY(made.sites, plan_sites(layout, given));
    if (given.simulated_kmes) TRY_VOID(plan_key_network(layout, made.sites, made.settings.pads_target));
    made.volume.id = random_uuid<volume_id>();
    made.volume.name = layout.root().filename().string().substr(0, 255);
    made.volume.threshold = given.scheme.threshold;
    for (const auto& site : made.sites) made.volume.sites.push_back(site.name);
    made.volume.site = layout.site_file(made.sites.front().name);
    made.volume.run = layout.run();
    TRY(const auto further, plan_further_volumes(made, given));
    TRY_VOID(save(made.settings, layout.deployment_file()));
    for (const auto& site : made.sites) {
        access_config access;
        const auto allow = [&](const volume_config& volume) {
            for (const auto& other : made.sites)
                access.set(volume.id, other.name,
                           volume.site == layout.site_file(other.name) ? grant::write : grant::read);
        };
        allow(made.volume);
        for (const auto& volume : further) allow(volume);
        TRY_VOID(make_site(site, layout.site_file(site.name), access, true));
        if (!given.pad_directory.empty()) {
            std::error_code ec;
            path_fs::remove(layout.pads(site.name), ec);
            path_fs::create_directory_symlink(site.keyd.pads, layout.pads(site.name), ec);
        }
    }
    if (given.simulated_kmes) TRY_VOID(make_key_network(layout, made.sites, given.link_rate));
    for (const auto& volume : further) {
        TRY_VOID(make_directory(volume.run));
        TRY_VOID(save(volume, volume.run / "volume.json"));
    }
    TRY_VOID(save(made.volume, layout.volume_file()));
    return made;
}

/// Starts what is down; stops again what it started when something does not start.
class starter {
  public:
    explicit starter(const deployment& where) : where_(where) {}

    result<void> start_all() {
        auto outcome = start_each();
        if (!outcome) undo();
        return outcome;
    }
    void undo() {
        for (auto it = started_.rbegin(); it != started_.rend(); ++it)
            (void)stop_part(where_.layout, it->first, it->second, stop_patience);
        started_.clear();
    }

  private:
    result<void> start_each() {
        const auto source = where_.settings.simulated_kmes ? deployment_part::kme_sim : deployment_part::dealer;
        TRY(const bool now, start_key_source(where_.layout, source));
        if (now) started_.emplace_back("", source);
        for (const auto& site : where_.sites) TRY_VOID(start(site, deployment_part::keyd));
        for (const auto& site : where_.sites) TRY_VOID(start(site, deployment_part::server));
        return {};
    }
    result<void> start(const site_config& site, deployment_part part) {
        TRY(const bool now, start_part(where_.layout, site, part));
        if (now) started_.emplace_back(site.name, part);
        return {};
    }

    const deployment& where_;
    std::vector<std::pair<std::string, deployment_part>> started_;
};

/// Waits until every link has enough pad for a start. Both ends must have it.
result<void> wait_for_pads(const deployment& where, core_thread& core) {
    // Below the mark from which a stock counts as full enough not to be filled (keyd/link/demand.h).
    const std::uint64_t wanted = std::min(where.settings.pads_target / 2, usable_pads);
    const deadline until = steady_clock::now() + pads_timeout;
    progress bar("key for the links", wanted);
    while (true) {
        const auto links = core.wait_for(link_stocks(where.sites));
        std::uint64_t least = links.empty() ? 0 : ~std::uint64_t{0};
        for (const auto& link : links) least = std::min(least, link.available);
        if (least >= wanted) return {};
        if (steady_clock::now() > until)
            return fail(errc::no_key, fmt::format("no usable key after {} min: see {} and {}", pads_timeout.count(),
                                                  (where.layout.run() / "*.log").string(),
                                                  (where.layout.root() / "sites/*/log").string()));
        bar.update(least);
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
}

result<void> create_volumes(deployment& where, core_thread& core) {
    TRY_VOID(core.wait_for(volume_session::create(core.context(), where.volume, where.sites.front())));
    for (const auto& owner : further_owners(where.layout)) {
        TRY(const auto volume, load_volume_config(further_volume_file(where.layout, owner)));
        TRY(const auto site, load_site_config(volume.site));
        TRY_VOID(core.wait_for(volume_session::create(core.context(), volume, site)));
    }
    where.settings.complete = true;
    return save(where.settings, where.layout.deployment_file());
}

result<deployment> open_or_make(const deployment_layout& layout, const up_arguments& given) {
    if (is_deployment(layout.root())) {
        TRY(const auto settings, load_deployment_config(layout.deployment_file()));
        if (settings.complete) return load_deployment(layout.root());
        // An earlier making was interrupted: nothing of value can be there yet, but its processes may run.
        for (const auto& name : site_names(site_count_max))
            for (const auto part : {deployment_part::server, deployment_part::keyd})
                TRY_VOID(stop_part(layout, name, part, stop_patience));
        for (const auto part : key_sources) TRY_VOID(stop_part(layout, "", part, stop_patience));
        for (const auto& owner : further_owners(layout)) {
            std::error_code ec;
            path_fs::remove_all(further_volume_file(layout, owner).parent_path(), ec);
        }
    }
    return make_deployment(layout, given);
}

void describe(const deployment& where) {
    fmt::print("{}: {} of {} sites give the files back; mounted at {}\n", where.layout.root().string(),
               where.volume.threshold, where.volume.sites.size(), where.layout.mount_point().string());
    if (const auto mounts = deployment_mounts(where); mounts && mounts->size() > 1) {
        for (const auto& one : *mounts) {
            if (one.reader.empty())
                fmt::print("written: {}\n", one.mountpoint.string());
            else
                fmt::print("followed by {}: {}\n", one.reader.parent_path().filename().string(),
                           one.mountpoint.string());
        }
    }
    fmt::print("next: warifu status {}\n", where.layout.root().string());
}

result<int> up(const up_arguments& given) {
    const deployment_layout layout(given.directory);
    const bool existed = is_deployment(layout.root());
    if (!existed) TRY_VOID(check_fresh_directory(layout));
    TRY_VOID(make_directory(layout.run()));
    TRY(const auto lock, file_lock::take(layout.lock_file(), deadline_in_ms(60'000)));
    TRY(auto where, open_or_make(layout, given));
    if (existed && where.settings.complete && given.changes_existing)
        fmt::print(
            stderr,
            "warifu up: {} exists: --scheme, --store-size, --pads, --pad-dir, --link-rate, --key-source, --volumes are "
            "as it was made\n",
            layout.root().string());
    for (const auto& site : where.sites) TRY_VOID(make_socket_directory(site.keyd.socket.parent_path()));
    starter processes(where);
    TRY_VOID(processes.start_all());
    core_thread core;
    auto ready = wait_for_pads(where, core);
    if (ready && !where.settings.complete) ready = create_volumes(where, core);
    if (ready) ready = mount_all(where);
    if (!ready) {
        processes.undo();
        return fail(std::move(ready).error());
    }
    describe(where);
    return exit_ok;
}

/// Stops everything; the first trouble is reported, the rest is stopped all the same.
result<int> down(const path_fs::path& directory, bool force, std::chrono::seconds timeout) {
    const deployment_layout layout(directory);
    if (!is_deployment(layout.root())) return fail(load_deployment(directory).error());
    TRY(const auto lock, file_lock::take(layout.lock_file(), deadline_in_ms(60'000)));
    std::vector<std::string> names;
    std::error_code ec;
    for (const auto& entry : path_fs::directory_iterator(layout.root() / "sites", ec))
        if (entry.is_directory()) names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    TRY_VOID(unmount_all(layout, force, timeout));
    for (const auto part : {deployment_part::server, deployment_part::keyd})
        for (const auto& name : names) TRY_VOID(stop_part(layout, name, part, stop_patience));
    for (const auto part : key_sources) TRY_VOID(stop_part(layout, "", part, stop_patience));
    fmt::print("{}: everything is down\n", layout.root().string());
    return exit_ok;
}

void add_up(cli& c) {
    auto* command =
        cli::command(c.app, "up", "Make or start a deployment of all sites on this machine, and mount it",
                     "  warifu up /srv/demo\n"
                     "  warifu up /srv/demo --scheme 3,5 --store-size 20G --pads 4G --pad-dir /dev/shm/pads\n"
                     "  warifu up /srv/demo --link-rate 10M      key as slow as a real link\n"
                     "  warifu up /srv/demo --volumes site1,site2    each writes its own and follows the other's\n"
                     "On an existing deployment it starts what is down; nothing is lost or changed.");
    struct texts {
        up_arguments up;
        std::string scheme = "2,3", store_size, pads, link_rate, key_source = "kme", volumes;
    };
    const auto given = std::make_shared<texts>();
    command->add_option("DIR", given->up.directory, "directory of the deployment; made when it is missing")->required();
    const std::vector<CLI::Option*> for_new = {
        command->add_option("--scheme", given->scheme, "K,N: any K of N sites give the files back")
            ->capture_default_str(),
        command->add_option("--store-size", given->store_size, "store of each site (default 4G, grows as it fills)"),
        command->add_option("--pads", given->pads,
                            "unspent key per link and direction that is kept up (default: for a first gigabyte)"),
        command->add_option("--pad-dir", given->up.pad_directory, "keep all sites' key here, such as a tmpfs"),
        command->add_option("--link-rate", given->link_rate, "key bits per second and direction (default: no limit)"),
        command
            ->add_option("--key-source", given->key_source,
                         "kme: simulated KMEs that serve ETSI GS QKD 014; dealer: pad files, the fastest")
            ->check(CLI::IsMember({"kme", "dealer"}))
            ->capture_default_str(),
        command->add_option("--volumes", given->volumes,
                            "SITE,...: these write a volume of their own, as the first site does, and all follow "
                            "the others'"),
    };
    c.run(command, [given, for_new]() -> result<int> {
        TRY(given->up.scheme, parse_scheme(given->scheme));
        // Empty: the default, which is told by 0.
        const auto size_or_default = [](const std::string& text) -> result<std::uint64_t> {
            return text.empty() ? result<std::uint64_t>(0) : parse_size(text);
        };
        TRY(given->up.store_size, size_or_default(given->store_size));
        TRY(given->up.pads, size_or_default(given->pads));
        if (!given->link_rate.empty()) {
            TRY(given->up.link_rate, parse_bit_rate(given->link_rate));
        }
        if (!given->volumes.empty()) {
            TRY(given->up.owners, parse_list(given->volumes));
        }
        given->up.simulated_kmes = given->key_source == "kme";
        given->up.changes_existing =
            std::ranges::any_of(for_new, [](const CLI::Option* option) { return option->count() > 0; });
        return up(given->up);
    });
}

}  // namespace

void add_up_commands(cli& c) {
    add_up(c);
    auto* command =
        cli::command(c.app, "down", "Unmount and stop everything of a deployment; a second time does nothing",
                     "  warifu down /srv/demo");
    struct arguments {
        path_fs::path directory;
        bool force = false;
        unsigned seconds = 600;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("DIR", given->directory, "directory of the deployment")->required();
    command->add_flag("--force", given->force, "also when something cannot be made durable");
    command->add_option("--timeout", given->seconds, "seconds to wait for the sites")->capture_default_str();
    c.run(command, [given] { return down(given->directory, given->force, std::chrono::seconds(given->seconds)); });
}

}  // namespace warifu
