#include "keyd/openmetrics.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace warifu {
namespace {

using nlohmann::json;

/// Backslash, quote and line feed are escaped in label values.
std::string escaped(std::string_view value) {
    std::string out;
    for (const char c : value) {
        if (c == '\\' || c == '"') out += '\\';
        if (c == '\n')
            out += "\\n";
        else
            out += c;
    }
    return out;
}

struct family {
    std::string_view name;  // without warifu_keyd_ and without _total
    std::string_view type;
    std::string_view unit;  // "": none; else the name ends with it
    std::string_view help;
    std::string_view key;  // of the status
};

constexpr std::array overall{
    family{"uptime_seconds", "gauge", "seconds", "Since this key manager started.", "uptime_s"},
    family{"clients", "gauge", "", "Connected consumers.", "clients"},
    family{"waiting_claims", "gauge", "", "Claims that wait for key.", "waiting_claims"},
    family{"held_bytes", "gauge", "bytes", "Handed out and not released, all streams.", "held_bytes"},
    family{"store_free_bytes", "gauge", "bytes", "Free space where blocks are stored.", "store_free_bytes"},
    family{"lost_bytes", "gauge", "bytes", "Unspent key whose files were missing at the start.", "lost_bytes"},
    family{"imports", "counter", "", "Blocks taken in.", "imports"},
    family{"windows_reclaimed", "counter", "", "Windows that came through a restart.", "windows_reclaimed"},
    family{"hello_looks", "counter", "", "Greetings that named a slot here.", "hello_looks"},
    family{"hello_verified", "counter", "", "Greetings that verified.", "hello_verified"},
    family{"skipped_bytes", "counter", "bytes", "Unspent key that a peer had spent or lacked.", "skipped_bytes"},
    family{"rollbacks_seen", "counter", "", "Ledgers found to be old copies.", "rollbacks_seen"},
};
constexpr std::array per_stream{
    family{"available_bytes", "gauge", "bytes", "Unspent key.", "available_bytes"},
    family{"stream_held_bytes", "gauge", "bytes", "Handed out and not released.", "held_bytes"},
    family{"imported_bytes", "counter", "bytes", "Key taken in, over the life of the ledger.", "imported_bytes"},
    family{"used_bytes", "counter", "bytes", "Key used, over the life of the ledger.", "used_bytes"},
    family{"burnt_bytes", "counter", "bytes", "Key spent without use, over the life of the ledger.", "burnt_bytes"},
    family{"rate_in_bytes_per_second", "gauge", "", "Key taken in, average of a minute.", "rate_in_bytes_per_s"},
    family{"rate_out_bytes_per_second", "gauge", "", "Key handed out, average of a minute.", "rate_out_bytes_per_s"},
    family{"time_to_empty_seconds", "gauge", "seconds", "At these rates; absent when stock grows.", "time_to_empty_s"},
    family{"time_to_full_seconds", "gauge", "seconds", "Until the store is full; absent when stock falls.",
           "time_to_full_s"},
    family{"writable_bytes", "gauge", "bytes", "Share bytes that can be sent before bulk pauses.", "writable_bytes"},
    family{"reserved_bytes", "gauge", "bytes", "Unspent key set aside for data that was accepted.", "reserved_bytes"},
    family{"blocks", "gauge", "", "Block files.", "blocks"},
    family{"hello_slots", "gauge", "", "Unspent slots for greetings.", "hello_slots"},
    family{"oldest_block_age_seconds", "gauge", "seconds", "Of the oldest block with unspent key.",
           "oldest_block_age_s"},
};

void put_head(std::string& out, const family& f) {
    out += fmt::format("# TYPE warifu_keyd_{} {}\n", f.name, f.type);
    if (!f.unit.empty()) out += fmt::format("# UNIT warifu_keyd_{} {}\n", f.name, f.unit);
    out += fmt::format("# HELP warifu_keyd_{} {}\n", f.name, f.help);
}

void put_sample(std::string& out, const family& f, std::string_view labels, const json& value) {
    out += fmt::format("warifu_keyd_{}{}{} {}\n", f.name, f.type == "counter" ? "_total" : "", labels, value.dump());
}

bool has_number(const json& object, std::string_view key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number();
}

std::string text_of(const json& object, std::string_view key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? escaped(found->get<std::string>()) : std::string();
}

void put_streams(std::string& out, const json& streams) {
    for (const auto& f : per_stream) {
        put_head(out, f);
        for (const auto& stream : streams) {
            if (!stream.is_object() || !has_number(stream, f.key)) continue;
            const auto labels = fmt::format("{{from=\"{}\",to=\"{}\",direction=\"{}\"}}", text_of(stream, "from"),
                                            text_of(stream, "to"), text_of(stream, "direction"));
            put_sample(out, f, labels, stream.at(f.key));
        }
    }
}

}  // namespace

std::string openmetrics_of(const json& status) {
    std::string out = "# TYPE warifu_keyd info\n# HELP warifu_keyd The site and the weakest claim of its key.\n";
    out += fmt::format("warifu_keyd_info{{site=\"{}\",claim=\"{}\"}} 1\n", text_of(status, "site"),
                       text_of(status, "claim"));
    for (const auto& f : overall) {
        if (!has_number(status, f.key)) continue;
        put_head(out, f);
        put_sample(out, f, "", status.at(f.key));
    }
    constexpr family failures{"failures", "counter", "", "What went wrong, by kind.", "failures"};
    put_head(out, failures);
    for (const auto& [kind, count] : status.value("failures", json::object()).items())
        put_sample(out, failures, fmt::format("{{kind=\"{}\"}}", escaped(kind)), count);
    constexpr family alarms{"alarms", "gauge", "", "Alarms that stand; the status text says which.", "alarms"};
    put_head(out, alarms);
    put_sample(out, alarms, "", status.value("alarms", json::array()).size());
    put_streams(out, status.value("streams", json::array()));
    return out + "# EOF\n";
}

}  // namespace warifu
