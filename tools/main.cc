// The one program: every command is a subcommand, every daemon a process of this file.

#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <exception>

#include "tools/cli.h"
#include "tools/exit_code.h"

namespace {

constexpr auto description =
    "Warifu: a file system whose files exist only as secret shares at several sites.\n"
    "Any k of n sites give the files back; k-1 sites and the network learn nothing.";

constexpr auto examples =
    "Examples:\n"
    "  warifu up /srv/demo                  three sites on this machine, mounted at /srv/demo/mnt\n"
    "  cp -a run42 /srv/demo/mnt/           use it like any directory\n"
    "  warifu status /srv/demo              sites, links, key stock\n"
    "  warifu restore /srv/demo out --from site2,site3\n"
    "  warifu down /srv/demo\n"
    "\n"
    "Exit codes: 0 done; 1 failed; 2 wrong options; 3 wrong configuration; 4 degraded; 5 out of key or space;\n"
    "  6 fewer than k good sites; 7 in use; 8 denied; 9 a process is down or did not start.";

}  // namespace

int main(int argc, char** argv) {
    ::signal(SIGPIPE, SIG_IGN);
    CLI::App app(description, "warifu");
    app.footer(examples);
    app.set_version_flag("--version", "warifu " WARIFU_VERSION);
    app.require_subcommand(1);
    app.get_formatter()->column_width(36);
    warifu::cli c{app};
    warifu::add_up_commands(c);
    warifu::add_status_command(c);
    warifu::add_restore_command(c);
    warifu::add_mount_command(c);
    warifu::add_umount_command(c);
    warifu::add_site_commands(c);
    warifu::add_volume_commands(c);
    warifu::add_access_commands(c);
    warifu::add_key_commands(c);
    warifu::add_link_commands(c);
    warifu::add_bench_command(c);
    warifu::add_keyd_command(c);
    warifu::add_share_server_command(c);
    warifu::add_dealer_command(c);
    warifu::add_kme_sim_command(c);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
        // The library only says that a command is required; an unknown one is named.
        const bool named = argc > 1 && argv[1][0] != '-';
        const bool unknown =
            named && app.get_subcommands([&](const CLI::App* one) { return one->check_name(argv[1]); }).empty();
        if (unknown) fmt::print(stderr, "warifu: no command '{}'; 'warifu --help' lists them\n", argv[1]);
        else fmt::print(stderr, "warifu: {}\n", e.what());
        return warifu::exit_usage;
    } catch (const std::exception& e) {
        fmt::print(stderr, "warifu: {}\n", e.what());
        return warifu::exit_failure;
    }
    return c.exit_code;
}
