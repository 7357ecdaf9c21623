#include "fs/volume/history.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

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
    rebuilder(const record_codec& codec, journal_claims all) : codec_(codec), all_(std::move(all)) {}

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
            apply(out, good_.at(sequence));
            out.records.push_back(std::move(good_.at(sequence)));
        }
        out.liars.assign(liars_.begin(), liars_.end());
        if (!undecodable_.empty() && *undecodable_.rbegin() > out.head())
            out.disputed = fmt::format("record {} is claimed by {} sites but cannot be rebuilt", *undecodable_.rbegin(),
                                       codec_.threshold());
        else if (const auto next = good_.upper_bound(out.head()); next != good_.end())
            out.disputed =
                fmt::format("record {} is there but record {} before it is not", next->first, out.head() + 1);
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
            for (const auto& [site, entry] : holders) {
                if (std::ranges::find(opened->liars, site) != opened->liars.end()) {
                    liars_.insert(site);
                    continue;
                }
                kept.shares[site] = entry->share;
                if (kept.chunks.empty()) kept.chunks = entry->chunks;
            }
            good_.emplace(sequence, std::move(kept));
            undecodable_.erase(sequence);
            return;
        }
    }

    std::optional<std::uint64_t> last_whole_snapshot() const {
        for (auto it = good_.rbegin(); it != good_.rend(); ++it) {
            const auto& snapshot = it->second.record.snapshot;
            if (!snapshot || snapshot->part != 0) continue;
            bool whole = true;
            for (std::uint32_t part = 1; part < snapshot->parts && whole; ++part) {
                const auto next = good_.find(it->first + part);
                whole = next != good_.end() && next->second.record.snapshot &&
                        next->second.record.snapshot->part == part &&
                        next->second.record.snapshot->parts == snapshot->parts;
            }
            if (whole) return it->first;
        }
        return std::nullopt;
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
    std::map<std::uint64_t, kept_record> good_;
    std::set<std::uint64_t> undecodable_;
    std::set<share_index> liars_;
};

}  // namespace

result<history> rebuild_history(const record_codec& codec, const std::vector<site_journal>& journals) {
    return rebuilder(codec, collect(journals)).run();
}

}  // namespace warifu
