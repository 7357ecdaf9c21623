// warifu kme-sim: a simulated QKD network that serves ETSI GS QKD 014; its certificates and its faults.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "fs/config/json_node.h"
#include "keyd/kme_sim/certificates.h"
#include "keyd/kme_sim/simulation.h"
#include "tools/control.h"
#include "tools/daemon.h"
#include "tools/exit_code.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;
using kme_sim::network_config;

constexpr auto admin_timeout = std::chrono::seconds(10);

struct run_arguments {
    path_fs::path config;
    path_fs::path ready_file;
    path_fs::path admin;
    std::optional<std::uint64_t> rate;
    std::optional<std::uint64_t> key_size;
    std::optional<std::uint64_t> key_size_max;
    std::optional<std::uint64_t> keys_stored_max;
    std::optional<std::uint64_t> keys_per_request_max;
    daemon_options daemon;
};

/// The options replace what the file says; the file's rules hold for them as well.
result<network_config> settings_of(const run_arguments& given) {
    TRY(auto config, kme_sim::load_network_config(given.config));
    auto& limits = config.limits;
    if (given.rate)
        for (auto& link : config.links) link.rate = *given.rate;
    limits.key_size = given.key_size.value_or(limits.key_size);
    limits.key_size_max = given.key_size_max.value_or(limits.key_size_max);
    limits.keys_stored_max = given.keys_stored_max.value_or(limits.keys_stored_max);
    limits.keys_per_request_max = given.keys_per_request_max.value_or(limits.keys_per_request_max);
    if (!given.admin.empty()) config.admin = path_fs::absolute(given.admin);
    const path_fs::path file = path_fs::absolute(given.config);
    auto checked = kme_sim::parse_network_config(kme_sim::to_json_text(config, file), file);
    if (!checked) return fail(errc::bad_argument, "with these options: " + checked.error().text);
    return checked;
}

result<int> run_network(const run_arguments& given) {
    TRY(auto config, settings_of(given));
    std::vector<std::string> names;
    for (const auto& kme : config.kmes)
        if (!kme.remote) names.push_back(kme.name);
    const std::string label = names.size() == 1 ? names[0] : "kme-sim";
    // A file of an earlier run must not be taken for this one's.
    std::error_code ec;
    if (!given.ready_file.empty()) path_fs::remove(given.ready_file, ec);
    const daemon_work work = [&](asio::io_context& core, std::shared_ptr<event> stop, daemon_ready ready) -> task<> {
        CO_TRY(const auto all, kme_sim::simulation::start(core, config));
        std::unique_ptr<control_server> admin;
        if (!config.admin.empty()) {
            const control_handler handler = [&all](std::string command) -> task<ordered_json> {
                co_return all->network().admin(command);
            };
            CO_TRY(admin, control_server::listen(core, config.admin, handler));
        }
        const auto places = all->places();
        for (const auto& kme : places["kmes"]) {
            fmt::print("{} {}\n", kme["name"].get<std::string>(), kme["url"].get<std::string>());
        }
        std::fflush(stdout);
        if (!given.ready_file.empty()) CO_TRY_VOID(write_text_file(given.ready_file, places.dump(4) + "\n"));
        ready();
        co_await stop->wait();
        core.stop();  // connections that are open would keep it running
        co_return result<void>{};
    };
    auto ended = run_daemon(given.daemon, label, work);
    if (!given.ready_file.empty()) path_fs::remove(given.ready_file, ec);
    return ended;
}

struct certificate_arguments {
    path_fs::path directory;
    std::vector<std::string> saes;
    std::vector<std::string> hosts;
    std::string listen = "127.0.0.1";
    std::uint16_t port = 0;
    std::uint64_t rate = 0;
    bool quiet = false;
};

result<int> make_demo(const certificate_arguments& given) {
    const auto directory = path_fs::absolute(given.directory).lexically_normal();
    kme_sim::certificates_wanted wanted;
    wanted.saes = given.saes;
    for (const auto& sae : given.saes) wanted.kmes.push_back("kme-" + sae);
    wanted.hosts = given.hosts;
    if (given.listen != "127.0.0.1") wanted.hosts.push_back(given.listen);
    TRY_VOID(kme_sim::make_certificates(directory, wanted));
    const path_fs::path file = directory / "kme-sim.json";
    std::error_code ec;
    const bool kept = path_fs::exists(file, ec);
    if (!kept) {
        auto config = kme_sim::network_of(directory, given.saes, given.rate);
        config.admin = directory / "admin.sock";
        for (std::size_t i = 0; i < config.kmes.size(); ++i) {
            config.kmes[i].listen.host = given.listen;
            if (given.port != 0) config.kmes[i].listen.port = static_cast<std::uint16_t>(given.port + i);
        }
        TRY_VOID(write_text_file(file, kme_sim::to_json_text(config, file)));
    }
    if (given.quiet) return exit_ok;
    fmt::print("{}: ca.pem, kme-{{{}}}.pem, sae-{{{}}}.pem and their keys\n", directory.string(),
               fmt::join(given.saes, ","), fmt::join(given.saes, ","));
    if (kept)
        fmt::print("{} was there and stays\n", file.string());
    else
        fmt::print("{}: start it with 'warifu kme-sim {}'\n", file.string(), file.string());
    return exit_ok;
}

void add_certs(CLI::App& parent, cli& c) {
    auto* command = cli::command(parent, "certs", "Make certificates and a configuration for a network of SAEs",
                                 "  warifu kme-sim certs /tmp/qkd --sae alice --sae bob --port 8443\n"
                                 "  warifu kme-sim certs /tmp/qkd --sae alice --sae bob --listen 192.0.2.1");
    const auto given = std::make_shared<certificate_arguments>();
    command->add_option("DIR", given->directory, "directory for the files; made if missing")->required();
    command->add_option("--sae", given->saes, "an SAE ID; each gets a KME 'kme-SAE'")->required();
    command->add_option("--host", given->hosts, "one more name or address in the KMEs' certificates");
    command->add_option("--listen", given->listen, "address that the KMEs listen at");
    command->add_option("--port", given->port, "the first KME's port, the next one's is one higher; 0: any free one");
    command->add_option("--rate", given->rate, "key rate of each link in bit/s; 0: no limit");
    command->add_flag("--quiet", given->quiet, "print nothing");
    c.run(command, [given] { return make_demo(*given); });
}

/// One command to the admin socket; its answer as JSON, or a line for a person.
result<int> ask_admin(const path_fs::path& socket, const std::string& command) {
    TRY(const auto answer, ask_control(socket, command, admin_timeout));
    fmt::print("{}\n", answer.dump(4));
    return exit_ok;
}

void add_fault(CLI::App& parent, cli& c) {
    auto* command = cli::command(parent, "fault", "Ask a running simulation for a fault, or to clear them all",
                                 "  warifu kme-sim fault /tmp/qkd/admin.sock link_down link=kme-alice,kme-bob\n"
                                 "  warifu kme-sim fault /tmp/qkd/admin.sock slow kme=kme-alice value=500 count=3\n"
                                 "  warifu kme-sim fault /tmp/qkd/admin.sock rate value=1000000\n"
                                 "  warifu kme-sim fault /tmp/qkd/admin.sock clear\n"
                                 "Faults: link_down rate slow lost wrong_keys html expired unavailable");
    struct arguments {
        path_fs::path socket;
        std::vector<std::string> words;
    };
    const auto given = std::make_shared<arguments>();
    command->add_option("SOCKET", given->socket, "the admin socket of its configuration")->required();
    command->add_option("FAULT", given->words, "clear, or a fault and its kme=, link=, value=, count=")->required();
    c.run(command, [given]() -> result<int> {
        std::string text = fmt::format("{}", fmt::join(given->words, " "));
        return ask_admin(given->socket, text == "clear" ? text : "fault " + text);
    });
}

void add_status(CLI::App& parent, cli& c) {
    auto* command = cli::command(parent, "status", "What a running simulation did: keys, links, faults (JSON)",
                                 "  warifu kme-sim status /tmp/qkd/admin.sock");
    const auto socket = std::make_shared<path_fs::path>();
    command->add_option("SOCKET", *socket, "the admin socket of its configuration")->required();
    c.run(command, [socket] { return ask_admin(*socket, "status"); });
}

}  // namespace

void add_kme_sim_command(cli& c) {
    auto* command = cli::command(
        c.app, "kme-sim", "Simulate QKD key servers by ETSI GS QKD 014 (a daemon; stays in the foreground)",
        "  warifu kme-sim certs /tmp/qkd --sae alice --sae bob --port 8443\n"
        "  warifu kme-sim /tmp/qkd/kme-sim.json &\n"
        "  curl --cacert /tmp/qkd/ca.pem --cert /tmp/qkd/sae-alice.pem --key /tmp/qkd/sae-alice.key \\\n"
        "      https://127.0.0.1:8443/api/v1/keys/bob/status\n"
        "Prints a line 'KME URL' for each KME when it is ready. Ends at SIGTERM. Its keys are simulated.");
    const auto given = std::make_shared<run_arguments>();
    command->add_option("CONFIG", given->config, "the network's JSON file (keyd/kme_sim/FORMAT.md)");
    command->add_option("--ready-file", given->ready_file, "JSON with the KMEs' real URLs, there while it is ready");
    command->add_option("--admin", given->admin, "Unix socket for 'fault' and 'status'");
    command->add_option("--rate", given->rate, "key rate of each link in bit/s; 0: no limit");
    command->add_option("--key-size", given->key_size, "default size of a key in bits");
    command->add_option("--max-key-size", given->key_size_max, "largest size of a key in bits");
    command->add_option("--max-key-count", given->keys_stored_max, "keys of the default size that a link keeps");
    command->add_option("--max-key-per-request", given->keys_per_request_max, "keys that one request may ask for");
    add_daemon_options(command, given->daemon);
    command->require_subcommand(0, 1);
    add_certs(*command, c);
    add_fault(*command, c);
    add_status(*command, c);
    c.run(command, [given, command, &c]() -> result<int> {
        if (!command->get_subcommands().empty()) return c.exit_code;  // which ran before this
        if (given->config.empty()) return fail(errc::bad_argument, "CONFIG is required (or certs, fault, status)");
        return run_network(*given);
    });
}

}  // namespace warifu
