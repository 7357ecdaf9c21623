#include "fs/mount/request_watch.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace warifu {
namespace {

std::uint64_t ms_between(deadline from, deadline to) {
    const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(to - from).count();
    return passed > 0 ? static_cast<std::uint64_t>(passed) : 0;
}

}  // namespace

request_watch::entry::entry(request_watch& watch, const char* what)
    : watch_(&watch), what_(what), since_(steady_clock::now()) {
    const std::lock_guard lock(watch.mutex_);
    next_ = watch.first_;
    if (next_ != nullptr) next_->previous_ = this;
    watch.first_ = this;
}

void request_watch::entry::end() {
    if (watch_ == nullptr) return;
    const std::lock_guard lock(watch_->mutex_);
    (previous_ == nullptr ? watch_->first_ : previous_->next_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
    watch_ = nullptr;
}

request_watch::state request_watch::now() const {
    return at(steady_clock::now());
}

request_watch::state request_watch::at(deadline moment) const {
    const std::lock_guard lock(mutex_);
    state found;
    found.stuck = stuck_;
    for (const entry* one = first_; one != nullptr; one = one->next_) {
        ++found.waiting;
        found.oldest_ms = std::max(found.oldest_ms, ms_between(one->since_, moment));
    }
    return found;
}

void request_watch::tell(deadline moment, const std::function<void(const std::string&)>& report) {
    std::string line;
    {
        const std::lock_guard lock(mutex_);
        std::size_t waiting = 0;
        std::size_t stuck = 0;
        for (entry* one = first_; one != nullptr; one = one->next_) {
            ++waiting;
            const std::uint64_t waited = ms_between(one->since_, moment);
            if (waited < request_stuck_ms) continue;
            ++stuck;
            if (std::exchange(one->told_, true)) continue;
            ++stuck_;
            line = fmt::format("a {} has been waiting for {} s", one->what_, waited / 1000);
        }
        if (!line.empty()) line += fmt::format("; {} of {} requests are stuck", stuck, waiting);
        if (line.empty() && told_ && stuck == 0) line = "no request is stuck any more";
        told_ = stuck != 0;
    }
    if (!line.empty()) report(line);
}

}  // namespace warifu
