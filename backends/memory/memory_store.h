#pragma once
// The reference store: share_store.h in memory. It keeps what is durable apart from what is not, so that crashes can be
// tried: crash() forgets everything that no append, promise or sync covered. Faults and lies are faulty_store.h's
// business.

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <variant>

#include "backends/share_store.h"
#include "fs/base/clock.h"

namespace warifu {

/// A share in memory. Removed pieces are empty.
struct memory_share {
    share_index index;
    policy_id policy;
    slice side;
    std::vector<slice> pieces;

    share_description description() const;
    std::uint64_t footprint() const;
};

/// Everything that a site would have on disk for one volume: copyable (bytes are shared, and immutable).
struct memory_image {
    incarnation_id incarnation;
    ballot promised;
    std::map<chunk_id, std::shared_ptr<const memory_share>> chunks;
    std::map<std::uint64_t, journal_entry> journal;

    journal_span span() const;
    std::uint64_t used() const;  // bytes, by share_footprint and record sizes
};

/// Thread: one core thread. Calls complete without suspending.
class memory_store final : public share_store {
  public:
    /// An empty store of a fresh incarnation.
    explicit memory_store(std::uint64_t capacity = 1ULL << 40U);
    /// A store that holds `image` durably.
    explicit memory_store(memory_image image, std::uint64_t capacity = 1ULL << 40U);

    /// What would be found after a crash now.
    const memory_image& durable() const { return durable_; }
    /// The process dies and comes back: only durable() is left; heartbeat, pins and reservations are gone.
    void crash();
    /// The same, but of the chunks that were put or removed since the last flush those stay so of which `keeps` says
    /// so: the medium may have got them.
    void crash(const std::function<bool()>& keeps);
    void set_capacity(std::uint64_t bytes) { capacity_ = bytes; }

    task<store_state> state() override;
    task<> reserve(ballot authority, std::uint64_t size) override;
    task<> put(share_put share) override;
    task<std::vector<slice>> get(chunk_id chunk, std::vector<share_range> ranges) override;
    task<share_description> describe(chunk_id chunk) override;
    task<> remove(ballot authority, std::vector<share_removal> removals) override;
    task<std::vector<chunk_id>> list(chunk_id after, std::uint32_t count) override;
    task<> append(append_request request) override;
    task<std::vector<journal_entry>> read_journal(std::uint64_t from, std::uint32_t size_max) override;
    task<> cut_journal(ballot authority, std::uint64_t first) override;
    task<> promise(ballot b) override;
    task<> heartbeat(ballot authority, writer_identity writer) override;
    task<> pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) override;
    task<> sync() override;

  private:
    struct pinned_share {
        deadline until;
        std::shared_ptr<const memory_share> share;  // as it was when it was pinned
    };

    std::uint64_t free_bytes() const;
    void set_chunk(chunk_id id, std::shared_ptr<const memory_share> share);  // null: removed
    void drop_expired_pins();
    result<void> append_now(append_request& request);
    void flush();

    memory_image now_;
    memory_image durable_;
    std::set<chunk_id> changed_;  // chunks in which now_ and durable_ may differ
    std::uint64_t capacity_;
    std::uint64_t used_ = 0;
    std::uint64_t reserved_ = 0;
    std::map<chunk_id, pinned_share> pins_;
    std::optional<heartbeat_state> heartbeat_;
    steady_clock::time_point heartbeat_at_;
};

}  // namespace warifu
