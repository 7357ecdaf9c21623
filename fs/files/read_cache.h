#pragma once
// Blocks of pieces fetched ahead of sequential readers: a bounded LRU. A block is about read_block_size bytes of one
// piece, cut at sharing units, or a whole small piece. Chunks are immutable and ids never reused, so a block never
// becomes wrong.
//
// Thread safety: find and acquire on any thread; waiting for a block on the core thread.

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "fs/async/wait.h"
#include "fs/volume/volume.h"

namespace warifu {

struct block_key {
    chunk_id chunk;
    std::uint16_t piece = 0;
    std::uint32_t number = 0;
    bool operator==(const block_key&) const = default;
};

class cached_block {
  public:
    cached_block(block_key k, std::uint32_t o, std::uint32_t s, asio::any_io_executor executor)
        : key(k), offset(o), size(s), ready(std::move(executor)) {}

    const block_key key;
    const std::uint32_t offset;  // in the piece
    const std::uint32_t size;

    /// The bytes once they are here.
    slice bytes() const { return done_.load(std::memory_order_acquire) ? bytes_ : slice(); }

  private:
    friend class read_cache;
    // Set on the core thread before done_.
    slice bytes_;
    std::optional<error> failure_;
    std::atomic<bool> done_ = false;                            // bytes_ are valid
    event ready;                                                // core thread: done or failed
    std::list<std::shared_ptr<cached_block>>::iterator place_;  // guarded by read_cache::mutex_
};

class read_cache {
  public:
    read_cache(asio::io_context& core, volume& v, std::size_t size_max);

    std::uint32_t block_size() const { return block_size_; }
    std::size_t size() const { return size_.load(std::memory_order_relaxed); }
    /// Nothing is being fetched.
    bool is_idle() const {
        const std::lock_guard lock(mutex_);
        return fetching_ == 0;
    }

    /// The block of `where`'s piece that holds this offset of the piece, if it is here or under way.
    std::shared_ptr<cached_block> find(const extent& where, std::uint32_t piece_offset);
    /// The same, fetched if it is not here. Null for a fetch ahead of need (`ahead`) when enough of them are under way.
    std::shared_ptr<cached_block> acquire(const extent& where, std::uint32_t piece_offset, bool ahead);
    /// Its reader has passed it: the first to go.
    void demote(const std::shared_ptr<cached_block>& block);

    /// The bytes, or why they could not be read. Core thread.
    task<slice> wait(std::shared_ptr<cached_block> block);

  private:
    struct key_hash {
        std::size_t operator()(const block_key& key) const noexcept {
            return std::hash<chunk_id>()(key.chunk) ^ (std::size_t{key.piece} << 40U) ^
                   (std::size_t{key.number} << 20U);
        }
    };
    awaitable<void> fetch(std::shared_ptr<cached_block> block, extent where);
    void evict();

    asio::io_context& core_;
    volume& volume_;
    const std::uint32_t block_size_;
    const std::size_t size_max_;

    mutable std::mutex mutex_;
    std::unordered_map<block_key, std::shared_ptr<cached_block>, key_hash> blocks_;  // guarded by mutex_
    std::list<std::shared_ptr<cached_block>> order_;  // guarded by mutex_; most recently used first
    std::size_t fetching_ = 0;                        // guarded by mutex_
    std::atomic<std::size_t> size_ = 0;               // written with mutex_ held
};

}  // namespace warifu
