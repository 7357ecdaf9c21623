#include "tools/mount_control.h"

#include <fstream>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "fs/async/fan_out.h"
#include "fs/mount/request_watch.h"

namespace warifu {
namespace {

constexpr std::uint32_t look_interval_ms = 2'000;

/// Bytes of this process that are in memory, now and at most: /proc/self/status, VmRSS and VmHWM.
std::uint64_t memory_field(std::string_view name) {
    std::ifstream in("/proc/self/status");
    std::string line;
    while (std::getline(in, line))
        if (line.starts_with(name)) return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) * 1024;
    return 0;
}

}  // namespace

mount_control::mount_control(volume_session& session, file_system& files, std::string mountpoint,
                             std::shared_ptr<mount_health> health)
    : session_(session), files_(files), mountpoint_(std::move(mountpoint)), health_(std::move(health)) {}

task<ordered_json> mount_control::answer(std::string command) {
    if (command == "status") co_return co_await status();
    if (command == "sync") co_return co_await sync();
    co_return fail(errc::bad_argument, "unknown command");
}

task<ordered_json> mount_control::sync() {
    auto begin = [this] { return files_.begin_sync_all(); };
    CO_TRY(const auto ticket, co_await run_in(worker_, std::move(begin)));
    CO_TRY_VOID(co_await files_.finish_sync(ticket));
    co_return ordered_json{{"durable", true}};
}

task<ordered_json> mount_control::status() {
    auto collect = [this] { return collected(); };
    ordered_json out = co_await run_in(worker_, std::move(collect));
    ordered_json links = ordered_json::array();
    const auto stocks = co_await session_.stocks();
    for (const auto& link : stocks)
        links.push_back({{"peer", link.peer}, {"sent_bytes", link.sent}, {"received_bytes", link.received}});
    out["links"] = std::move(links);
    out["upload"]["waits_for_key"] = session_.waiting_for_key();
    out["volume"]["claim"] = std::string(to_string(session_.strength()));
    co_return out;
}

ordered_json mount_control::collected() {
    const volume_status status = session_.get().status();
    ordered_json view = ordered_json::array(), sites = ordered_json::array();
    for (const auto& site : status.sites) {
        const bool member = site.role == site_role::member;
        if (member) view.push_back(site.name);
        sites.push_back({{"name", site.name},
                         {"state", member                            ? "up"
                                   : site.role == site_role::learner ? "learner"
                                                                     : "down"},
                         {"capacity_bytes", site.capacity},
                         {"free_bytes", site.free},
                         {"heal_done", site.heal_done},
                         {"heal_total", site.heal_total},
                         {"reason", site.reason}});
    }
    const auto counters = files_.counters();
    const auto& redo = files_.options().redo;
    return {{"pid", ::getpid()},
            {"resume",
             {{"on", redo != nullptr},
              {"daemons", redo ? redo->starts() : 0},
              {"complete", redo && redo->is_complete()},
              {"bytes", redo ? redo->used() : 0}}},
            {"serving", health_->serving.load()},
            {"mountpoint", mountpoint_},
            {"volume",
             {{"epoch", to_text(status.epoch)},
              {"sequence", status.sequence},
              {"writable", status.writable},
              {"reason", status.reason},
              {"claim", std::string(to_string(status.strength))},
              {"view", std::move(view)},
              {"capacity_bytes", session_.get().capacity_bytes()},
              {"free_bytes", session_.get().free_bytes()},
              {"user_bytes", status.user_bytes},
              {"random_bytes", status.random_bytes},
              {"journal_bytes", status.journal_bytes}}},
            {"sites", std::move(sites)},
            {"upload", {{"finished", !counters.uncommitted}, {"bytes_left", counters.dirty_bytes}}},
            {"requests",
             {{"waiting", health_->waiting.load()},
              {"oldest_ms", health_->oldest_ms.load()},
              {"stuck_total", health_->stuck.load()}}},
            {"counters",
             {{"bytes_written", counters.bytes_written},
              {"bytes_read", counters.bytes_read},
              {"commits", counters.commits},
              {"commits_failed", counters.commits_failed},
              {"chunks_put", counters.chunks_put},
              {"puts_failed", counters.puts_failed},
              {"dirty_bytes", counters.dirty_bytes},
              {"open_files", counters.open_files},
              {"memory_bytes", memory_field("VmRSS:")},
              {"memory_peak_bytes", memory_field("VmHWM:")}}}};
}

mount_watcher::mount_watcher(asio::io_context& core, volume_session& session, const parsed_mount_options& options,
                             std::shared_ptr<mount_health> health)
    : session_(session),
      health_(std::move(health)),
      read_only_(options.read_only),
      state_(options.alarm_key == 0 ? alarm_key_default : options.alarm_key),
      runner_(options.alarm),
      stop_(core.get_executor()),
      ended_(core.get_executor()) {
    asio::co_spawn(core, run(), asio::detached);
}

awaitable<void> mount_watcher::stop() {
    stop_.set();
    co_await ended_.wait();
}

awaitable<void> mount_watcher::run() {
    while (!co_await stop_.wait(deadline_in_ms(look_interval_ms))) {
        alarm_view view;
        const volume_status status = session_.get().status();
        for (const auto& site : status.sites)
            if (site.role != site_role::member) view.lost_sites[site.name] = site.reason;
        view.writable = read_only_ || status.writable;
        view.reason = status.reason;
        view.capacity = session_.get().capacity_bytes();
        view.free = session_.get().free_bytes();
        view.stuck = health_->oldest_ms >= request_stuck_ms;
        const auto stocks = co_await session_.stocks();
        for (const auto& link : stocks)
            if (link.known) view.outbound_key[link.peer] = link.outbound;
        for (auto& event : state_.step(view)) {
            spdlog::warn("alarm: {} {}: {}", event.name, event.about, event.text);
            runner_.tell(std::move(event));
        }
    }
    ended_.set();
}

}  // namespace warifu
