#pragma once
// What a ledger's records add up to: for each stream the blocks that are here, which of their bytes are spent and
// erased, the windows that are out. Pure memory: it decides nothing and touches no file, so that it can be replayed,
// audited and explored by the model test.

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "keyd/interval_set.h"
#include "keyd/pool/ledger_record.h"

namespace warifu {

/// Block ids that were ever imported: a sorted vector and a small set of newcomers, 16 bytes an id.
class block_id_set {
  public:
    /// False when it was there.
    bool insert(const block_id& id);
    bool contains(const block_id& id) const;
    std::size_t size() const { return sorted_.size() + recent_.size(); }
    std::vector<block_id> all() const;

  private:
    std::vector<block_id> sorted_;
    std::set<block_id> recent_;
};

struct block_state {
    block_header header;
    std::int64_t imported_ns = 0;
    interval_set spent;                    // of the data part: handed out, burnt or below the floor
    interval_set hello_spent;              // of the hello region
    interval_set erased{~std::size_t{0}};  // of both; never more intervals than spent ones and open windows make

    std::uint64_t data_begin() const { return header.data_begin(); }
    std::uint64_t end() const { return header.range.end(); }
    std::uint64_t free_bytes() const { return end() - data_begin() - spent.size(); }
    std::uint64_t hello_slots_free() const;
    bool hello_slot_is_free(std::uint64_t index) const;
};

/// One hand-out. The bytes [range.offset, used_to) count as used once it is closed.
struct handout {
    window_spent window;
    std::uint64_t used_to = 0;
    bool burnt = false;
    pad_range used() const { return {window.range.offset, used_to - window.range.offset}; }
};

struct stream_state {
    stream_name name;
    std::map<std::uint64_t, block_state> blocks;  // by offset
    std::set<std::uint64_t> free_blocks;          // offsets of blocks with unspent data
    interval_set ever;                            // ranges that blocks ever covered
    std::uint64_t floor = 0;                      // everything below is spent
    std::map<std::uint64_t, window_spent> open;   // windows that are out, by offset
    std::deque<handout> history;                  // closed windows, oldest first
    stream_totals totals;
    std::uint64_t free_bytes = 0;
    std::uint64_t hello_slots_free = 0;

    bool is_random() const { return name.sender == name.receiver; }
    /// The block that holds all of `range` in its data part, or null.
    const block_state* data_block(const pad_range& range) const;
};

class pool_state {
  public:
    /// Applies one event. bad_format: it contradicts what came before; the state is then unchanged.
    result<void> apply(const ledger_record& record);
    /// Records that lead to this state again.
    std::vector<ledger_record> snapshot() const;

    const std::vector<stream_state>& streams() const { return streams_; }
    /// The stream's number, or streams().size().
    std::size_t find(const stream_name& name) const;
    const block_id_set& ids() const { return ids_; }
    std::size_t block_count() const { return block_count_; }

  private:
    template <typename Record>
    result<stream_state*> stream_of(const Record& record);
    static result<block_state*> block_of(stream_state& stream, const pad_range& range);
    void mark_spent(stream_state& stream, block_state& block, std::uint64_t begin, std::uint64_t end);
    void remember(stream_state& stream, handout closed);
    void snapshot_stream(std::uint16_t index, std::vector<ledger_record>& out) const;

    result<void> on(const stream_added& r);
    result<void> on(const block_imported& r);
    result<void> on(const window_spent& r);
    result<void> on(const window_closed& r);
    result<void> on(const range_burnt& r);
    result<void> on(const floor_raised& r);
    result<void> on(const hello_spent& r);
    result<void> on(const range_erased& r);
    result<void> on(const block_gone& r);
    result<void> on(const ids_known& r);
    result<void> on(const range_known& r);
    result<void> on(const window_history& r);
    result<void> on(const stream_totals& r);

    std::vector<stream_state> streams_;
    block_id_set ids_;
    std::size_t block_count_ = 0;
    std::size_t history_count_ = 0;
};

/// Bytes in runs worth a window of their own, counted from the newest block back until there are `enough`.
std::uint64_t usable_bytes(const stream_state& stream, std::uint64_t enough);
/// The window that a claim gets: between size_min and size_want bytes of one block, lowest offset first, with `reserve`
/// bytes left behind. no_key when there is none. (A decision only: nothing is marked.)
result<pad_range> choose_window(const stream_state& stream, std::uint64_t size_min, std::uint64_t size_want,
                                std::uint64_t reserve);
/// Whether a receiver may hand out exactly this window: all of it here and unspent. conflict otherwise.
result<void> check_receivable(const stream_state& stream, const pad_range& range);
/// The least unspent offset at or after `from`; no_key when there is none.
result<std::uint64_t> next_free_offset(const stream_state& stream, std::uint64_t from);
/// The unspent runs of a block's data.
std::vector<interval_set::interval> gaps_of(const block_state& block);

}  // namespace warifu
