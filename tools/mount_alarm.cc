#include "tools/mount_alarm.h"

#include <array>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include "tools/text.h"

namespace warifu {
namespace {

constexpr std::uint64_t space_low_part = 20;  // one twentieth

}  // namespace

void alarm_state::change(std::vector<alarm_event>& events, const std::string& about, bool bad, const char* begins,
                         const char* ends, const std::string& text) {
    bool& before = bad_[{begins, about}];
    if (before == bad) return;
    before = bad;
    events.push_back({bad ? begins : ends, about, text});
}

std::vector<alarm_event> alarm_state::step(const alarm_view& now) {
    std::vector<alarm_event> events;
    for (const auto& [site, why] : now.lost_sites) change(events, site, true, "site_lost", "site_back", why);
    for (const auto& [what, bad] : std::map(bad_))
        if (what.first == "site_lost" && bad && !now.lost_sites.contains(what.second))
            change(events, what.second, false, "site_lost", "site_back", "a member again");
    for (const auto& [peer, left] : now.outbound_key)
        change(events, peer, left < key_low_, "key_low", "key_enough", fmt::format("{} of key left", size_text(left)));
    if (now.capacity != 0)
        change(events, "-", now.free < now.capacity / space_low_part, "space_low", "space_enough",
               fmt::format("{} of {} free", size_text(now.free), size_text(now.capacity)));
    change(events, "-", !now.writable, "read_only", "writable", now.writable ? "takes writes again" : now.reason);
    change(events, "-", now.stuck, "stuck", "moving",
           now.stuck ? "requests without a reply for long; the log names them" : "no request is stuck any more");
    return events;
}

alarm_runner::alarm_runner(std::string program) : program_(std::move(program)), thread_([this] { run(); }) {}

alarm_runner::~alarm_runner() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

void alarm_runner::tell(alarm_event event) {
    {
        const std::lock_guard lock(mutex_);
        if (queue_.size() >= alarm_queue_max) queue_.pop_front();
        queue_.push_back(std::move(event));
    }
    wake_.notify_all();
}

void alarm_runner::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
        if (stop_) return;
        const alarm_event event = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        run_program(event);
        lock.lock();
    }
}

void alarm_runner::run_program(const alarm_event& event) {
    std::array<std::string, 4> words = {program_, event.name, event.about, event.text};
    std::array<char*, 5> arguments{};
    for (std::size_t i = 0; i < words.size(); ++i) arguments[i] = words[i].data();
    // The mount's threads block signals as they like; the program begins with none blocked.
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    const int problem = ::posix_spawn(&pid, program_.c_str(), nullptr, &attributes, arguments.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    if (problem != 0) {
        spdlog::error("alarm: {} cannot be run: {}", program_, std::strerror(problem));
        return;
    }
    if (!wait_for_end(pid)) spdlog::error("alarm: {} did not end well", program_);
}

/// False when it failed, or had to be killed: after alarm_program_ms, or alarm_last_ms after the mount's end.
bool alarm_runner::wait_for_end(int pid) {
    using std::chrono::milliseconds, std::chrono::steady_clock;
    auto until = steady_clock::now() + milliseconds(alarm_program_ms);
    bool stopping = false;
    for (int status = 0;;) {
        const int ended = ::waitpid(pid, &status, WNOHANG);
        if (ended != 0) return ended == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, milliseconds(50), [&] { return stop_ && !stopping; });
        if (stop_ && !std::exchange(stopping, true))
            until = std::min(until, steady_clock::now() + milliseconds(alarm_last_ms));
        if (steady_clock::now() < until) continue;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, &status, 0);
        return false;
    }
}

}  // namespace warifu
