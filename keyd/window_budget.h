#pragma once
// How much of a stream may be out (handed out and not released) at once, so that a crash burns little key. The bound
// follows the rate at which key arrives; a stream of unknown rate (pad files) has none. Pure memory.
//
// A message of data is begun only when confirmed windows hold all of it (fs/channel), and two sessions that each hold
// half of what they need under a tight bound would wait for each other for ever. So one session at a time, the first
// that needs it, may go beyond the bound, up to what the largest message takes. Its turn ends when the stream is below
// the bound again, when it got as much as that, or nothing for a while: others may keep for long what they do not need.

#include <algorithm>
#include <map>
#include <optional>

#include "fs/base/clock.h"
#include "fs/base/ids.h"
#include "keyd/limits.h"

namespace warifu {

class window_budget {
  public:
    /// `bytes_per_s` at which key arrives; nullopt: not known, no bound.
    void set_rate(std::optional<std::uint64_t> bytes_per_s) {
        bound_.reset();
        if (bytes_per_s) bound_ = std::max<std::uint64_t>(*bytes_per_s * burn_time_max_s, held_window_bytes_min);
    }
    std::optional<std::uint64_t> bound() const { return bound_; }
    std::uint64_t held() const { return held_; }

    /// How much of size_want this session may have now: at least size_min, or 0: it must wait for a release, and ask
    /// again before beyond_bound_time_ms is over.
    std::uint64_t grant(const session_id& session, std::uint64_t size_min, std::uint64_t size_want,
                        deadline now) const {
        if (!bound_) return size_want;
        if (held_ + size_min <= *bound_) {
            // A part of what is left, so that others find something too.
            const std::uint64_t part = (*bound_ - held_) / 4;
            return std::clamp(part, size_min, size_want);
        }
        if (beyond_ && *beyond_ != session && now < beyond_until_) return 0;
        const auto own = sessions_.find(session);
        const std::uint64_t has = own == sessions_.end() ? 0 : own->second;
        if (has + size_min > held_by_one_session_max) return 0;
        return std::min(size_want, held_by_one_session_max - has);
    }
    /// Key was found for what was granted: a turn begins or goes on. Before took().
    void granted(const session_id& session, std::uint64_t size, deadline now) {
        if (!bound_ || held_ + size <= *bound_) return;
        if (beyond_ != session) granted_in_turn_ = 0;
        beyond_ = session;
        granted_in_turn_ += size;
        const bool is_over = granted_in_turn_ >= held_by_one_session_max;
        beyond_until_ = is_over ? now : now + std::chrono::milliseconds(beyond_bound_time_ms);
    }
    void took(const session_id& session, std::uint64_t size) {
        held_ += size;
        sessions_[session] += size;
    }
    void gave_back(const session_id& session, std::uint64_t size) {
        held_ -= size;
        const auto own = sessions_.find(session);
        if (own != sessions_.end() && (own->second -= std::min(own->second, size)) == 0) sessions_.erase(own);
        if (beyond_ && (!sessions_.contains(*beyond_) || (bound_ && held_ <= *bound_))) beyond_.reset();
    }

  private:
    std::optional<std::uint64_t> bound_;
    std::uint64_t held_ = 0;
    std::map<session_id, std::uint64_t> sessions_;  // held by each
    std::optional<session_id> beyond_;              // whose turn to exceed the bound it is ...
    deadline beyond_until_{};                       // ... until then
    std::uint64_t granted_in_turn_ = 0;
};

}  // namespace warifu
