#pragma once
// Which requests have no reply yet, and since when: so that a request that is stuck shows in log and status, and is not
// found by users first.

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "fs/base/clock.h"

namespace warifu {

inline constexpr std::uint32_t request_stuck_ms = 20'000;  // twice what a site may take to answer

class request_watch {
  public:
    /// One request from its arrival to its reply. Where it lives must not move meanwhile.
    class entry {
      public:
        entry(request_watch& watch, const char* what);
        ~entry() { end(); }
        entry(const entry&) = delete;
        entry& operator=(const entry&) = delete;
        /// It has its reply. Any thread, once or more.
        void end();

      private:
        friend class request_watch;
        request_watch* watch_;  // null: ended; guarded by the watch's mutex, as all below
        const char* what_;
        deadline since_;
        bool told_ = false;
        entry *next_ = nullptr, *previous_ = nullptr;
    };

    struct state {
        std::uint64_t waiting = 0;    // requests without a reply
        std::uint64_t oldest_ms = 0;  // how long the oldest of them has waited
        std::uint64_t stuck = 0;      // how many, since the mount, waited longer than request_stuck_ms
    };
    /// Any thread.
    state now() const;
    state at(deadline moment) const;
    /// Tells through `report` of each request that is found stuck for the first time, and when all of them went.
    void tell(deadline moment, const std::function<void(const std::string&)>& report);

  private:
    mutable std::mutex mutex_;
    entry* first_ = nullptr;  // guarded by mutex_, newest first
    std::uint64_t stuck_ = 0;
    bool told_ = false;  // of requests that were still stuck at the last look
};

}  // namespace warifu
