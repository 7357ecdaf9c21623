// warifu link enrol|import: the first control pad of a link between two keyds.

#include <fmt/format.h>

#include "fs/config/config.h"
#include "keyd/link/control_store.h"
#include "tools/cli.h"
#include "tools/exit_code.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

void add_enrol(cli& c, CLI::App& link) {
    auto* command = cli::command(
        link, "enrol", "Make the files with which two sites' key managers first trust each other",
        "  warifu link enrol site1 site2 --out /media/courier\n"
        "Writes OUT/site1/site1-site2.enrolment and OUT/site2/site2-site1.enrolment: secret, the same bytes for both\n"
        "ends, each good for one import at its own site. Carry them; nothing else may see them.");
    struct arguments {
        std::string first, second;
        path_fs::path out;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("SITE", given->first, "one end of the link")->required();
    command->add_option("PEER", given->second, "the other end")->required();
    command->add_option("--out", given->out, "directory for the files")->required();
    c.run(command, [given]() -> result<int> {
        for (const auto& name : {given->first, given->second})
            if (!valid_site_name(name))
                return fail(errc::bad_argument, fmt::format("'{}' is not a site name", name.substr(0, 80)));
        if (given->first == given->second) return fail(errc::bad_argument, "a link has two different ends");
        std::error_code ec;
        path_fs::create_directories(given->out, ec);
        if (ec) return fail(errc::io_error, fmt::format("cannot make {}: {}", given->out.string(), ec.message()));
        TRY(const auto files, write_enrolments(given->out.string(), given->first, given->second));
        for (const auto& file : files) fmt::print("{}\n", file);
        return exit_ok;
    });
}

void add_enrolment_import(cli& c, CLI::App& link) {
    auto* command = cli::command(link, "import", "Give a site its file of an enrolment",
                                 "  warifu link import /etc/warifu/site.json /media/courier/site1-site2.enrolment\n"
                                 "The site's keyd takes it up when it next greets the peer (or starts). The file is\n"
                                 "overwritten and removed: it serves once.");
    struct arguments {
        path_fs::path site;
        std::vector<std::string> files;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("SITE.JSON", given->site, "the site that the file is for")->required();
    command->add_option("FILE", given->files, "enrolment files")->required();
    c.run(command, [given]() -> result<int> {
        TRY(const auto site, load_site_config(given->site));
        std::vector<std::string> peers;
        for (const auto& one : site.links) peers.push_back(one.peer);
        std::error_code ec;
        path_fs::create_directories(site.keyd.pads, ec);
        path_fs::permissions(site.keyd.pads, path_fs::perms::owner_all, ec);
        for (const auto& file : given->files) {
            TRY(const auto peer, accept_enrolment((site.keyd.pads / "links").string(), site.name, peers, file));
            fmt::print("{}: the link to {} is enrolled\n", file, peer);
        }
        return exit_ok;
    });
}

}  // namespace

void add_link_commands(cli& c) {
    auto* link = cli::command(c.app, "link", "The control connections between the key managers of two sites",
                              "  warifu link enrol site1 site2 --out /media/courier\n"
                              "  warifu link import /etc/warifu/site.json /media/courier/site1/site1-site2.enrolment");
    link->require_subcommand(1);
    add_enrol(c, *link);
    add_enrolment_import(c, *link);
}

}  // namespace warifu
