#pragma once
// What is still free for users between two looks at the sites: what they said last, less what was put there since, less
// a margin that stays for the journal, for tables of metadata and for removing files on a full volume. So a full volume
// refuses bytes when they are written, not when they have been accepted and nobody can store them any more.

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "fs/base/limits.h"

namespace warifu {

class space_account {
  public:
    // ---- core thread ----
    /// Before the sites are asked: what was put up to here may be in their answers.
    std::uint64_t begin_look() const { return put_.load(); }
    /// The least of the members' answers, bytes of shares, and what begin_look() returned before they were asked.
    void looked(std::uint64_t begun, std::uint64_t free, std::uint64_t capacity) {
        free_ = free;
        capacity_ = capacity;
        seen_ = begun;
    }
    /// The members have `size` more bytes of shares.
    void put(std::uint64_t size) { put_ += size; }

    // ---- any thread ----
    std::uint64_t capacity() const { return capacity_; }
    std::uint64_t free() const {
        const std::uint64_t taken = (put_.load() - seen_.load()) + margin(capacity_);
        const std::uint64_t left = free_;
        return left > taken ? left - taken : 0;
    }
    /// Payload bytes of journal after which a snapshot is due: twice as much in a site's log (its checkpoints hold it
    /// too) is half of the margin; more of it where the least there is, 1 MiB, is more.
    std::uint64_t journal_size_max() const {
        return std::clamp<std::uint64_t>(capacity_ / 128, journal_size_snapshot / 16, journal_size_snapshot);
    }
    static constexpr std::uint64_t margin(std::uint64_t capacity) {
        return std::min(capacity / 32, std::uint64_t{256} << 20U);
    }

  private:
    std::atomic<std::uint64_t> capacity_ = 0, free_ = 0, put_ = 0, seen_ = 0;
};

}  // namespace warifu
