// What keyd tells of itself: stock, rates, failures, alarms.
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/statvfs.h>
#include <unistd.h>

#include "keyd/daemon/keyd.h"

namespace warifu {
namespace {

using nlohmann::json;

constexpr std::uint64_t hello_slots_few = 64;
/// Pad bytes that a byte of a share costs with its tags and frames (tools/key_stock.h).
constexpr double pad_per_share_byte = 1.01;

std::string_view direction_of(const stream_name& stream, const std::string& site) {
    if (stream.sender == stream.receiver) return "random";
    return stream.sender == site ? "out" : "in";
}

std::uint64_t free_space(const std::string& directory) {
    struct statvfs at{};
    return ::statvfs(directory.c_str(), &at) == 0 ? std::uint64_t{at.f_bavail} * at.f_frsize : 0;
}

/// How long `amount` lasts at `rate`; null when it does not come to an end.
json time_for(std::uint64_t amount, double rate) {
    if (rate <= 0) return nullptr;
    return static_cast<double>(amount) / rate;
}

}  // namespace

json keyd::stream_json(const stream_status& one, std::uint64_t store_free) const {
    const auto now = steady_clock::now();
    const auto flow = flows_.find(one.name);
    const double in = flow == flows_.end() ? 0 : flow->second.in.per_second(now);
    const double out = flow == flows_.end() ? 0 : flow->second.out.per_second(now);
    const auto age = one.oldest_block_ns == 0 ? 0.0 : static_cast<double>(realtime_ns() - one.oldest_block_ns) / 1e9;
    json text{{"from", one.name.sender},
              {"to", one.name.receiver},
              {"direction", direction_of(one.name, options_.site)},
              {"available_bytes", one.available},
              {"held_bytes", one.held},
              {"used_bytes", one.totals.used},
              {"burnt_bytes", one.totals.burnt},
              {"imported_bytes", one.totals.imported},
              {"rate_in_bytes_per_s", in},
              {"rate_out_bytes_per_s", out},
              {"time_to_empty_s", time_for(one.available, out - in)},
              {"time_to_full_s", time_for(store_free, in - out)},
              {"blocks", one.blocks},
              {"hello_slots", one.hello_slots},
              {"oldest_block_age_s", age},
              {"end_offset", one.end},
              {"claim", to_string(one.totals.weakest)}};
    if (one.name.sender == options_.site && one.name.receiver != options_.site) {
        const auto kept = options_.control_reserve + options_.bulk_reserve.value_or(options_.control_reserve);
        const auto usable = one.available > kept ? one.available - kept : 0;
        text["reserved_bytes"] = reserved_by_others(nullptr, one.name);
        text["writable_bytes"] = static_cast<std::uint64_t>(static_cast<double>(usable) / pad_per_share_byte);
    }
    return text;
}

std::vector<std::string> keyd::alarms() const {
    std::vector<std::string> out;
    const auto when = [&](bool stands, std::string text) {
        if (stands) out.push_back(std::move(text));
    };
    when(pool_->lost_bytes() != 0, fmt::format("{} bytes of key were lost: files missing or damaged at the start",
                                               pool_->lost_bytes()));
    when(pool_->log().has_failed(), "the ledger cannot be written any more: keyd ends");
    when(count_.reads_failed != 0, fmt::format("{} reads of key failed", count_.reads_failed));
    when(count_.erasures_failed != 0, fmt::format("{} erasures failed: used key may still be stored",
                                                  count_.erasures_failed));
    when(!last_import_error_.empty(), "the last delivery was refused: " + last_import_error_);
    when(count_.skipped_bytes != 0,
         fmt::format("{} unspent bytes were skipped, as the peer had spent or lacked them: this end, if it was "
                     "restored from an old copy, or the peer's deliveries",
                     count_.skipped_bytes));
    when(was_old_copy_,
         fmt::format("this directory was restored from an older copy: {} bytes of key and random numbers were given "
                     "up, as they may have been used",
                     renounced_bytes_));
    when(!random_error_.empty(), "the random source brings nothing: " + random_error_);
    if (links_)
        for (auto& one : links_->alarms()) out.push_back(std::move(one));
    for (const auto& one : pool_->status()) {
        if (one.name.sender != options_.site || one.name.receiver == options_.site) continue;
        const auto link = one.name.sender + " -> " + one.name.receiver;
        when(one.available <= options_.control_reserve, link + ": only the control reserve is left");
        when(one.hello_slots < hello_slots_few,
             fmt::format("{}: {} greetings are left", link, one.hello_slots));
    }
    return out;
}

json keyd::describe() const {
    const auto store_free = free_space(pool_->blocks_directory());
    auto streams = json::array();
    for (const auto& one : pool_->status()) streams.push_back(stream_json(one, store_free));
    json random_source;
    if (filler_)
        random_source = {{"device", filler_->options().device},
                         {"claim", to_string(filler_->options().strength)},
                         {"target_bytes", filler_->options().target},
                         {"error", random_error_}};
    return json{{"site", options_.site},
                {"claim", to_string(pool_->strength())},
                {"incoming", pool_->incoming_directory()},
                {"pid", ::getpid()},
                {"uptime_s", std::chrono::duration<double>(steady_clock::now() - started_).count()},
                {"control_reserve_bytes", options_.control_reserve},
                {"bulk_reserve_bytes", options_.bulk_reserve.value_or(options_.control_reserve)},
                {"store_free_bytes", store_free},
                {"witness", witness_text()},
                {"renounced_bytes", renounced_bytes_},
                {"clients", clients_.size()},
                {"waiting_claims", waiting_claim_count()},
                {"held_bytes", held_bytes_},
                {"lost_bytes", pool_->lost_bytes()},
                {"imports", count_.imports},
                {"windows_reclaimed", count_.windows_reclaimed},
                {"hello_looks", count_.hello_looks},
                {"hello_verified", count_.hello_verified},
                {"skipped_bytes", count_.skipped_bytes},
                {"failures",
                 {{"imports_refused", count_.imports_refused},
                  {"reads", count_.reads_failed},
                  {"erasures", count_.erasures_failed},
                  {"peers_refused", count_.peers_refused},
                  {"bad_messages", count_.bad_messages},
                  {"claims_timed_out", count_.claims_timed_out},
                  {"health_tests", count_.health_tests_failed},
                  {"windows_abandoned", count_.windows_abandoned}}},
                {"last_import_error", last_import_error_},
                {"random_source", random_source},
                {"links", links_ ? links_->status() : json::array()},
                {"alarms", alarms()},
                {"streams", std::move(streams)}};
}

}  // namespace warifu
