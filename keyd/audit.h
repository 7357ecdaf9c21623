#pragma once
// Reads the ledgers of key stores, running or not, and says whether any pad byte was used twice or could be. What it
// can know is bounded by a ledger's history (limits.h: the newest hand-outs of all streams together); older ones are
// known as spent, not by whom.

#include <cstdint>
#include <string>
#include <vector>

#include "keyd/pad_broker.h"

namespace warifu {

struct audit_report {
    struct entry {
        bool finding = false;  // false: worth knowing, but no byte is in danger
        std::string site;
        stream_name stream;
        pad_range range;
        std::string text;
    };
    struct store {
        std::string directory;
        std::string site;
        bool running = false;  // a keyd holds its lock
        std::uint64_t streams = 0;
        std::uint64_t handouts = 0;  // in the history or out now
        std::uint64_t history_dropped = 0;
        std::uint64_t spent_bytes = 0;  // of the blocks that are here
        std::uint64_t free_bytes = 0;
    };
    std::vector<store> stores;
    std::vector<entry> entries;
    std::vector<std::string> unreadable;  // one line each

    std::size_t findings() const;
};

/// Audits each pads directory by itself and every two of them that are ends of the same stream against each other. At
/// most audit_entry_count_max entries are kept.
audit_report audit_stores(const std::vector<std::string>& directories);

}  // namespace warifu
