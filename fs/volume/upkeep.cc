// The writer's care for its sites: heartbeats, dropping the silent, and the way back (learner, healed, readmitted).

#include <algorithm>
#include <fmt/format.h>
#include <unordered_set>

#include "fs/volume/volume_impl.h"

namespace warifu {
namespace {

constexpr int silent_beats_max = 2;  // heartbeats in a row that a member may miss
constexpr std::size_t heal_parallel_max = 8;
constexpr std::size_t live_piece_step = 4096;
constexpr int heal_pass_max = 100;
constexpr int successor_asked_max = 30;  // heartbeat intervals

}  // namespace

awaitable<bool> volume_impl::pause(steady_clock::duration duration) {
    co_return !co_await stop_.wait(steady_clock::now() + duration);
}

awaitable<void> volume_impl::heartbeat_loop() {
    while (!stop_.is_set()) {
        beat_now_.reset();
        if (members_.is_authority_lost()) {
            co_await learn_successor();
            publish_status();
            co_await beat_now_.wait(deadline_in_ms(heartbeat_interval_ms));
            continue;
        }
        const bool all_answer = co_await beat();
        spawn(write_view_if_dirty());  // which may wait for a site's space or key
        publish_status();
        const auto interval = all_answer ? heartbeat_interval_ms : site_return_interval_ms;
        co_await beat_now_.wait(deadline_in_ms(interval));
    }
}

/// One heartbeat to every site that is not down; false when a member did not answer.
awaitable<bool> volume_impl::beat() {
    fan_out<void> beats(members_.executor);
    fan_out<store_state> states(members_.executor);
    const std::uint64_t look = space_.begin_look();
    for (const site_link& link : members_.sites) {
        if (link.role == site_role::down) continue;
        beats.start(link.index.value, link.store->heartbeat(members_.authority, identity_));
        states.start(link.index.value, link.store->state());
    }
    co_await beats.wait_all();
    co_await states.wait_all();
    bool all_answer = true;
    for (auto& [site, answer] : beats.done()) {
        site_link& link = members_.sites[site];
        const auto& state = states.done().at(site);
        if (state) {
            link.capacity = state->capacity;
            link.free = state->free;
        }
        if (link.role == site_role::member) judge_member(link, answer, state ? &*state : nullptr);
        all_answer = all_answer && link.silent_beats == 0;
    }
    if (all_answer) space_look_ = look;
    co_return all_answer;
}

/// A member that falls silent, or comes back with another store than the view knows, leaves the view.
void volume_impl::judge_member(site_link& link, const result<void>& beat, const store_state* state) {
    if (state != nullptr && state->incarnation != link.incarnation) {
        link.silent_beats = silent_beats_max;
        link.reason = "its store is not the one that the volume knows";
        members_.drop(link.index, link.reason);
    } else if (beat && state != nullptr) {
        link.silent_beats = 0;
        if (members_.out_of_contact.erase(link.index) != 0) link.reason.clear();
        return;
    } else if (!beat && beat.error().code == errc::stale_epoch) {
        members_.lose_authority("another writer took over the volume (" + link.name + ")");
    } else {
        link.reason = beat ? "it does not tell its state" : beat.error().message();
        if (++link.silent_beats >= silent_beats_max && !members_.drop(link.index, link.reason))
            members_.out_of_contact.insert(link.index);
    }
    if (link.role == site_role::down) link.silent_beats = 0;
}

/// After the loss of authority: who has it now, for the status. The new writer is heard of when it is open.
awaitable<void> volume_impl::learn_successor() {
    if (successor_asked_ >= successor_asked_max || !disputed_.empty()) co_return;
    ++successor_asked_;
    const site_states states = co_await ask_states();
    for (const auto& [site, state] : states) {
        const auto& beat = state.heartbeat;
        if (!beat || beat->authority <= members_.authority || beat->writer == writer_identity()) continue;
        members_.explain_loss(
            fmt::format("{} took over the volume with epoch {}", describe(beat->writer), beat->authority.counter));
        successor_asked_ = successor_asked_max;
        co_return;
    }
}

/// Tells the sites that this writer is gone: the next one need not wait for its heartbeats to grow old.
awaitable<void> volume_impl::say_goodbye() {
    fan_out<void> calls(members_.executor);
    for (const share_index site : members_.members())
        calls.start(site.value, members_.site(site).store->heartbeat(members_.authority, writer_identity()));
    co_await calls.wait_all(deadline_in_ms(heartbeat_interval_ms));
}

/// A view that shrank while nothing was written becomes durable too.
awaitable<void> volume_impl::write_view_if_dirty() {
    if (!members_.view_dirty || !members_.check_writable()) co_return;
    // Who has the lock writes the view with a record, or the next beat does.
    if (journal_->commit_lock().is_locked()) co_return;
    const auto lock = co_await journal_->commit_lock().lock();
    if (members_.view_dirty) co_await journal_->append(journal_record(), {});
}

awaitable<void> volume_impl::return_loop() {
    while (co_await pause(std::chrono::milliseconds(site_return_interval_ms))) {
        if (!members_.check_writable()) continue;
        for (std::size_t i = 0; i < members_.sites.size(); ++i) {
            const site_link& link = members_.sites[i];
            if (link.role == site_role::down && link.store != nullptr && !stop_.is_set())
                co_await try_return(link.index);
        }
    }
}

awaitable<void> volume_impl::try_return(share_index site) {
    site_link& link = members_.site(site);
    const auto state = co_await link.store->state();
    if (!state) {
        link.reason = state.error().message();
        publish_status();
        co_return;
    }
    const auto promised = co_await link.store->promise(members_.authority);
    if (!promised) {
        link.reason = promised.error().message();
        publish_status();
        co_return;
    }
    link.incarnation = state->incarnation;
    link.capacity = state->capacity;
    link.free = state->free;
    link.attached = false;
    link.missed = false;
    link.reason = "being healed";
    link.role = site_role::learner;  // from here on it gets every new put
    publish_status();
    const auto healed = co_await heal(site);
    if (!healed) {
        link.role = site_role::down;
        link.attached = false;
        link.reason = healed.error().message();
    }
    publish_status();
}

/// Passes until nothing is missing, then the journal, then one more pass, then the vote.
task<> volume_impl::heal(share_index site) {
    site_link& link = members_.site(site);
    for (int pass = 0; pass < heal_pass_max; ++pass) {
        link.missed = false;
        CO_TRY(const std::uint64_t missing, co_await heal_pass(site));
        CO_TRY_VOID(members_.check_writable());
        if (missing > 0 || link.missed) {
            co_await pause(std::chrono::milliseconds(50));
            continue;
        }
        if (!link.attached) {
            CO_TRY_VOID(co_await snapshot_now(site));
            continue;
        }
        co_return co_await readmit(site);
    }
    co_return fail(errc::timed_out, "healing does not catch up");
}

task<> volume_impl::readmit(share_index site) {
    const auto lock = co_await journal_->commit_lock().lock();
    if (!members_.site(site).attached || members_.site(site).missed) co_return fail(errc::busy, "it fell behind again");
    members_.admit(site);
    co_return co_await journal_->append(journal_record(), {});
}

task<std::vector<chunk_id>> volume_impl::list_site(share_index site) {
    const auto store = members_.site(site).store;
    std::vector<chunk_id> all;
    chunk_id after;
    for (;;) {
        CO_TRY(const std::vector<chunk_id> part, co_await store->list(after, list_count_max));
        if (part.empty()) co_return all;
        if (part.front() <= after) co_return fail(errc::bad_format, "a list that does not ascend");
        all.insert(all.end(), part.begin(), part.end());
        after = all.back();
    }
}

/// Every chunk that the namespace or RocksDB's tables refer to.
task<std::vector<volume_impl::live_chunk>> volume_impl::live_chunks() {
    co_return co_await run_in(waiting_pool_, [this]() -> result<std::vector<live_chunk>> {
        std::vector<live_chunk> all;
        for (const table_chunk& table : files_->live_table_chunks())
            all.push_back(live_chunk{table.chunk, chunk_kind::metadata});
        chunk_id chunk;
        std::uint16_t piece = 0;
        for (;;) {
            TRY(const std::vector<live_piece> part, names_->live_pieces(chunk, piece, live_piece_step));
            if (part.empty()) return all;
            for (const live_piece& live : part)
                if (all.empty() || all.back().id != live.chunk) all.push_back(live_chunk{live.chunk, chunk_kind::data});
            chunk = part.back().chunk;
            piece = part.back().piece;
        }
    });
}

/// Gives the site every live chunk that it lacks; returns how many it still lacks afterwards.
task<std::uint64_t> volume_impl::heal_pass(share_index site) {
    site_link& link = members_.site(site);
    CO_TRY(const std::vector<chunk_id> present, co_await list_site(site));
    CO_TRY(const std::vector<live_chunk> live, co_await live_chunks());
    const std::unordered_set<chunk_id> have(present.begin(), present.end());
    std::vector<live_chunk> missing;
    for (const live_chunk& chunk : live)
        if (!have.contains(chunk.id)) missing.push_back(chunk);
    link.heal_total += missing.size();
    std::uint64_t left = 0;
    fan_out<void> running(members_.executor);
    for (std::size_t i = 0; i < missing.size(); ++i) {
        while (running.running() >= heal_parallel_max) co_await running.wait_change();
        if (stop_.is_set()) break;
        running.start(i, chunks_.heal_chunk(site, missing[i].id, missing[i].kind));
        if (i % 64 == 0) publish_status();
    }
    co_await running.wait_all();
    for (auto& [index, done] : running.done()) {
        if (done) {
            ++link.heal_done;
            continue;
        }
        ++left;
        // not_found: the chunk died meanwhile or is still on its way to the members; the next pass knows.
        if (done.error().code != errc::not_found) co_return fail(done.error());
    }
    co_return left;
}

}  // namespace warifu
