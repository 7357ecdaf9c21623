#pragma once
// The sites of a volume as this process sees them, the current view, and the writer's authority. Who may be dropped,
// who is a learner, and what an error from a site means is decided here and nowhere else.
//
// Core thread only.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "backends/share_store.h"
#include "fs/async/wait.h"
#include "fs/volume/quorum.h"
#include "fs/volume/record.h"

namespace warifu {

/// Between two attempts at a site.
inline constexpr auto retry_delay = std::chrono::milliseconds(200);

enum class site_role : std::uint8_t {
    down,     // not reached, or its store is not the one that the view knows
    learner,  // gets new writes, is being healed, has no vote and is not read
    member,   // of the current view
};

struct site_link {
    std::string name;
    share_index index;
    std::shared_ptr<share_store> store;  // null: not used in this run
    site_role role = site_role::down;
    incarnation_id incarnation{};
    bool attached = false;  // a learner that holds the journal since its last snapshot and follows it
    bool missed = false;    // a learner that failed to take a put since its last healing pass
    int silent_beats = 0;   // heartbeats in a row that it did not answer
    std::string reason;     // why it is not a member
    std::uint64_t capacity = 0, free = 0;
    std::uint64_t heal_done = 0, heal_total = 0;
    double latency_ms = 1.0;  // of gets, a moving average
    deadline avoid_until{};   // reads go elsewhere until then (circuit breaker)
};

/// What to do about an error that a site answered to a put or an append.
enum class site_verdict : std::uint8_t {
    wait,            // key or space is short there: the write waits, the site stays
    failed,          // unreachable, too slow, or not what it was: drop it from the view
    authority_lost,  // somebody else holds a higher ballot
};
site_verdict judge(const error& e);

class membership {
  public:
    membership(asio::any_io_executor executor, unsigned threshold, std::vector<site_link> sites);

    const asio::any_io_executor executor;
    const unsigned threshold;
    const unsigned site_count;
    std::vector<site_link> sites;
    ballot authority;         // zero when read-only
    view current;             // the view that the last record carried, less the sites dropped since
    bool view_dirty = false;  // the next record must carry `current`
    bool stopping = false;

    site_link& site(share_index index) { return sites[index.value]; }
    std::vector<share_index> members() const;
    bool whole() const { return current.members.size() == site_count; }

    bool may_drop() const { return current.members.size() > view_size_min(threshold, site_count); }
    /// Takes a member out of the view if enough others remain; true when it is out (now or before).
    bool drop(share_index index, const std::string& why);
    /// Makes a healed learner a member; the record that says so is the caller's to append.
    void admit(share_index index);

    /// Authority is lost for good; every later check_writable() says why.
    void lose_authority(const std::string& why);
    bool is_authority_lost() const { return lost_.has_value(); }
    /// A better reason, once it is known. REQUIRES is_authority_lost().
    void explain_loss(const std::string& why) { lost_ = why; }
    result<void> check_writable() const;

    /// What writes wait for, by site: shown in status; gone when the site took what it was given.
    std::map<share_index, std::string> waiting_for;
    /// Members that do not answer heartbeats and cannot be spared: every write waits for them.
    std::set<share_index> out_of_contact;

  private:
    std::optional<std::string> lost_;
};

}  // namespace warifu
