#pragma once
// The bytes of one file that were written and have not joined the namespace yet: runs of bytes in buffers that are
// filled in place, so that a write costs one copy. A pure data structure; its owner locks.

#include <map>
#include <optional>
#include <vector>

#include "fs/base/buffer.h"

namespace warifu {

/// A run that leaves: `size` bytes at the front of `bytes`.
struct dirty_run {
    std::uint64_t offset = 0;
    std::uint32_t size = 0;
    buffer bytes;
    std::uint64_t end() const { return offset + size; }
};

class dirty_ranges {
  public:
    /// No run grows over `run_size_max` bytes (a chunk).
    explicit dirty_ranges(std::size_t run_size_max) : run_size_max_(run_size_max) {}

    bool empty() const { return runs_.empty(); }
    std::size_t run_count() const { return runs_.size(); }
    std::uint64_t bytes() const { return bytes_; }
    std::size_t memory() const { return memory_; }
    /// One past the last dirty byte; 0 when there is none.
    std::uint64_t end() const;

    /// Copies `bytes` to [offset, offset + bytes.size()). True when a run became full.
    bool write(std::uint64_t offset, bytes_view bytes);
    /// Forgets [offset, end); end may be 2^64-1.
    void erase(std::uint64_t offset, std::uint64_t end);

    struct part {
        std::uint64_t offset = 0;
        bytes_view bytes;  // valid until the next change
    };
    /// The dirty parts of [offset, end), ascending.
    std::vector<part> find(std::uint64_t offset, std::uint64_t end) const;

    /// The first dirty byte at or after `offset`.
    std::optional<std::uint64_t> next_data(std::uint64_t offset) const;
    /// Where the dirty bytes that begin at `offset` end; `offset` itself when it is not dirty.
    std::uint64_t data_end(std::uint64_t offset) const;

    /// The first run (only_full: the first full one), or null. It stays here until drop().
    const dirty_run* front(bool only_full) const;
    /// Takes the run at `offset` out. REQUIRES: there is one.
    dirty_run take(std::uint64_t offset);

    /// Joins neighbours that small random writes left behind, so that they become one piece.
    void merge_small();

  private:
    using run_map = std::map<std::uint64_t, dirty_run>;
    run_map::const_iterator first_touching(std::uint64_t offset) const;
    void grow(dirty_run& run, std::size_t size);
    void insert(std::uint64_t offset, bytes_view bytes, std::size_t capacity);

    std::size_t run_size_max_;
    run_map runs_;  // by offset, never overlapping
    std::uint64_t bytes_ = 0;
    std::size_t memory_ = 0;
    std::uint64_t sequential_end_ =
        ~0ULL;  // where the last full run ended: a write here gets a whole chunk's buffer at once
};

}  // namespace warifu
