#pragma once
// Which sectors are free. Nothing of this is on disk: it follows from the index. Free sectors are *clean* (zeros, ready
// to use), *dirty* (hold bytes that were freed and must be erased), *suspect* (may hold such bytes, after a crash) or
// *raw* (never written, behind `zeroed_end`). Only clean ones are given out, low addresses first.

#include <array>
#include <map>
#include <optional>
#include <set>

#include "backends/block/layout.h"
#include "fs/base/error.h"

namespace warifu {

/// Free runs by address and by size class.
class free_runs {
  public:
    /// REQUIRES: disjoint from what is in already. Neighbours are joined.
    void add(extent run);
    /// One run of `count` sectors at a low address, or nothing.
    std::optional<extent> take(std::uint32_t count);
    bool has_run(std::uint32_t count) const { return find(count).has_value(); }
    /// The largest run there is, cut to `count_max`; nothing when empty.
    std::optional<extent> take_largest(std::uint32_t count_max);
    /// The run at the lowest address, cut to `count_max`.
    std::optional<extent> take_lowest(std::uint32_t count_max);
    std::uint64_t count() const { return count_; }

  private:
    using run_map = std::map<std::uint64_t, std::uint64_t>;  // first -> count
    std::optional<std::uint64_t> find(std::uint32_t count) const;
    void insert(std::uint64_t first, std::uint64_t count);
    void erase(run_map::iterator run);
    extent cut(run_map::iterator run, std::uint64_t count);

    run_map runs_;
    std::array<std::set<std::uint64_t>, 64> classes_;  // by log2 of the count: the firsts
    std::uint64_t count_ = 0;
};

class space {
  public:
    /// All sectors of [data_first, sector_count) that are not `used`. Errors: bad_format when `used` overlap or lie
    /// outside.
    static result<space> make(std::uint64_t sector_count, std::uint64_t zeroed_end, extent_list used,
                              bool free_is_clean);

    /// `count` clean sectors in at most extent_count_max runs, or nothing when clean ones do not suffice now.
    std::optional<extent_list> take_clean(std::uint64_t count);
    /// One clean run (log segments are contiguous).
    std::optional<extent> take_clean_run(std::uint32_t count) { return clean_.take(count); }
    /// Sectors that were taken, never written to: back to clean.
    void give_back(const extent_list& unwritten);
    void add_dirty(const extent_list& freed);

    /// What to clean next; the caller erases it and calls add_clean. Dirty ones first.
    std::optional<extent> take_dirty(std::uint32_t count_max) { return to_erase(dirty_.take_lowest(count_max)); }
    std::optional<extent> take_suspect(std::uint32_t count_max) { return to_erase(suspect_.take_lowest(count_max)); }
    std::optional<extent> take_dirty_run(std::uint32_t count) { return to_erase(dirty_.take(count)); }
    std::optional<extent> take_suspect_run(std::uint32_t count) { return to_erase(suspect_.take(count)); }
    std::optional<extent> take_raw(std::uint32_t count_max);
    void add_clean(extent erased);
    void add_opened(extent zeroed);  // what take_raw gave
    /// What could not be erased or opened stays out of use.
    void lose_unclean(extent where) {
        erasing_ -= where.count;
        lost_ += where.count;
    }
    void lose_raw(extent where) {
        opening_ -= where.count;
        lost_ += where.count;
    }
    /// Whether erasing and opening will bring a clean run of `count`, without a look at pieces that may join.
    bool run_will_come(std::uint32_t count) const {
        return dirty_.has_run(count) || suspect_.has_run(count) || raw_count() >= count || erasing_ + opening_ >= count;
    }

    std::uint64_t free_count() const;  // all kinds, and what is being erased
    std::uint64_t clean_count() const { return clean_.count(); }
    std::uint64_t unclean_count() const { return dirty_.count() + suspect_.count() + erasing_; }
    std::uint64_t lost_count() const { return lost_; }
    std::uint64_t raw_count() const { return sector_count_ - zeroed_end_; }
    std::uint64_t zeroed_end() const { return zeroed_end_; }
    std::uint64_t total() const { return sector_count_ - data_first; }

  private:
    std::optional<extent> to_erase(std::optional<extent> run) {
        if (run) erasing_ += run->count;
        return run;
    }

    std::uint64_t sector_count_ = 0;
    std::uint64_t zeroed_end_ = 0;
    std::uint64_t erasing_ = 0;
    std::uint64_t opening_ = 0;
    std::uint64_t lost_ = 0;
    free_runs clean_;
    free_runs dirty_;
    free_runs suspect_;
};

}  // namespace warifu
