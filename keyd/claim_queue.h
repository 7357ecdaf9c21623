#pragma once
// Which claim that waits for key goes first: by use (control, interactive, bulk), and among those of one use by
// start-time fair queueing (Goyal, Vin, Cheng 1996), so that consumers get key in proportion to their weights however
// many claims they make. Pure memory; one queue per stream.

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <memory>

#include "keyd/limits.h"
#include "keyd/pad_broker.h"

namespace warifu {

class claim_queue {
  public:
    /// Whoever claims: a connection. 0 is nobody.
    using consumer = std::uint64_t;
    struct ticket {
        std::uint64_t id = 0;  // of this claim
        consumer who = 0;
        key_use use = key_use::bulk;
        double start = 0;  // virtual time, in bytes per unit of weight
    };
    using place = std::list<ticket>::iterator;

    /// Joins the queue behind those that go first.
    place enter(consumer who, key_use use) {
        const ticket mine{next_id_++, who, use, start_of(who, use)};
        // A consumer's claims keep their order: the later one starts no earlier.
        const auto before = std::ranges::find_if(waiting_, [&](const ticket& other) {
            return other.use > use || (other.use == use && other.start > mine.start);
        });
        return waiting_.insert(before, mine);
    }
    void leave(place at) { waiting_.erase(at); }
    bool is_first(place at) const { return at == waiting_.begin(); }
    /// Whether a claim that arrives now must wait behind others.
    bool must_wait(consumer who, key_use use) const {
        const double start = start_of(who, use);
        return std::ranges::any_of(waiting_, [&](const ticket& other) {
            return other.use < use || (other.use == use && other.start <= start);
        });
    }
    const std::list<ticket>& waiting() const { return waiting_; }
    bool empty() const { return waiting_.empty(); }
    std::size_t size() const { return waiting_.size(); }

    /// The consumer got `size` bytes: its next claim starts later, and the others that wait are put in order anew.
    void served(consumer who, key_use use, std::uint64_t size, std::uint32_t weight) {
        auto& clock = clocks_[use];
        const double start = start_of(who, use);
        clock.now = start;
        clock.ends[who] = start + static_cast<double>(size) / std::clamp<std::uint32_t>(weight, 1, claim_weight_max);
        // Who is behind the clock is like one that never claimed.
        std::erase_if(clock.ends, [&](const auto& entry) { return entry.second <= clock.now; });
        for (auto& one : waiting_)
            if (one.who == who && one.use == use) one.start = clock.ends.contains(who) ? clock.ends.at(who) : one.start;
        waiting_.sort([](const ticket& a, const ticket& b) {
            return a.use != b.use ? a.use < b.use : a.start < b.start;
        });
    }
    void forget(consumer who) {
        for (auto& [use, clock] : clocks_) clock.ends.erase(who);
    }

  private:
    struct virtual_clock {
        double now = 0;
        std::map<consumer, double> ends;  // when each consumer's last share ends
    };
    double start_of(consumer who, key_use use) const {
        const auto clock = clocks_.find(use);
        if (clock == clocks_.end()) return 0;
        const auto end = clock->second.ends.find(who);
        return end == clock->second.ends.end() ? clock->second.now : std::max(clock->second.now, end->second);
    }

    std::list<ticket> waiting_;
    std::uint64_t next_id_ = 1;
    std::map<key_use, virtual_clock> clocks_;
};

}  // namespace warifu
