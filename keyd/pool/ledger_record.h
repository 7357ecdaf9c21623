#pragma once
// What a keyd's ledger remembers, one record each. Records are events: pool_state is what results from applying them in
// order. FORMAT.md has the byte tables.

#include <variant>
#include <vector>

#include "keyd/pad_source.h"

namespace warifu {

/// Gives a stream its number in this ledger; numbers count from 0.
struct stream_added {
    std::uint16_t stream = 0;
    stream_name name;
    bool operator==(const stream_added&) const = default;
};
struct block_imported {
    std::uint16_t stream = 0;
    block_header block;
    std::int64_t time_ns = 0;
    bool operator==(const block_imported&) const = default;
};
/// A window was handed out: from here on its bytes are spent.
struct window_spent {
    std::uint16_t stream = 0;
    pad_range range;
    session_id session;
    key_use use = key_use::bulk;
    std::int64_t time_ns = 0;
    bool operator==(const window_spent&) const = default;
};
/// The window came to its end: bytes from used_to on are unspent again (burnt: none, and nobody knows what was used).
struct window_closed {
    std::uint16_t stream = 0;
    pad_range range;
    std::uint64_t used_to = 0;
    bool burnt = false;
    bool operator==(const window_closed&) const = default;
};
/// Spent without being handed out.
struct range_burnt {
    std::uint16_t stream = 0;
    pad_range range;
    bool operator==(const range_burnt&) const = default;
};
/// Everything below `offset` is spent for good, whether it is here or arrives later.
struct floor_raised {
    std::uint16_t stream = 0;
    std::uint64_t offset = 0;
    bool operator==(const floor_raised&) const = default;
};
/// Bytes of a hello region are spent: one slot that served, or all that are left of a block that retires.
struct hello_spent {
    std::uint16_t stream = 0;
    pad_range range;
    bool operator==(const hello_spent&) const = default;
};
/// The bytes were overwritten in the store.
struct range_erased {
    std::uint16_t stream = 0;
    pad_range range;
    bool operator==(const range_erased&) const = default;
};
/// The block's file is gone; its id and its range stay known for ever.
struct block_gone {
    std::uint16_t stream = 0;
    std::uint64_t offset = 0;
    bool operator==(const block_gone&) const = default;
};

// Only in the snapshot that starts a compacted ledger:
struct ids_known {
    std::vector<block_id> ids;
    bool operator==(const ids_known&) const = default;
};
/// A range of the stream that blocks once covered.
struct range_known {
    std::uint16_t stream = 0;
    pad_range range;
    bool operator==(const range_known&) const = default;
};
/// A hand-out that came to its end, for the audit; it moves no mark.
struct window_history {
    window_spent window;
    std::uint64_t used_to = 0;
    bool burnt = false;
    bool operator==(const window_history&) const = default;
};
struct stream_totals {
    std::uint16_t stream = 0;
    std::uint64_t imported = 0;
    std::uint64_t used = 0;
    std::uint64_t burnt = 0;
    std::uint64_t history_dropped = 0;  // hand-outs older than the history
    claim weakest = claim::information_theoretic;
    bool operator==(const stream_totals&) const = default;
};

using ledger_record =
    std::variant<stream_added, block_imported, window_spent, window_closed, range_burnt, floor_raised, hello_spent,
                 range_erased, block_gone, ids_known, range_known, window_history, stream_totals>;

/// One type byte and the fields.
byte_vector encode_ledger_record(const ledger_record& record);
/// bad_format; never allocates more than the input's size.
result<ledger_record> decode_ledger_record(bytes_view bytes);

}  // namespace warifu
