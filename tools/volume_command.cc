// warifu volume create.

#include <fmt/format.h>

#include "fs/base/random.h"
#include "tools/cli.h"
#include "tools/core_thread.h"
#include "tools/deployment.h"
#include "tools/exit_code.h"
#include "tools/text.h"
#include "tools/volume_session.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

struct create_arguments {
    path_fs::path file;
    std::string name, scheme = "2,3", sites, randomness = "drbg";
    path_fs::path site;
    path_fs::path run;
    bool id_only = false;
};

/// Writes volume.json for a volume that does not exist yet, with a fresh id.
result<volume_config> draw_up(const create_arguments& given) {
    if (given.sites.empty() || given.site.empty()) {
        return fail(errc::bad_argument,
                    fmt::format("{} does not exist: --sites and --site are needed to write it", given.file.string()));
    }
    volume_config volume;
    volume.id = random_uuid<volume_id>();
    volume.name = given.name.empty() ? "volume" : given.name;
    TRY(const auto scheme, parse_scheme(given.scheme));
    volume.threshold = scheme.threshold;
    TRY(volume.sites, parse_list(given.sites));
    if (volume.sites.size() != scheme.site_count) {
        return fail(errc::bad_argument, fmt::format("--scheme {} needs {} sites, --sites names {}", given.scheme,
                                                    scheme.site_count, volume.sites.size()));
    }
    volume.randomness = given.randomness;
    volume.site = path_fs::absolute(given.site).lexically_normal();
    const path_fs::path beside = path_fs::absolute(given.file).lexically_normal().parent_path() / "run";
    volume.run = given.run.empty() ? beside : path_fs::absolute(given.run).lexically_normal();
    TRY_VOID(load_site_config(volume.site));
    // What is written must read back: names and numbers get the same checks as any configuration.
    TRY_VOID(parse_volume_config(to_json_text(volume, given.file), given.file));
    TRY_VOID(save(volume, given.file));
    return volume;
}

result<int> create(const create_arguments& given) {
    std::error_code ec;
    const bool fresh = !path_fs::exists(given.file, ec);
    TRY(const auto volume, fresh ? draw_up(given) : load_volume_config(given.file));
    if (given.id_only) {
        fmt::print("{}\n", to_text(volume.id));
        return exit_ok;
    }
    TRY(const auto site, load_site_config(volume.site));
    core_thread core;
    const auto made = core.wait_for(volume_session::create(core.context(), volume, site));
    if (!made && (made.error().code == errc::denied || made.error().code == errc::access_denied)) {
        return fail(errc::denied, fmt::format("{} (at each site: warifu access grant SITE.JSON {} {} write)",
                                              made.error().text, to_text(volume.id), site.name));
    }
    if (!made) return fail(made.error());
    fmt::print("{}: volume {} made, {} of {} sites give it back\n", given.file.string(), to_text(volume.id),
               volume.threshold, volume.sites.size());
    return exit_ok;
}

}  // namespace

void add_volume_commands(cli& c) {
    auto* volume = cli::command(c.app, "volume", "Make a volume over sites that are up",
                                "  warifu volume create /etc/warifu/volume.json --name genomes --scheme 2,3 \\\n"
                                "      --sites site1,site2,site3 --site /etc/warifu/site.json");
    volume->require_subcommand(1);
    auto* command =
        cli::command(*volume, "create", "Write volume.json if it is missing, and make the volume at its sites",
                     "  warifu volume create /etc/warifu/volume.json --name genomes --scheme 2,3 \\\n"
                     "      --sites site1,site2,site3 --site /etc/warifu/site.json --id-only\n"
                     "  (grant that id write access at each site, then)\n"
                     "  warifu volume create /etc/warifu/volume.json");
    const auto given = std::make_shared<create_arguments>();
    command->add_option("FILE", given->file, "volume.json; written when it is missing")->required();
    command->add_option("--name", given->name, "for people");
    command->add_option("--scheme", given->scheme, "K,N: any K of N sites give the files back")->capture_default_str();
    command->add_option("--sites", given->sites, "all site names in the volume's order, separated by commas");
    command->add_option("--site", given->site, "site.json of the site that this machine is");
    command
        ->add_option("--randomness", given->randomness,
                     "drbg (computational), or pool: random numbers from the site's keyd (\"random\" in site.json)")
        ->check(CLI::IsMember({"drbg", "pool"}))
        ->capture_default_str();
    command->add_option("--run", given->run, "directory of mount.pid and mount.sock (default: run beside FILE)");
    command->add_flag("--id-only", given->id_only,
                      "write FILE and print the volume's id; make nothing at the sites yet");
    c.run(command, [given] { return create(*given); });
}

}  // namespace warifu
