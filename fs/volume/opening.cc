// Opening and creating a volume: who may write, what the journal holds, which view goes on.

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "fs/base/failpoint.h"
#include "fs/volume/volume_impl.h"

namespace warifu {
namespace {

constexpr std::uint32_t journal_read_size = 4U << 20U;
constexpr std::uint32_t live_writer_age_ms = 10'000;
constexpr std::uint32_t writer_watch_ms = 250;

std::string names_of(const std::vector<volume_site>& sites, const auto& wanted) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < sites.size(); ++i)
        if (wanted(share_index{static_cast<std::uint8_t>(i)})) names.push_back(sites[i].name);
    return fmt::format("{}", fmt::join(names, ", "));
}

task<std::vector<journal_entry>> read_whole_journal(std::shared_ptr<share_store> store) {
    std::vector<journal_entry> all;
    std::uint64_t from = 0;
    std::size_t size = 0;
    for (;;) {
        auto part = co_await store->read_journal(from, journal_read_size);
        if (!part) co_return fail(std::move(part).error());
        if (part->empty()) co_return all;
        for (journal_entry& entry : *part) {
            if (!all.empty() && entry.sequence <= all.back().sequence)
                co_return fail(errc::bad_format, "a journal that does not ascend");
            size += sizeof entry + entry.chunks.size() * sizeof(chunk_id) + entry.share.size();
            if (size > journal_read_size_max) co_return fail(errc::too_large, "a journal without end");
            all.push_back(std::move(entry));
        }
        from = all.back().sequence + 1;
    }
}

}  // namespace

awaitable<volume_impl::site_states> volume_impl::ask_states() {
    fan_out<store_state> calls(members_.executor);
    for (site_link& link : members_.sites) {
        if (link.store == nullptr) {
            link.reason = "not used";
            continue;
        }
        calls.start(link.index.value, link.store->state());
    }
    co_await calls.wait_all();
    site_states states;
    for (auto& [site, answer] : calls.done()) {
        site_link& link = members_.sites[site];
        if (answer) {
            link.incarnation = answer->incarnation;
            link.capacity = answer->capacity;
            link.free = answer->free;
            states.emplace(link.index, std::move(*answer));
        } else {
            link.reason = answer.error().message();
        }
    }
    co_return states;
}

/// The writer that holds the volume now, if there is one: heard of lately, not dead, not displaced, not gone in peace.
std::optional<writer_identity> volume_impl::live_writer(const site_states& states) const {
    for (const auto& [site, state] : states) {
        const auto& beat = state.heartbeat;
        if (!beat || beat->writer == writer_identity() || beat->age_ms >= live_writer_age_ms) continue;
        if (beat->authority < state.promised || is_dead(beat->writer)) continue;
        return beat->writer;
    }
    return std::nullopt;
}

/// How long ago each site last heard of the writer, milliseconds.
static std::map<share_index, std::uint32_t> ages_of_beats(const std::map<share_index, store_state>& states,
                                                          const writer_identity& writer) {
    std::map<share_index, std::uint32_t> ages;
    for (const auto& [site, state] : states)
        if (state.heartbeat && state.heartbeat->writer == writer) ages[site] = state.heartbeat->age_ms;
    return ages;
}

/// A writer of this machine may be draining after its unmounting: it gets a while to go. One of another machine is
/// watched until it is heard of again, or was not for so long that it counts as dead.
task<> volume_impl::wait_for_writer(site_states& states) {
    const deadline until = deadline_in_ms(options_.writer_wait_ms);
    const deadline judged = deadline_in_ms(live_writer_age_ms);
    std::map<share_index, std::uint32_t> ages;
    for (;;) {
        const auto writer = live_writer(states);
        if (!writer || options_.takeover) co_return result<void>();
        // A site whose news is younger than before has heard of it since; one that only answers now tells nothing new.
        auto now = ages_of_beats(states, *writer);
        const bool lives = std::ranges::any_of(
            now, [&](const auto& beat) { return ages.contains(beat.first) && beat.second < ages.at(beat.first); });
        const bool here = writer->machine == identity_.machine;
        if (here ? steady_clock::now() >= until : lives || steady_clock::now() >= judged)
            co_return fail(errc::busy,
                           fmt::format("the volume is being written by {} (takeover displaces it)", describe(*writer)));
        ages = std::move(now);
        co_await pause(std::chrono::milliseconds(writer_watch_ms));
        states = co_await ask_states();
    }
}

/// Draws a ballot above everything seen and gets it promised; sites that do not promise leave `states`.
task<> volume_impl::take_authority(site_states& states) {
    std::uint64_t counter = 0;
    for (const auto& [site, state] : states)
        counter = std::max({counter, state.promised.counter, state.journal.last_epoch.counter});
    ballot mine;
    mine.counter = counter + 1;
    mine.nonce = options_.draw_nonce();
    fan_out<void> calls(members_.executor);
    for (const auto& [site, state] : states) calls.start(site.value, members_.site(site).store->promise(mine));
    co_await calls.wait_all();
    for (auto& [site, answer] : calls.done()) {
        if (answer) continue;
        site_link& link = members_.sites[site];
        link.reason = answer.error().message();
        states.erase(link.index);
    }
    const unsigned needed = promise_count_min(members_.threshold, members_.site_count);
    if (states.size() < needed)
        co_return fail(
            errc::missing_shares,
            fmt::format("{} of {} sites promise, writing needs {}; missing: {}", states.size(), members_.site_count,
                        needed, names_of(options_.sites, [&](share_index i) { return !states.contains(i); })));
    members_.authority = mine;
    co_return result<void>();
}

awaitable<std::vector<site_journal>> volume_impl::read_journals(const site_states& states) {
    fan_out<std::vector<journal_entry>> calls(members_.executor);
    for (const auto& [site, state] : states) calls.start(site.value, read_whole_journal(members_.site(site).store));
    co_await calls.wait_all();
    std::vector<site_journal> journals;
    for (auto& [site, answer] : calls.done()) {
        site_link& link = members_.sites[site];
        if (!answer) {
            link.reason = answer.error().message();
            continue;
        }
        site_journal journal;
        journal.site = link.index;
        journal.incarnation = link.incarnation;
        journal.entries = std::move(*answer);
        journals.push_back(std::move(journal));
    }
    co_return journals;
}

/// A store that was wiped since it told its incarnation has an empty journal, which must not count as the old store's.
/// Nor may that of a site that does not answer any more.
awaitable<void> volume_impl::forget_changed_stores(site_states& states, std::vector<site_journal>& journals) {
    const site_states now = co_await ask_states();
    std::erase_if(states, [&](const auto& before) {
        const auto after = now.find(before.first);
        return after == now.end() || after->second.incarnation != before.second.incarnation;
    });
    std::erase_if(journals, [&](const site_journal& journal) { return !states.contains(journal.site); });
}

result<void> volume_impl::check_description(const volume_description& found) const {
    const volume_description wanted = description();
    if (found == wanted) return {};
    if (found.id != wanted.id) return fail(errc::bad_argument, "the sites hold another volume");
    return fail(errc::bad_argument,
                fmt::format("the volume is {}-of-{} over sites {}; the configuration says {}-of-{} over {}",
                            found.threshold, found.sites.size(), fmt::join(found.sites, ", "), wanted.threshold,
                            wanted.sites.size(), fmt::join(wanted.sites, ", ")));
}

/// The sites of the last view that answered with the incarnation it names are the view that goes on; for a writer those
/// whose journals it has read, since it must know what they lack.
task<> volume_impl::settle_view(const history& past, const site_states& states,
                                const std::vector<site_journal>& journals) {
    view next;
    next.number = past.last_view.number + 1;
    for (const view_member& member : past.last_view.members) {
        const auto answer = states.find(member.site);
        if (answer == states.end()) continue;
        if (answer->second.incarnation != member.incarnation) {
            members_.site(member.site).reason = "its store is not the one that the volume knows";
            continue;
        }
        const bool is_read = std::ranges::find(journals, member.site, &site_journal::site) != journals.end();
        if (options_.mode == open_mode::write && !is_read) continue;
        next.members.push_back(member);
    }
    const unsigned needed =
        options_.mode == open_mode::write ? view_size_min(members_.threshold, members_.site_count) : members_.threshold;
    if (next.members.size() < needed)
        co_return fail(errc::missing_shares,
                       fmt::format("{} of the sites that hold the newest state answer, {} are needed; missing: {}",
                                   next.members.size(), needed, names_of(options_.sites, [&](share_index i) {
                                       return past.last_view.has(i) && !next.has(i);
                                   })));
    for (const view_member& member : next.members) members_.site(member.site).role = site_role::member;
    members_.current = next;
    co_return result<void>();
}

/// A site that lost its power may lack, with the record, chunks that were put there for it: they are made again from k
/// others, members or other holders of the record (a site on its way back may have it before a member does).
task<> volume_impl::copy_with_chunks(share_index site, journal_entry entry, bool restart,
                                     std::vector<share_index> holders) {
    const auto done = co_await journal_->copy_entry(site, entry, restart);
    if (done || done.error().code != errc::not_found) co_return done;
    for (const chunk_id& chunk : entry.chunks) {
        auto healed = co_await chunks_.heal_chunk(site, chunk, chunk_kind::data, holders);
        if (!healed) healed = co_await chunks_.heal_chunk(site, chunk, chunk_kind::metadata, holders);
        if (!healed) co_return healed;
    }
    co_return co_await journal_->copy_entry(site, std::move(entry), restart);
}

/// Every member gets the records from the last snapshot on that it lacks behind those it has, bit for bit; what it has
/// beyond the head goes when the opening record replaces it. A member that cannot take the records leaves the view.
/// Returns the members with a stale record in front of good ones: to replace it would drop those, perhaps the last
/// copies.
task<std::vector<share_index>> volume_impl::restore_tail(const history& past,
                                                         const std::vector<site_journal>& journals) {
    std::vector<share_index> stale;
    for (const site_journal& journal : journals) {
        if (!members_.current.has(journal.site)) continue;
        const bool has_start = std::ranges::any_of(
            journal.entries, [&](const journal_entry& e) { return e.sequence == past.records.front().sequence; });
        bool restart = !has_start;
        const bool anew = restart;  // what is there goes, good or not
        std::uint64_t last_held = 0;
        for (const kept_record& kept : past.records)
            if (kept.shares.contains(journal.site)) last_held = kept.sequence;
        for (const kept_record& kept : past.records) {
            if (!anew && kept.sequence <= last_held) {
                if (!kept.shares.contains(journal.site)) stale.push_back(journal.site);
                continue;
            }
            std::map<share_index, bytes_view> sources;
            std::vector<share_index> holders;
            for (const auto& [site, share] : kept.shares) {
                sources[site] = share.view();
                holders.push_back(site);
            }
            journal_entry entry;
            entry.sequence = kept.sequence;
            entry.epoch = kept.epoch;
            entry.chunks = kept.chunks;
            if (const auto own = kept.shares.find(journal.site); own != kept.shares.end()) {
                entry.share = own->second;
            } else {
                CO_TRY(entry.share, codec_.rebuild(journal.site, sources));
            }
            const auto done = co_await copy_with_chunks(journal.site, std::move(entry), restart, holders);
            restart = false;
            if (done) continue;
            if (!members_.drop(journal.site, done.error().message())) co_return fail(done.error());
            break;
        }
    }
    co_return stale;
}

/// Fails when no randomness comes in time: an opening that waits for ever would be a mount that hangs.
task<> volume_impl::draw_epoch_keys() {
    epoch_keys keys;
    keys.epoch = members_.authority;
    CO_TRY(const auto random,
           co_await chunks_.randomness().take(keys.tag_point.size() + keys.hash_point.size(), key_use::control));
    CO_TRY_VOID(random->fill(keys.tag_point));
    CO_TRY_VOID(random->fill(keys.hash_point));
    epochs_.push_back(keys);
    co_return result<void>();
}

task<> volume_impl::write_opening(const history& past) {
    epochs_ = past.epochs;
    CO_TRY_VOID(co_await draw_epoch_keys());
    for (const epoch_keys& keys : epochs_) chunks_.add_keys(keys);
    members_.view_dirty = true;
    journal_record opening;
    opening.epochs.push_back(epochs_.back());
    co_return co_await journal_->append(std::move(opening), {});
}

/// The metadata files as the kept records up to `last` make them. REQUIRES: last >= past.first_state().
result<void> volume_impl::load_files(const history& past, std::uint64_t last) {
    auto files = std::make_shared<metadata_files>(*this, files_options());
    byte_vector snapshot;  // its parts are pieces of one run of edits
    for (const kept_record& kept : past.records) {
        if (kept.sequence > last) break;
        const journal_record& record = kept.record;
        if (record.snapshot) {
            if (record.snapshot->part == 0) snapshot.clear();
            snapshot.insert(snapshot.end(), record.edits.begin(), record.edits.end());
            if (record.snapshot->part + 1 == record.snapshot->parts) TRY_VOID(files->load_edits(snapshot));
        } else if (!record.edits.empty()) {
            TRY_VOID(files->load_edits(record.edits));
        }
    }
    files_ = std::move(files);
    applied_ = last;
    return {};
}

/// What a reader may show: what no recovery can take back, as far as that can be known. When sites that were to hold
/// the last record are lost (or their stores) and nobody writes, that is what a recovery with the sites that are left
/// would keep: it may have been committed.
static std::uint64_t last_to_show(const history& past, const std::vector<site_journal>& journals, bool is_written) {
    const bool all_answer = std::ranges::all_of(past.records.back().mark.members, [&](const view_mark::member& member) {
        return std::ranges::any_of(journals, [&](const site_journal& journal) {
            return journal.site == member.site && incarnation_mark(journal.incarnation) == member.incarnation;
        });
    });
    return all_answer || is_written ? std::max(past.committed, past.first_state()) : past.head();
}

/// Loads the metadata files and opens RocksDB on them, on a worker.
task<> volume_impl::load(const history& past, const std::vector<site_journal>& journals, bool is_written) {
    const bool writing = options_.mode == open_mode::write;
    const bool all = writing || options_.newest;
    const std::uint64_t last = all ? past.head() : last_to_show(past, journals, is_written);
    CO_TRY_VOID(load_files(past, last));
    if (!writing && last > past.committed) {
        const kept_record& shown = past.records[last - past.records.front().sequence];
        unsure_ = {shown.epoch, shown.mark, past.committed};
    }
    for (const table_chunk& table : files_->live_table_chunks()) tables_at_open_.push_back(table.chunk);
    following_ = !writing && options_.follow;
    if (following_) co_return co_await publish_generation();
    const auto mode = writing ? metadata_db_mode::write : metadata_db_mode::read_only;
    auto opened = co_await run_in(waiting_pool_, [this, mode]() -> result<void> {
        TRY(db_, open_metadata_db(*files_, options_.memory_size, mode));
        names_ = std::make_unique<name_space>(*db_);
        return names_->open();
    });
    co_return opened;
}

task<> volume_impl::open_existing() {
    site_states states = co_await ask_states();
    if (states.size() < members_.threshold) {
        std::string why;
        for (const site_link& link : members_.sites)
            if (!states.contains(link.index)) why += fmt::format("; {}: {}", link.name, link.reason);
        co_return fail(errc::missing_shares, fmt::format("{} of {} sites answer, {} are needed{}", states.size(),
                                                         members_.site_count, members_.threshold, why));
    }
    const bool writing = options_.mode == open_mode::write;
    if (writing) {
        CO_TRY_VOID(co_await wait_for_writer(states));
        CO_TRY_VOID(co_await take_authority(states));
    }
    std::vector<site_journal> journals = co_await read_journals(states);
    if (writing) co_await forget_changed_stores(states, journals);
    CO_TRY(const history past, rebuild_history(codec_, journals));
    CO_TRY_VOID(check_description(past.description));
    CO_TRY_VOID(co_await settle_view(past, states, journals));
    for (const share_index liar : past.liars) members_.site(liar).reason = "its journal contradicts the others";
    // Sites that are only absent may come: a writer waits for them rather than going on read-only.
    if (writing && past.disputed && !past.awaited.empty()) co_return fail(errc::missing_shares, *past.disputed);
    if (past.disputed) {
        disputed_ = "head disputed: " + *past.disputed;
        members_.lose_authority(disputed_);
    }
    journal_ = std::make_unique<journal_writer>(members_, codec_, chunks_, past.head(), past.committed);
    for (const kept_record& kept : past.records)
        if (!kept.record.snapshot) journal_->found(kept.record.edits.size());
    for (const epoch_keys& keys : past.epochs) chunks_.add_keys(keys);
    if (writing && !past.disputed) {
        failpoint("open.promised");
        CO_TRY(const auto stale, co_await restore_tail(past, journals));
        failpoint("open.restored");
        CO_TRY_VOID(co_await write_opening(past));
        failpoint("open.written");
        // They leave the view, to be healed. Where it can spare none, a snapshot makes the stale record irrelevant.
        for (const share_index site : stale)
            if (!members_.drop(site, "its journal has a stale record")) snapshot_wanted_ = true;
    } else {
        options_.mode = open_mode::read_only;
        epochs_ = past.epochs;
    }
    CO_TRY_VOID(co_await load(past, journals, live_writer(states).has_value()));
    start_upkeep();
    co_return result<void>();
}

task<> volume_impl::create_fresh() {
    site_states states = co_await ask_states();
    if (states.size() < members_.site_count)
        co_return fail(errc::missing_shares,
                       "creating a volume needs every site; missing: " +
                           names_of(options_.sites, [&](share_index i) { return !states.contains(i); }));
    for (const auto& [site, state] : states)
        if (state.journal.last != 0)
            co_return fail(errc::exists, fmt::format("{} already holds this volume", members_.site(site).name));
    CO_TRY_VOID(co_await take_authority(states));
    for (site_link& link : members_.sites) members_.admit(link.index);
    CO_TRY_VOID(co_await draw_epoch_keys());
    chunks_.add_keys(epochs_.back());
    journal_ = std::make_unique<journal_writer>(members_, codec_, chunks_, 0, 0);
    files_ = std::make_shared<metadata_files>(*this, files_options());
    const auto made = co_await run_in(waiting_pool_, [this]() -> result<void> {
        TRY(db_, open_metadata_db(*files_, options_.memory_size, metadata_db_mode::create));
        names_ = std::make_unique<name_space>(*db_);
        TRY_VOID(names_->format(options_.root_mode, options_.root_uid, options_.root_gid, time_stamp::now()));
        if (!db_->FlushWAL(false).ok()) return fail(errc::io_error, "the metadata log cannot be written");
        return {};
    });
    if (!made) co_return made;
    const auto lock = co_await journal_->commit_lock().lock();
    while (files_->has_edits()) files_->take_edits(record_edit_size_max);
    const byte_vector state = files_->snapshot();
    co_return co_await append_snapshot(state, {});
}

}  // namespace warifu
