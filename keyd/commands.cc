#include "keyd/commands.h"

#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>
#include <sys/stat.h>
#include <thread>

#include "fs/base/buffer.h"
#include "keyd/audit.h"
#include "keyd/client.h"
#include "keyd/dealer.h"
#include "keyd/pool/pad_file.h"

namespace warifu {
namespace {

using nlohmann::json;

/// 1536 -> "1.5 KiB"
std::string human(std::uint64_t bytes) {
    static constexpr std::array<std::string_view, 6> units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

awaitable<void> fetch_status(std::string socket, std::shared_ptr<result<json>> into) {
    auto client = co_await keyd_client::connect(socket);
    if (!client) {
        *into = fail(client.error());
        co_return;
    }
    const auto text = co_await (*client)->status_json();
    if (!text) {
        *into = fail(text.error());
        co_return;
    }
    auto parsed = json::parse(*text, nullptr, false);
    if (parsed.is_object())
        *into = std::move(parsed);
    else
        *into = fail(errc::bad_format, socket + ": the key manager's status is no JSON object");
}

result<json> status_of(const std::string& socket) {
    asio::io_context core(1);
    const auto found = std::make_shared<result<json>>(fail(errc::unreachable, socket + ": no answer"));
    asio::co_spawn(core, fetch_status(socket, found), asio::detached);
    core.run();
    return std::move(*found);
}

/// "3.2 days"; "-" for what does not come to an end.
std::string human_time(const json& stream, std::string_view key) {
    const auto found = stream.find(key);
    if (found == stream.end() || !found->is_number()) return "-";
    const auto seconds = found->get<double>();
    if (seconds < 120) return fmt::format("{:.0f} s", seconds);
    if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
    if (seconds < 172'800) return fmt::format("{:.1f} h", seconds / 3600);
    return fmt::format("{:.1f} days", seconds / 86'400);
}

std::string human_rate(const json& stream, std::string_view key) {
    return human(static_cast<std::uint64_t>(stream.value(key, 0.0))) + "/s";
}

std::string human_bytes(const json& object, std::string_view key) {
    return human(object.value(key, std::uint64_t{0}));
}

void print_streams(const json& streams, std::ostream& out) {
    constexpr std::string_view row =
        "  {:<10} {:<10} {:<6} {:>10} {:>10} {:>10} {:>10} {:>11} {:>11} {:>9} {:>9} {:>10}\n";
    out << fmt::format(row, "from", "to", "way", "unspent", "out", "used", "burnt", "in", "out", "empty in", "full in",
                       "writable");
    for (const auto& one : streams)
        out << fmt::format(row, one.value("from", "?"), one.value("to", "?"), one.value("direction", "?"),
                           human_bytes(one, "available_bytes"), human_bytes(one, "held_bytes"),
                           human_bytes(one, "used_bytes"), human_bytes(one, "burnt_bytes"),
                           human_rate(one, "rate_in_bytes_per_s"), human_rate(one, "rate_out_bytes_per_s"),
                           human_time(one, "time_to_empty_s"), human_time(one, "time_to_full_s"),
                           one.contains("writable_bytes") ? human_bytes(one, "writable_bytes") : "-");
}

void print_status(const json& status, std::ostream& out) {
    out << fmt::format("{}  claim {}, up {:.0f} s, {} clients, {} claims wait, {} out, room for {}\n",
                       status.value("site", "?"), status.value("claim", "?"), status.value("uptime_s", 0.0),
                       status.value("clients", 0), status.value("waiting_claims", 0),
                       human_bytes(status, "held_bytes"), human_bytes(status, "store_free_bytes"));
    print_streams(status.value("streams", json::array()), out);
    const auto looks = status.value("hello_looks", std::uint64_t{0});
    const auto verified = status.value("hello_verified", std::uint64_t{0});
    if (looks > verified) out << fmt::format("  greetings: {} of {} did not verify\n", looks - verified, looks);
    const auto failures = status.value("failures", json::object());
    for (const auto& [name, count] : failures.items())
        if (count != 0) out << fmt::format("  failures: {} {}\n", name, count.dump());
    for (const auto& alarm : status.value("alarms", json::array()))
        if (alarm.is_string()) out << "  ALARM: " << alarm.get<std::string>() << "\n";
    out << "  witness: " << status.value("witness", "?") << "\n";
}

/// Checks a pad file and copies it under a temporary name, renamed when it is complete.
result<void> bring(const std::string& file, const std::string& incoming) {
    TRY(const auto header, verify_pad_file(file));
    const auto name = std::filesystem::path(file).stem().string();
    const std::string final_path = incoming + "/" + name + std::string(pad_file_suffix);
    const std::string temporary = final_path + ".tmp";
    TRY(const unique_fd from, open_file(file, O_RDONLY));
    TRY(const unique_fd to, open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW));
    // keyd may be another user: the file is its owner's, like the directory.
    struct stat owner{};
    if (::stat(incoming.c_str(), &owner) == 0) (void)::fchown(to.get(), owner.st_uid, owner.st_gid);
    buffer piece(1U << 20U);
    const std::uint64_t size = pad_header_size + header.block.range.size;
    for (std::uint64_t done = 0; done < size;) {
        const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), size - done));
        TRY_VOID(read_at(from.get(), done, piece.span(0, step), file));
        TRY_VOID(write_at(to.get(), done, piece.view(0, step), temporary));
        done += step;
    }
    TRY_VOID(sync_data(to.get(), temporary));
    TRY_VOID(rename_file(temporary, final_path));
    return sync_directory(incoming);
}

result<std::string> incoming_of(const std::string& where) {
    std::error_code code;
    if (std::filesystem::is_directory(where, code)) {
        if (!std::filesystem::is_directory(where + "/incoming", code))
            return fail(errc::not_found, where + ": has no incoming/: not a pads directory");
        return where + "/incoming";
    }
    TRY(const auto status, status_of(where));
    const auto incoming = status.value("incoming", "");
    if (incoming.empty()) return fail(errc::bad_format, where + ": the key manager does not say where files go");
    return incoming;
}

json to_json(const audit_report& report) {
    json out{{"findings", report.findings()},
             {"stores", json::array()},
             {"entries", json::array()},
             {"unreadable", report.unreadable}};
    for (const auto& one : report.stores)
        out["stores"].push_back({{"directory", one.directory},
                                 {"site", one.site},
                                 {"running", one.running},
                                 {"streams", one.streams},
                                 {"handouts", one.handouts},
                                 {"history_dropped", one.history_dropped},
                                 {"spent_bytes", one.spent_bytes},
                                 {"free_bytes", one.free_bytes}});
    for (const auto& one : report.entries)
        out["entries"].push_back({{"finding", one.finding},
                                  {"site", one.site},
                                  {"from", one.stream.sender},
                                  {"to", one.stream.receiver},
                                  {"offset", one.range.offset},
                                  {"size", one.range.size},
                                  {"text", one.text}});
    return out;
}

void print_audit(const audit_report& report, std::ostream& out) {
    out << fmt::format("{:<16} {:<8} {:>8} {:>10} {:>11} {:>11}\n", "site", "keyd", "streams", "hand-outs", "spent",
                       "unspent");
    for (const auto& one : report.stores) {
        out << fmt::format("{:<16} {:<8} {:>8} {:>10} {:>11} {:>11}\n", one.site, one.running ? "running" : "stopped",
                           one.streams, one.handouts, human(one.spent_bytes), human(one.free_bytes));
        if (one.history_dropped != 0)
            out << fmt::format("  {} older hand-outs are known as spent only\n", one.history_dropped);
    }
    for (const auto& one : report.entries)
        out << fmt::format("{} {} {} -> {} [{}, {}): {}\n", one.finding ? "FINDING" : "note", one.site,
                           one.stream.sender, one.stream.receiver, one.range.offset, one.range.end(), one.text);
    out << (report.findings() == 0 ? "clean: no byte was used twice or could be\n"
                                   : fmt::format("{} findings\n", report.findings()));
}

}  // namespace

int key_status(const std::vector<std::string>& sockets, bool as_json, std::ostream& out, std::ostream& err) {
    int code = key_exit_good;
    auto all = json::array();
    for (const auto& socket : sockets) {
        auto status = status_of(socket);
        if (!status) {
            err << status.error().message() << "\n";
            code = key_exit_unreadable;
            continue;
        }
        if (as_json)
            all.push_back(std::move(*status));
        else
            print_status(*status, out);
    }
    if (as_json) out << all.dump(2) << "\n";
    return code;
}

int key_watch(const std::vector<std::string>& sockets, std::chrono::milliseconds pause,
              const std::function<bool()>& goes_on, std::ostream& out, std::ostream& err) {
    constexpr std::string_view home_and_clear = "\x1b[H\x1b[2J";
    int code = key_exit_good;
    while (goes_on()) {
        std::ostringstream page;
        code = key_status(sockets, false, page, page);
        out << home_and_clear << page.str() << std::flush;
        if (!out) {
            err << "cannot write the status\n";
            return key_exit_unreadable;
        }
        std::this_thread::sleep_for(pause);
    }
    return code;
}

int key_import(const std::string& where, const std::vector<std::string>& files, std::ostream& out, std::ostream& err) {
    const auto incoming = incoming_of(where);
    if (!incoming) {
        err << incoming.error().message() << "\n";
        return key_exit_unreadable;
    }
    int code = key_exit_good;
    for (const auto& file : files) {
        const auto brought = bring(file, *incoming);
        if (brought) {
            out << file << ": handed to the key manager\n";
            continue;
        }
        err << brought.error().message() << "\n";
        code = key_exit_findings;
    }
    return code;
}

int key_deal(const key_deal_options& options, std::ostream& out, std::ostream& err) {
    std::vector<std::string> directories{options.out_from};
    if (!options.random) directories.push_back(options.out_to);
    for (const auto& directory : directories) {
        std::error_code code;
        std::filesystem::create_directories(directory, code);
        if (code) {
            err << "cannot create " << directory << ": " << code.message() << "\n";
            return key_exit_unreadable;
        }
    }
    for (std::uint64_t i = 0; i < options.count; ++i) {
        block_header block;
        block.id = random_uuid<block_id>();
        block.kind = options.random ? block_kind::random : block_kind::pad;
        block.strength = claim::simulated;
        block.stream = {options.from, options.random ? options.from : options.to};
        block.range = {options.offset + i * options.size, options.size};
        block.hello_size = options.random ? 0 : hello_region_size(options.size);
        const auto written = write_identical_blocks(block, directories);
        if (!written) {
            err << written.error().message() << "\n";
            return key_exit_findings;
        }
    }
    out << fmt::format("{} blocks of {} for {} -> {}, offsets {} to {}\n", options.count, human(options.size),
                       options.from, options.random ? options.from : options.to, options.offset,
                       options.offset + options.count * options.size);
    return key_exit_good;
}

int key_audit(const std::vector<std::string>& directories, bool as_json, std::ostream& out, std::ostream& err) {
    const auto report = audit_stores(directories);
    for (const auto& line : report.unreadable) err << line << "\n";
    if (as_json)
        out << to_json(report).dump(2) << "\n";
    else
        print_audit(report, out);
    if (report.findings() != 0) return key_exit_findings;
    return report.unreadable.empty() ? key_exit_good : key_exit_unreadable;
}

}  // namespace warifu
