#pragma once
// How a command joins the program: each file of a command offers one add_... function that makes its subcommand.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "fs/base/error.h"

namespace warifu {

/// The program while it is put together and run. `exit_code` is what the chosen command leaves.
struct cli {
    CLI::App& app;
    int exit_code = 0;

    /// A subcommand of `parent` with a description and examples (shown by --help).
    static CLI::App* command(CLI::App& parent, const std::string& name, const std::string& description,
                             const std::string& examples);
    /// What the command does. An error becomes one line on standard error, "warifu NAME: text", and its exit code.
    void run(CLI::App* command, std::function<result<int>()> body);
};

void add_keyd_command(cli& c);
void add_share_server_command(cli& c);
void add_dealer_command(cli& c);
void add_kme_sim_command(cli& c);   // kme-sim, kme-sim certs|fault|status
void add_mount_command(cli& c);
void add_umount_command(cli& c);
void add_up_commands(cli& c);       // up, down
void add_status_command(cli& c);
void add_site_commands(cli& c);     // site init|stop|start|wipe
void add_volume_commands(cli& c);   // volume create
void add_access_commands(cli& c);   // access grant|revoke|list
void add_key_commands(cli& c);      // key status|import|deal|audit
void add_link_commands(cli& c);     // link enrol|import
void add_restore_command(cli& c);
void add_bench_command(cli& c);

}  // namespace warifu
