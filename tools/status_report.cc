#include "tools/status_report.h"

#include <algorithm>
#include <fmt/format.h>

#include "tools/control.h"
#include "tools/core_thread.h"
#include "tools/key_stock.h"
#include "tools/site_setup.h"
#include "tools/text.h"

namespace warifu {
namespace {

constexpr std::uint64_t stuck_shown_ms = 20'000;
constexpr auto ask_timeout = std::chrono::seconds(10);

/// The member of `from`, or null.
ordered_json or_null(const ordered_json& from, const char* key) {
    const auto found = from.find(key);
    return found == from.end() ? ordered_json() : *found;
}

std::string string_of(const ordered_json& value, const std::string& otherwise = "-") {
    return value.is_string() ? value.get<std::string>() : otherwise;
}

std::string size_of(const ordered_json& value) {
    return value.is_number_unsigned() ? size_text(value.get<std::uint64_t>()) : "-";
}

class reporter {
  public:
    reporter(const volume_place& place, site_config own, std::vector<site_config> all)
        : place_(place), own_(std::move(own)), all_(std::move(all)) {}

    ordered_json run() {
        const auto asked = ask_control(place_.volume.run / "mount.sock", "status", ask_timeout);
        mounted_ = asked.has_value();
        if (asked) mount_ = *asked;
        core_thread core;
        links_ = core.wait_for(link_stocks(all_));
        ordered_json out;
        out["volume"] = volume();
        out["sites"] = sites();
        out["links"] = links();
        out["mount"] = {{"state", mounted_ ? "up" : "down"},       {"mountpoint", or_null(mount_, "mountpoint")},
                        {"pid", or_null(mount_, "pid")},           {"upload", or_null(mount_, "upload")},
                        {"requests", or_null(mount_, "requests")}, {"counters", or_null(mount_, "counters")},
                        {"resume", or_null(mount_, "resume")},     {"pads", or_null(mount_, "links")}};
        if (place_.layout) {
            for (const auto part : {deployment_part::dealer, deployment_part::kme_sim})
                out[part == deployment_part::dealer ? "dealer" : "kme_sim"] =
                    part_runs(*place_.layout, "", part) ? "up" : "down";
        }
        const bool all_up = std::ranges::all_of(out["sites"], [](const ordered_json& site) {
            return site["state"] == "up" && (site["keyd"].is_null() || site["keyd"] == "up");
        });
        out["healthy"] = mounted_ && all_up;
        out["usable"] = mounted_ && up_count_ >= place_.volume.threshold;
        return out;
    }

  private:
    ordered_json volume() {
        const ordered_json told = or_null(mount_, "volume");
        const bool local_up = state_of(own_.name) == "up";
        std::vector<std::uint64_t> inbound, outbound;
        for (const auto& link : links_) {
            if (!link.known) continue;
            const std::string& peer = link.from == own_.name ? link.to : link.from;
            if (state_of(peer) == "down") continue;
            if (link.to == own_.name) inbound.push_back(link.available);
            if (link.from == own_.name && state_of(peer) == "up") outbound.push_back(link.available);
        }
        const bool writable = told.is_object() && or_null(told, "writable") == true;
        const std::uint64_t space = told.is_object() ? told.value("free_bytes", std::uint64_t{0}) : 0;
        ordered_json out = {{"id", to_text(place_.volume.id)},
                            {"name", place_.volume.name},
                            {"k", place_.volume.threshold},
                            {"n", place_.volume.sites.size()},
                            {"epoch", told.is_object() ? or_null(told, "epoch") : ordered_json()},
                            {"writable", writable},
                            {"claim", claim_text(told)},
                            {"view", told.is_object() ? or_null(told, "view") : ordered_json::array()},
                            {"restorable_bytes", restorable_bytes(place_.volume.threshold, local_up, inbound)},
                            {"writable_bytes", writable ? writable_bytes(space, outbound) : 0},
                            {"reason", told.is_object() ? or_null(told, "reason") : ordered_json("not mounted")}};
        for (const char* more :
             {"sequence", "capacity_bytes", "free_bytes", "user_bytes", "random_bytes", "journal_bytes"})
            out[more] = told.is_object() ? or_null(told, more) : ordered_json();
        return out;
    }

    /// The mount knows the weakest of randomness and pads. Without a mount the configuration says as much: drbg is
    /// computational.
    std::string claim_text(const ordered_json& told) const {
        if (told.is_object() && told.contains("claim") && told["claim"].is_string())
            return told["claim"].get<std::string>();
        return place_.volume.randomness == "drbg" ? "computational" : "unknown";
    }

    /// What the mount says of a site, corrected by what a look at its process says (the mount notices a death a little
    /// later).
    std::string state_of(const std::string& name) const {
        if (place_.layout && !part_runs(*place_.layout, name, deployment_part::server)) return "down";
        const ordered_json* told = told_of(name);
        if (told != nullptr) return string_of((*told)["state"], "down");
        // Not mounted: a server that runs is up as far as anybody can tell.
        return place_.layout ? "up" : "down";
    }

    const ordered_json* told_of(const std::string& name) const {
        const auto sites = mount_.find("sites");
        if (sites == mount_.end()) return nullptr;
        for (const auto& site : *sites)
            if (site["name"] == name) return &site;
        return nullptr;
    }

    ordered_json sites() {
        ordered_json out = ordered_json::array();
        for (const auto& name : place_.volume.sites) {
            const ordered_json* told = told_of(name);
            const std::string state = state_of(name);
            if (state == "up") ++up_count_;
            ordered_json site = {{"name", name}, {"state", state}, {"keyd", ordered_json()}};
            if (place_.layout) site["keyd"] = part_runs(*place_.layout, name, deployment_part::keyd) ? "up" : "down";
            for (const char* more : {"capacity_bytes", "free_bytes", "heal_done", "heal_total", "reason"})
                site[more] = told == nullptr ? ordered_json() : or_null(*told, more);
            out.push_back(std::move(site));
        }
        return out;
    }

    ordered_json links() const {
        ordered_json out = ordered_json::array();
        for (const auto& link : links_) {
            out.push_back({{"from", link.from},
                           {"to", link.to},
                           {"pad_available_bytes", link.available},
                           {"pad_used_bytes", link.used},
                           {"pad_burnt_bytes", link.burnt},
                           {"claim", link.claim},
                           {"known", link.known}});
        }
        return out;
    }

    const volume_place& place_;
    site_config own_;
    std::vector<site_config> all_;  // whose keyds are asked
    ordered_json mount_ = ordered_json::object();
    bool mounted_ = false;
    std::vector<stream_stock> links_;
    std::size_t up_count_ = 0;
};

std::string heading(const ordered_json& report) {
    const auto& volume = report["volume"];
    std::string text =
        fmt::format("volume    {} ({}), {} of {} sites give it back, claim: {}\n", string_of(volume["name"]),
                    string_of(volume["id"]), volume["k"].dump(), volume["n"].dump(), string_of(volume["claim"]));
    const bool mounted = report["mount"]["state"] == "up";
    text += fmt::format("mount     {}{}\n", mounted ? string_of(report["mount"]["mountpoint"]) : "down",
                        !mounted                     ? ""
                        : volume["writable"] == true ? ", writable"
                                                     : ", read-only: " + string_of(volume["reason"], ""));
    const auto& upload = report["mount"]["upload"];
    if (mounted && upload.is_object()) {
        const bool finished = or_null(upload, "finished") == true;
        text += fmt::format("upload    {}\n", finished ? "finished: everything written is durable"
                                                       : "under way, " + size_of(upload["bytes_left"]) + " to store");
        for (const auto& peer : upload.value("waits_for_key", ordered_json::array()))
            text += fmt::format("waiting   for key to {}: the copy goes on as fast as key comes\n", string_of(peer));
    }
    const auto& requests = report["mount"]["requests"];
    if (mounted && requests.is_object() && requests.value("oldest_ms", std::uint64_t{0}) >= stuck_shown_ms)
        text += fmt::format("stuck     a request has waited for {} s, {} wait\n",
                            requests.value("oldest_ms", std::uint64_t{0}) / 1000, requests["waiting"].dump());
    text += fmt::format("epoch     {}\n", string_of(volume["epoch"]));
    text += fmt::format("can write {} more (space and key), can read back {} (key)\n",
                        size_of(volume["writable_bytes"]), size_of(volume["restorable_bytes"]));
    return text;
}

}  // namespace

result<ordered_json> status_report(const volume_place& place) {
    TRY(auto own, find_site(place, ""));
    std::vector<site_config> all = {own};
    if (place.layout) {
        all.clear();
        for (const auto& name : place.volume.sites) {
            TRY(auto site, load_site_config(place.layout->site_file(name)));
            all.push_back(std::move(site));
        }
    }
    return reporter(place, std::move(own), std::move(all)).run();
}

std::string status_table(const ordered_json& report) {
    std::vector<std::vector<std::string>> sites = {{"SITE", "STATE", "KEYD", "FREE", "STORE", "NOTE"}};
    for (const auto& site : report["sites"]) {
        std::string note = string_of(site["reason"], "");
        if (site["heal_total"].is_number_unsigned() && site["heal_total"] != 0)
            note += fmt::format("{}healed {} of {} chunks", note.empty() ? "" : "; ", site["heal_done"].dump(),
                                site["heal_total"].dump());
        sites.push_back({string_of(site["name"]), string_of(site["state"]), string_of(site["keyd"]),
                         size_of(site["free_bytes"]), size_of(site["capacity_bytes"]), note});
    }
    std::vector<std::vector<std::string>> links = {{"LINK", "KEY LEFT", "KEY USED", "BURNT", "CLAIM"}};
    for (const auto& link : report["links"]) {
        const bool known = link["known"] == true;
        links.push_back({fmt::format("{} -> {}", string_of(link["from"]), string_of(link["to"])),
                         known ? size_of(link["pad_available_bytes"]) : "unknown",
                         known ? size_of(link["pad_used_bytes"]) : "", known ? size_of(link["pad_burnt_bytes"]) : "",
                         string_of(link["claim"], "")});
    }
    return heading(report) + "\n" + table_text(sites) + "\n" + table_text(links) +
           "\nNo witness watches the ledgers: both ends of a link restored from old copies together would not be "
           "noticed.\n";
}

}  // namespace warifu
