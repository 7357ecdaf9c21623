#pragma once
// Chunks across the sites: split and put at every member, read from any k and verify, rebuild one site's share.
//
// Core thread unless said. Splitting and reconstruction run on the worker pool.

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fs/async/fan_out.h"
#include "fs/sharing/chunk_codec.h"
#include "fs/volume/membership.h"
#include "keyd/random_supply.h"

namespace warifu {

/// Payload bytes of one piece of a table file: with its codeword's overhead about 32 KiB of whole sharing units.
std::uint32_t metadata_piece_payload_size(const scheme& shape);

struct chunk_io_counters {
    std::uint64_t chunks_put = 0, reads = 0, hedged_reads = 0, lies = 0, random_bytes = 0;
};

class chunk_io {
  public:
    /// At most `memory_size` bytes of shares, or those of a few chunks, are on their way, and as many wait for their
    /// commit.
    chunk_io(membership& members, const scheme& shape, const volume_id& volume, asio::thread_pool& pool,
             std::shared_ptr<random_supply> randomness, std::size_t memory_size);

    /// The secret points of an epoch whose chunks may be met. Any thread.
    void add_keys(const epoch_keys& keys);
    /// `size` bytes of sharing randomness. Waits for them while this writer may write, and says so in
    /// waits_for_randomness(). Errors: read_only, cancelled.
    task<std::unique_ptr<random_source>> draw(std::size_t size, key_use use);
    /// Why chunks or records wait for randomness; empty: they do not.
    const std::string& waits_for_randomness() const { return waits_for_randomness_; }
    random_supply& randomness() { return *randomness_; }
    claim random_strength() const { return randomness_->strength(); }

    /// Splits on a worker and puts the shares at every member; returns when each member has them or was dropped. The
    /// shares stay in memory until committed() so that a site that lost them can be given them again. Waits (and says
    /// so in membership::waiting_for) while a site lacks space or key. A small one, alone, is said to be on its way
    /// once its shares were given to the links.
    task<> put(chunk_id id, chunk_kind kind, std::vector<slice> pieces, std::function<void()> on_its_way = {});
    /// Waits until none of these is being put any more. False when none was.
    awaitable<bool> wait_put(std::vector<chunk_id> chunks);
    /// Puts these uncommitted chunks once more at a site.
    awaitable<void> put_again(share_index site, std::vector<chunk_id> chunks);
    /// Called when the kept shares fill half of their room: a commit would let them go.
    std::function<void()> commit_wanted;
    /// A record that names these chunks is durable (or they died without one).
    void committed(const std::vector<chunk_id>& chunks);

    /// Bytes [offset, offset + size) of the piece, verified (metadata: any range of the payload, verified as a whole).
    /// Asks the k fastest members, hedges after a while, names and avoids liars. While
    /// fewer than k members answer it tries again, up to request_timeout_ms. Errors: missing_shares, bad_tag.
    task<slice> read(piece_ref piece, std::uint32_t offset, std::uint32_t size);

    /// Rebuilds the share of `target` from k members, checks it against the chunk's hashes and puts it there.
    /// not_found: the chunk is not at the members (it died meanwhile, or is still on its way).
    /// `also`: sites beside the members that have it for certain.
    task<> heal_chunk(share_index target, chunk_id id, chunk_kind kind, std::vector<share_index> also = {});

    /// Returns when no request to a site is under way any more that would come back to this object: hedged reads and
    /// puts at learners outlive who asked for them.
    awaitable<void> wait_idle();

    const scheme& sharing() const { return shape_; }
    chunk_io_counters counters() const;

  private:
    struct pending_chunk;
    struct read_job;
    using keys_ref = std::shared_ptr<const chunk_keys>;
    result<keys_ref> keys_of(const ballot& epoch) const;
    result<std::shared_ptr<pending_chunk>> split(chunk_id id, chunk_kind kind, const std::vector<slice>& pieces,
                                                 random_source& random) const;
    task<> put_at_member(share_index site, std::shared_ptr<pending_chunk> chunk);
    task<> put_at_learner(share_index site, std::shared_ptr<pending_chunk> chunk);
    std::vector<share_index> by_latency() const;
    task<slice> try_read(std::shared_ptr<read_job> job);
    task<std::vector<slice>> timed_get(share_index site, chunk_id chunk, std::vector<share_range> ranges);
    task<slice> open_answers(std::shared_ptr<read_job> job, std::map<std::size_t, result<std::vector<slice>>>& answers);
    struct fetched_whole;
    task<fetched_whole> fetch_whole(share_index site, chunk_id id);
    task<> put_healed(share_index target, chunk_id id, chunk_share share, policy_id policy);

    membership& members_;
    const scheme shape_;
    const volume_id volume_;
    asio::thread_pool& pool_;
    std::shared_ptr<random_supply> randomness_;
    std::string waits_for_randomness_;
    mutable std::mutex keys_mutex_;
    std::map<ballot, keys_ref> keys_;  // guarded by keys_mutex_
    void keep(const std::shared_ptr<pending_chunk>& chunk);

    byte_budget in_flight_;
    std::unordered_set<chunk_id> putting_;
    event put_done_;
    std::unordered_map<chunk_id, std::shared_ptr<pending_chunk>> uncommitted_;
    std::list<std::shared_ptr<pending_chunk>> kept_;  // put everywhere, oldest first
    std::size_t kept_size_ = 0;                       // bytes of shares
    const std::size_t kept_size_max_;
    chunk_io_counters counters_;
    /// Counts a request that may outlive who asked for it.
    class outstanding {
      public:
        explicit outstanding(chunk_io& owner) : owner_(owner) { ++owner_.outstanding_; }
        ~outstanding() {
            if (--owner_.outstanding_ == 0) owner_.idle_.set();
        }
        outstanding(const outstanding&) = delete;
        outstanding& operator=(const outstanding&) = delete;

      private:
        chunk_io& owner_;
    };
    std::size_t outstanding_ = 0;
    event idle_;
};

}  // namespace warifu
