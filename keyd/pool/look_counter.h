#pragma once
// How often greetings have named each hello slot: the tries of a forger are bounded, in memory that is bounded too.

#include <cstdint>
#include <map>
#include <utility>

#include "keyd/limits.h"

namespace warifu {

class look_counter {
  public:
    using slot = std::pair<std::uint16_t, std::uint64_t>;  // stream and offset
    explicit look_counter(std::size_t slot_count_max = looked_at_slots_max) : slot_count_max_(slot_count_max) {}

    /// Counts one look; false when hello_looks_max were taken.
    bool take(slot named) {
        if (counts_.size() >= slot_count_max_) forget_few();
        auto& count = counts_[named];
        if (count >= hello_looks_max) return false;
        ++count;
        return true;
    }
    /// The slot is spent: nobody may look at it again anyway.
    void forget(slot named) { counts_.erase(named); }
    std::size_t size() const { return counts_.size(); }

  private:
    /// Makes room: slots that few greetings named go first, so that those under attack keep their counts.
    void forget_few() {
        for (std::uint32_t few = 1; counts_.size() > slot_count_max_ / 2; few *= 2)
            std::erase_if(counts_, [few](const auto& entry) { return entry.second <= few; });
    }

    std::map<slot, std::uint32_t> counts_;
    std::size_t slot_count_max_;
};

}  // namespace warifu
