#include "fs/volume/history.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>

#include "fs/volume/quorum.h"

namespace warifu {
namespace {

using claims = std::map<share_index, const journal_entry*>;        // who holds one (sequence, epoch)
using sequence_claims = std::map<ballot, claims, std::greater<>>;  // newest epoch first
using journal_claims = std::map<std::uint64_t, sequence_claims>;

journal_claims collect(const std::vector<site_journal>& journals) {
    journal_claims all;
    for (const site_journal& journal : journals)
        for (const journal_entry& entry : journal.entries) all[entry.sequence][entry.epoch][journal.site] = &entry;
    return all;
}

class rebuilder {
  public:
    rebuilder(const record_codec& codec, const std::vector<site_journal>& journals)
        : codec_(codec), all_(collect(journals)) {
        for (const site_journal& journal : journals) answered_[journal.site] = incarnation_mark(journal.incarnation);
    }

    result<history> run() {
        if (all_.empty()) return fail(errc::not_found, "no site has a journal of this volume");
        for (const auto& [sequence, epochs] : all_) decode_sequence(sequence, epochs);
        const auto start = last_whole_snapshot();
        if (!start) {
            if (!undecodable_.empty()) return fail(errc::disputed, "the journal's shares contradict each other");
            return fail(errc::missing_shares,
                        fmt::format("fewer than {} sites hold the volume's snapshot", codec_.threshold()));
        }
        history out;
        for (std::uint64_t sequence = *start; good_.contains(sequence); ++sequence) {
            if (!out.records.empty()) drop_superseded(sequence, out.records.back().epoch);
            if (!good_.contains(sequence)) break;
            apply(out, good_.at(sequence));
            out.records.push_back(std::move(good_.at(sequence)));
        }
        out.committed = std::min(std::max(out.committed, wholly_held(out)), out.head());
        out.liars.assign(liars_.begin(), liars_.end());
        if (!undecodable_.empty() && *undecodable_.rbegin() > out.head())
            out.disputed = fmt::format("record {} is claimed by {} sites but cannot be rebuilt", *undecodable_.rbegin(),
                                       codec_.threshold());
        else if (const auto next = good_.upper_bound(out.head()); next != good_.end())
            out.disputed =
                fmt::format("record {} is there but record {} before it is not", next->first, out.head() + 1);
        else
            look_for_absent_holders(out);
        return out;
    }

  private:
    /// The newest epoch's record that k sites hold and that verifies.
    void decode_sequence(std::uint64_t sequence, const sequence_claims& epochs) {
        for (const auto& [epoch, holders] : epochs) {
            if (holders.size() < codec_.threshold()) continue;
            std::map<share_index, bytes_view> shares;
            for (const auto& [site, entry] : holders) shares[site] = entry->share.view();
            const auto opened = codec_.open_any(epoch, sequence, shares);
            if (!opened) {
                undecodable_.insert(sequence);
                continue;
            }
            auto record = decode_journal_record(opened->payload);
            if (!record) {
                undecodable_.insert(sequence);
                continue;
            }
            kept_record kept;
            kept.sequence = sequence;
            kept.epoch = epoch;
            kept.record = std::move(*record);
            kept.mark = opened->mark;
            std::map<std::vector<chunk_id>, unsigned> lists;
            for (const auto& [site, entry] : holders) {
                if (std::ranges::find(opened->liars, site) != opened->liars.end()) {
                    liars_.insert(site);
                    continue;
                }
                kept.shares[site] = entry->share;
                ++lists[entry->chunks];
            }
            // Nothing authenticates the list: most sites are believed, the longer one of equals.
            const auto weight = [](const auto& list) { return std::pair(list.second, list.first.size()); };
            if (!lists.empty()) kept.chunks = std::ranges::max_element(lists, {}, weight)->first;
            good_.emplace(sequence, std::move(kept));
            undecodable_.erase(sequence);
            return;
        }
    }

    /// Records from `sequence` on that followed an earlier record in the place of the one before, which a later opening
    /// wrote: that opening met their view and found that they were not committed.
    void drop_superseded(std::uint64_t sequence, const ballot& epoch) {
        for (auto at = good_.find(sequence); at != good_.end() && at->second.epoch < epoch;) {
            all_[at->first].erase(at->second.epoch);
            at = good_.erase(at);
        }
    }

    /// The greatest kept record that every site of its own view is seen to hold.
    static std::uint64_t wholly_held(const history& out) {
        for (auto kept = out.records.rbegin(); kept != out.records.rend(); ++kept) {
            const auto held = [&](const view_mark::member& member) { return kept->shares.contains(member.site); };
            if (std::ranges::all_of(kept->mark.members, held)) return kept->sequence;
        }
        return 0;
    }

    /// A record that fewer than k sites hold was never committed, unless every site of its view that does not hold it
    /// did not answer (or lost its store): then those may hold it.
    void look_for_absent_holders(history& out) const {
        for (const auto& [sequence, epochs] : all_) {
            if (sequence < out.records.front().sequence) continue;
            for (const auto& [epoch, holders] : epochs) {
                if (sequence <= out.head() && out.records[sequence - out.records.front().sequence].epoch >= epoch)
                    break;  // newest first
                const std::set<share_index> absent = absent_holders(holders);
                if (absent.empty()) continue;
                std::set<share_index> holding;
                for (const auto& [site, entry] : holders) holding.insert(site);
                out.awaited.assign(absent.begin(), absent.end());
                out.disputed = fmt::format("record {} is held by {} alone of the sites that answer; {} may hold it too",
                                           sequence, names_of(out, holding), names_of(out, absent));
                return;
            }
        }
    }
    static std::string names_of(const history& out, const std::set<share_index>& sites) {
        std::vector<std::string> names;
        for (const share_index site : sites)
            names.push_back(site.value < out.description.sites.size() ? out.description.sites[site.value]
                                                                      : fmt::format("site {}", site.value));
        return fmt::format("{}", fmt::join(names, ", "));
    }
    /// Who may hold it too; empty when it was certainly not committed.
    std::set<share_index> absent_holders(const claims& holders) const {
        const unsigned least = view_size_min(codec_.threshold(), codec_.site_count());
        for (const auto& [holder, entry] : holders) {
            const auto mark = decode_view_mark(entry->share.view());
            if (!mark || mark->members.size() < least) continue;  // nobody commits to fewer
            if (mark->members.back().site.value >= codec_.site_count()) continue;  // no such site
            std::set<share_index> missing;
            bool lacking = false;
            for (const auto& member : mark->members) {
                if (holders.contains(member.site)) continue;
                missing.insert(member.site);
                const auto answered = answered_.find(member.site);
                lacking = lacking || (answered != answered_.end() && answered->second == member.incarnation);
            }
            if (!lacking && !missing.empty()) return missing;
        }
        return {};
    }

    std::optional<std::uint64_t> last_whole_snapshot() const {
        for (auto it = good_.rbegin(); it != good_.rend(); ++it) {
            const auto& snapshot = it->second.record.snapshot;
            if (snapshot && snapshot->part == 0 && is_whole(it->first)) return it->first;
        }
        return std::nullopt;
    }

    /// The parts follow each other but for records of a view alone, which earlier versions could write between them.
    bool is_whole(std::uint64_t first) const {
        const kept_record& start = good_.at(first);
        std::uint32_t part = 1;
        for (std::uint64_t sequence = first + 1; part < start.record.snapshot->parts; ++sequence) {
            const auto next = good_.find(sequence);
            if (next == good_.end() || next->second.epoch != start.epoch) return false;
            const journal_record& record = next->second.record;
            if (!record.snapshot && record.edits.empty()) continue;
            if (record.snapshot != snapshot_part{part, start.record.snapshot->parts}) return false;
            ++part;
        }
        return true;
    }

    static void apply(history& out, const kept_record& kept) {
        const journal_record& record = kept.record;
        if (record.new_view) out.last_view = *record.new_view;
        if (record.description) out.description = *record.description;
        out.epochs.insert(out.epochs.end(), record.epochs.begin(), record.epochs.end());
        out.committed = std::max(out.committed, record.committed);
    }

    const record_codec& codec_;
    journal_claims all_;
    std::map<share_index, std::uint32_t> answered_;  // with the mark of their incarnation
    std::map<std::uint64_t, kept_record> good_;
    std::set<std::uint64_t> undecodable_;
    std::set<share_index> liars_;
};

}  // namespace

result<history> rebuild_history(const record_codec& codec, const std::vector<site_journal>& journals) {
    return rebuilder(codec, journals).run();
}

}  // namespace warifu
