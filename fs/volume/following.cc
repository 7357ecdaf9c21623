// A follower: a volume that is open read-only and takes over what the writer commits. It applies a record only when it
// is certain that no recovery can take it back (fs/volume/README.md, "Followers").

#include <algorithm>
#include <rocksdb/db.h>

#include "fs/async/fan_out.h"
#include "fs/volume/volume_impl.h"

namespace warifu {
namespace {

constexpr auto follow_interval = std::chrono::milliseconds(250);
constexpr auto retry_interval_max = std::chrono::milliseconds(4000);  // what fails may cost whole journals of pad
constexpr int whole_look_every = 20;  // looks at one site only may miss what a smaller view does without it
constexpr std::uint32_t writer_missed_ms = heartbeat_interval_ms * 5 / 2;  // no heartbeat: others may know more
constexpr std::uint32_t writer_gone_ms = 60'000;                           // no heartbeat: nobody writes
constexpr std::uint32_t follow_read_size = 4U << 20U;

using held_records = std::map<std::uint64_t, std::map<ballot, std::map<share_index, journal_entry>>>;

task<std::vector<journal_entry>> read_from(std::shared_ptr<share_store> store, std::uint64_t first) {
    co_return co_await store->read_journal(first, follow_read_size);
}

}  // namespace

/// A new namespace over the files as they are now, for all readers from here on.
task<> volume_impl::publish_generation() {
    const std::uint64_t shown = applied_;
    auto next = std::make_shared<generation>();
    next->files = files_;
    auto opened = co_await run_in(waiting_pool_, [this, next]() -> result<void> {
        TRY(next->db, open_metadata_db(*next->files, options_.memory_size, metadata_db_mode::read_only));
        next->names = std::make_unique<name_space>(*next->db);
        return next->names->open();
    });
    if (!opened) co_return opened;
    shown_bytes_ = next->names->use().stored_bytes;
    generations_.publish(std::move(next));
    published_ = shown;
    co_return result<void>();
}

awaitable<void> volume_impl::follow_loop() {
    auto interval = follow_interval;
    for (int look = 1; co_await pause(interval); ++look) {
        if (follow_trouble_.empty() && look % whole_look_every != 0 && !co_await nearest_has_news()) continue;
        const auto followed = co_await follow();
        follow_trouble_ = followed ? "" : followed.error().message();
        interval = followed ? follow_interval : std::min(2 * interval, retry_interval_max);
        publish_status();
    }
}

/// One small question to the member that answers soonest, usually this site's own, costs no pad.
awaitable<bool> volume_impl::nearest_has_news() {
    const site_link* nearest = nullptr;
    for (const site_link& link : members_.sites)
        if (link.role == site_role::member && (nearest == nullptr || link.latency_ms < nearest->latency_ms))
            nearest = &link;
    if (nearest == nullptr) co_return true;
    site_link& asked = members_.site(nearest->index);
    const auto start = steady_clock::now();
    const auto state = co_await asked.store->state();
    const double ms = std::chrono::duration<double, std::milli>(steady_clock::now() - start).count();
    asked.latency_ms += 0.2 * ((state ? ms : 1000.0) - asked.latency_ms);
    if (!state || state->incarnation != asked.incarnation) co_return true;
    if (applied_ != published_ || has_news(*state)) co_return true;
    // A writer that went on without this site beats its heart elsewhere.
    const auto& beat = state->heartbeat;
    co_return beat && beat->age_ms > writer_missed_ms && beat->age_ms < writer_gone_ms;
}

/// Records that this mount has not applied, or others where it applied some that may not have been committed.
bool volume_impl::has_news(const store_state& state) const {
    return state.journal.last > applied_ || went_on_before(state) ||
           (unsure_ && state.journal.last == applied_ && state.journal.last_epoch != unsure_->epoch);
}

/// A later opening dropped what this mount applied last, and has not come as far again.
bool volume_impl::went_on_before(const store_state& state) const {
    return unsure_ && state.journal.last < applied_ && state.journal.last_epoch > unsure_->epoch;
}

/// The site has the record of that number and epoch, in the store that the mark names.
static bool has_record(const std::map<share_index, store_state>& states, const view_mark::member& member,
                       const ballot& epoch, std::uint64_t sequence) {
    const auto state = states.find(member.site);
    return state != states.end() && incarnation_mark(state->second.incarnation) == member.incarnation &&
           state->second.journal.last_epoch == epoch && state->second.journal.last >= sequence;
}

/// The records from `next` on that k sites gave, in order, without gaps.
static std::vector<kept_record> decode_held(const record_codec& codec, const held_records& held, std::uint64_t next) {
    std::vector<kept_record> decoded;
    for (auto at = held.find(next); at != held.end() && at->first == next; ++at, ++next) {
        bool found = false;
        for (auto epoch = at->second.rbegin(); epoch != at->second.rend() && !found; ++epoch) {
            if (epoch->second.size() < codec.threshold()) continue;
            std::map<share_index, bytes_view> shares;
            for (const auto& [site, entry] : epoch->second) shares[site] = entry.share.view();
            const auto opened = codec.open_any(epoch->first, next, shares);
            if (!opened) continue;
            auto record = decode_journal_record(opened->payload);
            if (!record) continue;
            kept_record& kept = decoded.emplace_back();
            kept.sequence = next;
            kept.epoch = epoch->first;
            kept.mark = opened->mark;
            kept.record = std::move(*record);
            found = true;
        }
        if (!found) break;
    }
    return decoded;
}

/// The last of these records that is durable at the whole view that it names: a later record says so, or each site of
/// that view has it (its journal ends at or after it, in its epoch).
static std::uint64_t committed_of(const std::vector<kept_record>& records,
                                  const std::map<share_index, store_state>& states) {
    std::uint64_t committed = 0;
    for (const kept_record& kept : records) {
        committed = std::max(committed, kept.record.committed);
        const auto has_it = [&](const view_mark::member& member) {
            return has_record(states, member, kept.epoch, kept.sequence);
        };
        if (std::ranges::all_of(kept.mark.members, has_it)) committed = std::max(committed, kept.sequence);
    }
    return committed;
}

static std::map<share_index, std::pair<incarnation_id, journal_span>> journals_of(
    const std::map<share_index, store_state>& states) {
    std::map<share_index, std::pair<incarnation_id, journal_span>> journals;
    for (const auto& [site, state] : states) journals[site] = {state.incarnation, state.journal};
    return journals;
}

task<> volume_impl::follow() {
    const site_states states = co_await ask_states();
    if (states.size() < members_.threshold) co_return fail(errc::missing_shares, "fewer than k sites answer");
    if (unsure_ && std::ranges::all_of(unsure_->mark.members, [&](const view_mark::member& member) {
            return has_record(states, member, unsure_->epoch, applied_);
        }))
        unsure_.reset();
    const std::uint64_t first = unsure_ ? applied_ : applied_ + 1;
    unsigned ahead = 0, before = 0;
    for (const auto& [site, state] : states) {
        if (has_news(state)) ++ahead;
        if (went_on_before(state)) ++before;
    }
    if (before >= members_.threshold) co_return co_await follow_anew();
    // Records that were read and are not known to be committed say no more as long as the journals stay as they are.
    if (ahead < members_.threshold || journals_of(states) == futile_) {
        if (applied_ != published_) co_return co_await publish_generation();
        co_return result<void>();
    }
    // The sites that answer soonest first; the others only if their shares are needed.
    std::vector<share_index> order;
    for (const auto& [site, state] : states)
        if (has_news(state) && state.journal.first <= first) order.push_back(site);
    if (order.size() < members_.threshold) co_return co_await follow_anew();  // the others' were cut
    std::ranges::sort(order, {}, [this](share_index i) { return members_.site(i).latency_ms; });
    held_records held;
    std::vector<kept_record> records;
    bool all_answered = true;
    for (std::size_t asked = 0; asked < order.size();) {
        fan_out<std::vector<journal_entry>> calls(members_.executor);
        const std::size_t until = asked == 0 ? std::min<std::size_t>(members_.threshold, order.size()) : order.size();
        for (; asked < until; ++asked)
            calls.start(order[asked].value, read_from(members_.site(order[asked]).store, first));
        co_await calls.wait_all();
        for (auto& [site, answer] : calls.done()) {
            all_answered = all_answered && answer;
            if (answer)
                for (journal_entry& entry : *answer)
                    held[entry.sequence][entry.epoch][members_.sites[site].index] = std::move(entry);
        }
        records = decode_held(codec_, held, first);
        const std::uint64_t committed = committed_of(records, states);
        if (!records.empty() && committed >= records.back().sequence) break;
    }
    const std::uint64_t committed = committed_of(records, states);
    std::erase_if(records, [committed](const kept_record& kept) { return kept.sequence > committed; });
    if (unsure_ && !records.empty()) {
        if (records.front().epoch != unsure_->epoch) co_return co_await follow_anew();  // it was not committed
        unsure_.reset();
        records.erase(records.begin());
    }
    if (records.empty()) {
        if (all_answered) futile_ = journals_of(states);
        co_return result<void>();
    }
    const auto applied = apply(records);
    if (!applied) co_return co_await follow_anew();
    CO_TRY_VOID(co_await publish_generation());
    co_return result<void>();
}

result<void> volume_impl::apply(const std::vector<kept_record>& records) {
    for (const kept_record& kept : records) {
        const journal_record& record = kept.record;
        for (const epoch_keys& keys : record.epochs) {
            if (std::ranges::find(epochs_, keys) != epochs_.end()) continue;
            epochs_.push_back(keys);
            chunks_.add_keys(keys);
        }
        if (record.new_view) take_view(*record.new_view);
        if (record.snapshot)
            TRY_VOID(apply_part(record));
        else if (!record.edits.empty())
            TRY_VOID(files_->load_edits(record.edits));
        applied_ = kept.sequence;
    }
    return {};
}

/// A snapshot holds the changes of its commit as well: with its last part it takes the place of what is here.
result<void> volume_impl::apply_part(const journal_record& record) {
    if (record.snapshot->part == 0) {
        snapshot_.clear();
        snapshot_parts_ = 0;
    }
    if (record.snapshot->part != snapshot_parts_) return fail(errc::bad_format, "a snapshot without its beginning");
    snapshot_.insert(snapshot_.end(), record.edits.begin(), record.edits.end());
    if (++snapshot_parts_ < record.snapshot->parts) return {};
    auto files = std::make_shared<metadata_files>(*this, files_options());
    TRY_VOID(files->load_edits(std::exchange(snapshot_, {})));
    files_ = std::move(files);
    return {};
}

/// Reads go to the members of the newest view.
void volume_impl::take_view(const view& next) {
    members_.current = next;
    for (site_link& link : members_.sites) {
        const bool member = next.has(link.index, link.incarnation);
        link.role = member ? site_role::member : site_role::down;
        link.reason = member ? "" : "not in the view that the writer last named";
    }
}

/// The journal was cut behind a snapshot that this follower has not seen, or its files do not fit: all of it again.
task<> volume_impl::follow_anew() {
    const site_states states = co_await ask_states();
    const std::vector<site_journal> journals = co_await read_journals(states);
    CO_TRY(const history past, rebuild_history(codec_, journals));
    if (past.committed < (unsure_ ? unsure_->certain : applied_))
        co_return fail(errc::missing_shares, "the sites that answer know less than this mount");
    if (past.committed < past.first_state())
        co_return fail(errc::missing_shares, "the newest snapshot is not committed yet");
    for (const epoch_keys& keys : past.epochs) chunks_.add_keys(keys);
    epochs_ = past.epochs;
    take_view(past.last_view);
    CO_TRY_VOID(load_files(past, past.committed));
    snapshot_parts_ = 0;
    futile_.clear();
    published_ = 0;  // what is shown now may be of the same number and yet another state
    CO_TRY_VOID(co_await publish_generation());
    unsure_.reset();
    co_return result<void>();
}

}  // namespace warifu
