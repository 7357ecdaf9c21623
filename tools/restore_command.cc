// warifu restore: a volume's files from the surviving sites, without a mount.

#include <algorithm>
#include <fmt/format.h>

#include "fs/base/harden.h"
#include "fs/config/json_node.h"
#include "tools/cli.h"
#include "tools/core_thread.h"
#include "tools/deployment.h"
#include "tools/exit_code.h"
#include "tools/key_stock.h"
#include "tools/progress.h"
#include "tools/restore_tree.h"
#include "tools/text.h"
#include "tools/volume_session.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;
struct restore_arguments {
    path_fs::path config;
    path_fs::path destination;
    std::vector<std::string> paths;
    std::string from, site, rate;
    bool resume = false, json = false;
};

result<void> check_destination(const path_fs::path& destination, bool resume) {
    std::error_code ec;
    if (!path_fs::exists(destination, ec)) return {};
    if (!path_fs::is_directory(destination, ec))
        return fail(errc::not_directory, fmt::format("{}: not a directory", destination.string()));
    const bool empty = path_fs::is_empty(destination, ec);
    if (ec) return fail(errc::access_denied, fmt::format("{}: {}", destination.string(), ec.message()));
    if (!empty && !resume)
        return fail(errc::not_empty, fmt::format("{}: not empty (--resume goes on with a restore that was interrupted)",
                                                 destination.string()));
    return {};
}

/// Says, before anything moves, what the restore will cost and what there is.
void show_cost(const volume_config& volume, const site_config& site, const session_options& how,
               const tree_totals& totals, const std::vector<link_stock>& stocks, bool json) {
    const auto uses = [&how](const std::string& name) {
        return how.from.empty() || std::ranges::find(how.from, name) != how.from.end();
    };
    const bool local = std::ranges::find(volume.sites, site.name) != volume.sites.end() && uses(site.name);
    const unsigned remote_shares = volume.threshold - (local ? 1 : 0);
    const auto needed = static_cast<std::uint64_t>(static_cast<double>(totals.bytes) * pad_per_share_byte);
    std::vector<std::uint64_t> inbound;
    std::string there;
    for (const auto& stock : stocks) {
        if (!uses(stock.peer)) continue;
        inbound.push_back(stock.inbound);
        there += fmt::format("{}{} {}", there.empty() ? "" : ", ", stock.peer, size_text(stock.inbound));
    }
    if (!json) {
        fmt::print(stderr, "to restore: {} files, {}; key needed: {} from {} site{}; key there: {}\n", totals.files,
                   size_text(totals.bytes), size_text(needed * remote_shares), remote_shares,
                   remote_shares == 1 ? "" : "s", there);
    }
    if (restorable_bytes(volume.threshold, local, inbound) < totals.bytes)
        fmt::print(stderr, "warifu restore: the key that is there now does not suffice; it goes on as key arrives\n");
}

ordered_json report_of(const tree_outcome& outcome, double seconds, const session_options& how,
                       const volume_config& volume, const volume_status& status) {
    return {{"files", outcome.done.files},
            {"files_kept", outcome.done.kept},
            {"directories", outcome.done.directories},
            {"symlinks", outcome.done.symlinks},
            {"hard_links", outcome.done.hard_links},
            {"special_files", outcome.done.special_files},
            {"bytes", outcome.done.bytes},
            {"seconds", seconds},
            {"bytes_per_second", seconds > 0 ? static_cast<double>(outcome.done.bytes) / seconds : 0.0},
            {"incomplete", outcome.incomplete},
            {"first_refusal", outcome.first_refusal},
            {"sites", how.from.empty() ? volume.sites : how.from},
            {"claim", std::string(to_string(status.strength))},
            {"verified", true}};
}

result<int> finish(const tree_outcome& outcome, const ordered_json& report, const restore_arguments& given,
                   double seconds) {
    if (given.json) {
        fmt::print("{}\n", report.dump(2));
    } else {
        const double rate = seconds > 0 ? static_cast<double>(outcome.done.bytes) / seconds : 0;
        fmt::print(
            "restored {} files{}, {} directories, {} symbolic links, {} hard links, {} special files: {} in {} ({}), "
            "every byte verified\n",
            outcome.done.files, given.resume ? fmt::format(" ({} of them before)", outcome.done.kept) : "",
            outcome.done.directories, outcome.done.symlinks, outcome.done.hard_links, outcome.done.special_files,
            size_text(outcome.done.bytes), duration_text(seconds), rate_text(rate));
    }
    if (outcome.incomplete == 0) return exit_ok;
    return fail(errc::io_error,
                fmt::format("content is complete, but the destination refused {} attributes; the first: {}",
                            outcome.incomplete, outcome.first_refusal));
}

result<int> restore_from(core_thread& core, volume_session& session, const volume_config& volume,
                         const site_config& site, const session_options& how, const tree_selection& selection,
                         const restore_arguments& given) {
    TRY(const auto totals, measure_tree(session.get(), selection));
    show_cost(volume, site, how, totals, core.wait_for(session.stocks()), given.json);
    std::error_code ec;
    path_fs::create_directories(given.destination, ec);
    if (ec) return fail(errc::access_denied, fmt::format("{}: {}", given.destination.string(), ec.message()));
    const auto start = steady_clock::now();
    progress bar("restore", totals.bytes);
    restore_options options;
    options.resume = given.resume;
    if (!given.rate.empty()) {
        TRY(options.rate_max, parse_size(given.rate));
    }
    options.moved = [&bar](std::uint64_t bytes) { bar.update(bytes); };
    TRY(const auto outcome,
        restore_tree(core.context(), session.get(), selection, given.destination.string(), options));
    bar.finish();
    const double seconds = std::chrono::duration<double>(steady_clock::now() - start).count();
    return finish(outcome, report_of(outcome, seconds, how, volume, session.get().status()), given, seconds);
}

result<int> restore(const restore_arguments& given) {
    TRY(const auto place, find_volume(given.config));
    TRY(const auto site, find_site(place, given.site));
    TRY(const auto selection, tree_selection::from_paths(given.paths));
    session_options how;
    how.mode = open_mode::read_only;
    how.newest = true;  // what was fsynced a moment ago as well
    if (!given.from.empty()) {
        TRY(how.from, parse_list(given.from));
    }
    TRY_VOID(check_destination(given.destination, given.resume));
    if (!given.rate.empty()) TRY_VOID(parse_size(given.rate));
    TRY_VOID(harden_process());
    core_thread core;
    TRY(const auto session, core.wait_for(volume_session::open(core.context(), place.volume, site, how)));
    auto outcome = restore_from(core, *session, place.volume, site, how, selection, given);
    const auto closed = core.wait_for(session->close());
    if (!closed && outcome) return fail(closed.error());
    return outcome;
}

}  // namespace

void add_restore_command(cli& c) {
    auto* command =
        cli::command(c.app, "restore", "Fetch a volume's files from surviving sites into a directory",
                     "  warifu restore /srv/demo /tmp/back --from site2,site3\n"
                     "  warifu restore /srv/demo /tmp/back --from site2,site3 --site site2   with site2's key\n"
                     "  warifu restore /etc/warifu/volume.json /data/back run42 run43/x.bam\n"
                     "  warifu restore /etc/warifu/volume.json /data/back --resume --limit-rate 50M\n"
                     "Every byte is verified. --resume keeps the files that an interrupted restore had completed\n"
                     "(size and time are right) and replaces the others. Exit code 6: fewer than k good sites.");
    const auto given = std::make_shared<restore_arguments>();
    command->add_option("CONFIG", given->config, "a deployment directory or volume.json")->required();
    command->add_option("DEST", given->destination, "an empty directory; made when it is missing")->required();
    command->add_option("PATH", given->paths, "parts of the volume (default: everything)");
    command->add_option("--from", given->from, "sites to fetch from, separated by commas (default: all that answer)");
    command->add_option("--site", given->site,
                        "whose key to use: a site's name or its site.json (default: the configuration's)");
    command->add_flag("--resume", given->resume, "go on with an interrupted restore; DEST need not be empty");
    command->add_option("--limit-rate", given->rate, "at most so many bytes of content per second: 50M");
    command->add_flag("--json", given->json, "report as JSON");
    c.run(command, [given] { return restore(*given); });
}

}  // namespace warifu
