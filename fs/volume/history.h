#pragma once
// What the journals of several sites say together: which records count, from the last whole snapshot to the head.
// Pure: no waiting, no sites; given shares, returns records. The rules are in fs/volume/README.md ("Recovery").

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "backends/share_store.h"
#include "fs/volume/record.h"
#include "fs/volume/record_codec.h"

namespace warifu {

struct site_journal {
    share_index site;
    incarnation_id incarnation;
    std::vector<journal_entry> entries;  // ascending, as the site gave them: untrusted
};

struct kept_record {
    std::uint64_t sequence = 0;
    ballot epoch;
    std::vector<chunk_id> chunks;
    view_mark mark;                       // the view that was to hold it
    std::map<share_index, slice> shares;  // of the sites that hold this very record
    journal_record record;
};

struct history {
    std::vector<kept_record> records;  // consecutive; the first is part 0 of the last whole snapshot
    view last_view;
    std::vector<epoch_keys> epochs;
    volume_description description;
    /// Durable at a whole view for certain: what a record says of those before it, or what every site of its view
    /// holds. At most head(). What comes after it may be taken back by a recovery.
    std::uint64_t committed = 0;
    std::vector<share_index> liars;       // sites whose shares contradict a record that k others give
    std::optional<std::string> disputed;  // there may be a committed record after head() that cannot be rebuilt
    /// Then: the sites that did not answer and that, if they hold what others claim, give it back. Empty when no site
    /// can help.
    std::vector<share_index> awaited;

    std::uint64_t head() const { return records.back().sequence; }
    /// The first record whose state is known: the snapshot's last part.
    std::uint64_t first_state() const {
        for (const kept_record& kept : records)
            if (const auto& place = kept.record.snapshot; place && place->part + 1 == place->parts)
                return kept.sequence;
        return head();
    }
};

/// Errors: not_found (no record anywhere), missing_shares (fewer than k sites hold the snapshot), disputed (there is no
/// record before a disputed one).
result<history> rebuild_history(const record_codec& codec, const std::vector<site_journal>& journals);

}  // namespace warifu
