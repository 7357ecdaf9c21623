// Removal of what commits freed: never before the commit that freed it is durable, only while the view is whole, and
// late enough for followers. And, once at every opening, of what a crash left behind.

#include <algorithm>
#include <rocksdb/db.h>
#include <unordered_map>
#include <unordered_set>

#include "fs/base/failpoint.h"
#include "fs/volume/volume_impl.h"

namespace warifu {
namespace {

constexpr auto reap_interval = std::chrono::seconds(1);
constexpr std::size_t freed_mark_count_max = 64;

/// The bytes of the side that hold the piece's tags.
share_range tags_of(const scheme& shape, const freed_piece& freed) {
    piece_ref piece;
    piece.name.chunk = freed.chunk;
    piece.name.piece = freed.piece;
    piece.payload_size = freed.piece_size;
    piece.first_tag_unit = freed.first_unit;
    const fetch_range tags = tag_range(shape, piece);
    share_range range;
    range.part = side_part;
    range.offset = tags.offset;
    range.size = tags.size;
    return range;
}

std::vector<share_removal> as_removals(const scheme& shape, const std::vector<freed_piece>& freed) {
    std::vector<share_removal> removals;
    std::unordered_map<chunk_id, std::size_t> place;
    std::unordered_set<chunk_id> whole;
    for (const freed_piece& piece : freed)
        if (piece.last_of_chunk) whole.insert(piece.chunk);
    for (const freed_piece& piece : freed) {
        const auto [at, fresh] = place.emplace(piece.chunk, removals.size());
        if (fresh) removals.emplace_back().chunk = piece.chunk;
        if (whole.contains(piece.chunk)) continue;  // no pieces named: all of it
        share_removal& removal = removals[at->second];
        removal.pieces.push_back(piece.piece);
        removal.side_ranges.push_back(tags_of(shape, piece));
    }
    return removals;
}

/// The freed pieces up to a ticket, read again when they are due: a chunk that was being filled may have got live
/// pieces since (the commit that was waited for closed it), and a chunk whose other pieces were freed later, by a
/// commit that may not be durable, must not go as a whole. What is due is read first, so that no chunk is freed between
/// the two without being seen.
result<std::vector<freed_piece>> removable_up_to(const name_space& names, std::uint64_t last_ticket) {
    TRY(std::vector<freed_piece> due, names.freed(0, reap_batch_count_max));
    std::erase_if(due, [&](const freed_piece& piece) { return piece.ticket > last_ticket; });
    if (due.empty()) return due;
    TRY(const std::vector<chunk_id> freed_later, names.freed_chunks(last_ticket));
    const std::unordered_set<chunk_id> later(freed_later.begin(), freed_later.end());
    for (freed_piece& piece : due) piece.last_of_chunk = piece.last_of_chunk && !later.contains(piece.chunk);
    return due;
}

}  // namespace

task<> volume_impl::remove_everywhere(std::vector<share_removal> removals) {
    fan_out<void> calls(members_.executor);
    for (const share_index site : members_.members())
        calls.start(site.value, members_.site(site).store->remove(members_.authority, removals));
    co_await calls.wait_all();
    for (auto& [site, answer] : calls.done())
        if (!answer) co_return fail(answer.error());
    co_return result<void>();
}

/// Notes what is freed by now, and when it may go: late enough after the commit that frees it is durable.
awaitable<void> volume_impl::mark_freed() {
    // What nobody's commit has taken for an interval: RocksDB's own edits need no change of the namespace.
    if (!freed_marks_.empty() && !freed_marks_.back().due && commit_wanted_) commit_wanted_();
    if (freed_marks_.size() < freed_mark_count_max) {
        const freed_mark now = co_await run_in(waiting_pool_, [this] {
            freed_mark mark;
            // Who has the lock may wait for room at a site, and what is due makes room: the next look marks.
            const std::unique_lock lock(names_lock_, std::try_to_lock);
            if (!lock) return mark;
            mark.last_ticket = names_->last_freed_ticket();
            const bool captured = db_->FlushWAL(false).ok() && !files_->has_edits() && !returned_;
            mark.capture = captured ? captures_ : captures_ + 1;
            return mark;
        });
        if (now.last_ticket > marked_ticket_) {
            marked_ticket_ = now.last_ticket;
            freed_marks_.push_back(now);
        }
    }
    const deadline now = steady_clock::now();
    for (freed_mark& mark : freed_marks_)
        if (!mark.due && durable_capture_ >= mark.capture)
            mark.due = now + std::chrono::milliseconds(options_.removal_delay_ms);
    // Of marks that are due (a site was away for long) the last says it all.
    while (freed_marks_.size() > 1 && freed_marks_[1].due && *freed_marks_[1].due <= now) freed_marks_.pop_front();
}

/// One batch of what is due; true when there may be more.
task<bool> volume_impl::reap_freed() {
    const bool any_due =
        !freed_marks_.empty() && freed_marks_.front().due && *freed_marks_.front().due <= steady_clock::now();
    if (!any_due) co_return false;
    const std::uint64_t last_ticket = freed_marks_.front().last_ticket;
    const auto due =
        co_await run_in(waiting_pool_, [this, last_ticket] { return removable_up_to(*names_, last_ticket); });
    if (!due) co_return fail(due.error());
    if (due->empty()) {
        freed_marks_.pop_front();
        co_return true;
    }
    if (!members_.whole()) co_return false;  // a site that returns would keep what it was not asked to remove
    CO_TRY_VOID(co_await remove_everywhere(as_removals(shape_, *due)));
    failpoint("reap.removed");
    CO_TRY_VOID(co_await run_in(waiting_pool_, [this, &due]() -> result<void> {
        std::vector<std::uint64_t> tickets;
        for (const freed_piece& piece : *due) tickets.push_back(piece.ticket);
        const std::lock_guard lock(names_lock_);
        return names_->acknowledge_removed(tickets);
    }));
    if (commit_wanted_) commit_wanted_();
    co_return true;
}

awaitable<void> volume_impl::reap_tables() {
    std::vector<share_removal> removals;
    while (members_.whole() && !dead_tables_.empty() && dead_tables_.front().due <= steady_clock::now() &&
           removals.size() < remove_count_max) {
        removals.emplace_back().chunk = dead_tables_.front().chunk.chunk;
        dead_tables_.pop_front();
    }
    // What fails here stays at a site until the next opening collects it.
    if (!removals.empty()) co_await remove_everywhere(std::move(removals));
}

awaitable<void> volume_impl::reap_loop() {
    bool collected = false, more = false;
    while (co_await pause(more ? steady_clock::duration() : reap_interval)) {
        if (!more) co_await mark_freed();
        more = false;
        if (!members_.whole() || !members_.check_writable()) continue;
        if (!std::exchange(collected, true)) co_await collect_garbage();
        co_await reap_tables();
        more = (co_await reap_freed()).value_or(false);
    }
}

/// Chunks of earlier epochs that nothing refers to: puts whose commit never came, tables whose end was not told to the
/// sites. Order matters: what is alive is read first and what was freed after it, so that a piece that is being freed
/// is seen in one.
awaitable<void> volume_impl::collect_garbage() {
    std::unordered_set<chunk_id> wanted(tables_at_open_.begin(), tables_at_open_.end());
    const auto live = co_await live_chunks();
    if (!live) co_return;
    for (const live_chunk& chunk : *live) wanted.insert(chunk.id);
    const auto complete = co_await run_in(waiting_pool_, [this, &wanted] {
        std::uint64_t after = 0;
        for (;;) {
            const auto part = names_->freed(after, reap_batch_count_max);
            if (!part) return false;
            if (part->empty()) return true;
            for (const freed_piece& piece : *part) wanted.insert(piece.chunk);
            after = part->back().ticket;
        }
    });
    if (!complete) co_return;
    for (const share_index site : members_.members()) {
        const auto present = co_await list_site(site);
        if (!present) continue;
        std::vector<share_removal> removals;
        for (const chunk_id& id : *present) {
            if (id.epoch >= members_.authority || wanted.contains(id)) continue;
            removals.emplace_back().chunk = id;
            if (removals.size() < remove_count_max) continue;
            co_await members_.site(site).store->remove(members_.authority, std::exchange(removals, {}));
        }
        if (!removals.empty()) co_await members_.site(site).store->remove(members_.authority, std::move(removals));
    }
}

}  // namespace warifu
