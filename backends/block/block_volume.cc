#include "backends/block/block_volume.h"

#include <algorithm>

#include "backends/store_rules.h"
#include "fs/base/crc32c.h"

namespace warifu {
namespace {

constexpr std::uint64_t early_log_sectors_max = 32;  // longer writes would hold up everybody's flush

}  // namespace

block_volume::block_volume(std::shared_ptr<block_core> core, volume_ptr volume)
    : core_(std::move(core)), volume_(std::move(volume)) {}

block_volume::~block_volume() {
    core_->reserved -= reserved_;
}

result<void> block_volume::check_change(ballot authority) const {
    TRY_VOID(core_->check_working());
    if (core_->is_closing()) return fail(errc::cancelled, "the store is closing");
    return check_authority(authority, volume_->promised);
}

placed_ptr block_volume::find(chunk_id chunk) const {
    const auto held = volume_->chunks.find(chunk);
    return held == volume_->chunks.end() ? nullptr : held->second;
}

task<store_state> block_volume::state() {
    const block_store_status status = core_->status();
    store_state out;
    out.incarnation = core_->block().incarnation;
    out.promised = volume_->promised_durable;
    out.journal = volume_->visible_span();
    out.capacity = status.capacity;
    out.free = status.free;
    if (volume_->heartbeat) {
        out.heartbeat = volume_->heartbeat;
        const auto age =
            std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - volume_->heartbeat_at);
        out.heartbeat->age_ms = static_cast<std::uint32_t>(std::min<std::int64_t>(age.count(), UINT32_MAX));
    }
    co_return out;
}

task<> block_volume::reserve(ballot authority, std::uint64_t size) {
    CO_TRY_VOID(check_change(authority));
    if (size > core_->status().free) co_return fail(errc::no_space, "the store is full");
    reserved_ += size;
    core_->reserved += size;
    co_return result<void>{};
}

task<> block_volume::put(share_put share) {
    const auto self = shared_from_this();
    CO_TRY_VOID(check_change(share.authority));
    CO_TRY_VOID(check_put(share));
    const held_lock lock = co_await core_->lock_chunk(volume_, share.chunk);
    CO_TRY_VOID(check_change(share.authority));
    const placed_ptr stored = find(share.chunk);
    if (!stored) {
        if (core_->index().chunk_count() >= store_chunk_count_max) co_return fail(errc::no_space, "too many shares");
        co_return co_await store_new(std::move(share), 0);
    }
    const auto same = co_await same_as_stored(share, stored);
    if (same && *same) co_return result<void>{};
    if (same) co_return fail(errc::conflict, "this chunk is here with other bytes");
    if (same.error().code != errc::bad_checksum) co_return fail(same.error());
    co_return co_await store_new(std::move(share), stored->generation + 1);  // heals what the medium changed
}

/// Pieces that are gone are not compared: a repeat of a put that crosses a remove changes nothing.
/// Errors: bad_checksum when what is stored is damaged and, as far as it can be told, was the same.
task<bool> block_volume::same_as_stored(share_put share, placed_ptr stored) {
    CO_TRY(const auto head, co_await core_->load_head(volume_, share.chunk, stored));
    const share_description& d = head->description;
    if (d.index != share.index || d.policy != share.policy || d.piece_sizes.size() != share.pieces.size() ||
        d.side_size != share.side.size())
        co_return false;
    bool partly = false;
    std::vector<share_range> ranges;
    for (std::uint32_t i = 0; i < d.piece_sizes.size(); ++i) {
        share_range range;
        range.part = i;
        range.size = d.piece_sizes[i];
        if (range.size != 0 && range.size != share.pieces[i].size()) co_return false;
        if (range.size != 0)
            ranges.push_back(range);
        else
            partly = true;
    }
    if (!partly && !std::ranges::equal(head->side, share.side.view())) co_return false;
    std::size_t compared = 0;
    for (const share_range& range : ranges) {
        const auto bytes = co_await core_->read_ranges(stored, head, std::vector{range});
        if (!bytes) {
            // Bytes of a damaged share can only be judged by the pieces that are whole.
            if (partly || bytes.error().code != errc::bad_checksum) co_return fail(bytes.error());
            continue;
        }
        ++compared;
        if (!std::ranges::equal((*bytes)[0].view(), share.pieces[range.part].view())) co_return false;
    }
    if (compared != ranges.size()) co_return fail(errc::bad_checksum, "the stored share is damaged");
    co_return true;
}

void block_volume::replace(chunk_id chunk, placed_ptr fresh) {
    fresh->born = core_->pending()->serial;
    core_->log(volume_, entry_of(volume_->number, chunk, *fresh));
    const placed_ptr old = core_->index().set_share(*volume_, chunk, fresh);
    if (!old) return;
    extent_list gone = unshared(old->extents, fresh->extents);
    old->successor = std::move(fresh);
    core_->drop(old, std::move(gone));
}

task<> block_volume::store_new(share_put share, std::uint32_t generation) {
    const ballot authority = share.authority;
    const chunk_id chunk = share.chunk;
    const std::uint64_t drawn = std::min(share_footprint(share.side.size(), share.pieces), reserved_);
    reserved_ -= drawn;
    core_->reserved -= drawn;
    share_head head = core_->head_for(*volume_, share, generation);
    auto fresh = co_await core_->place_share(std::move(head), std::move(share.pieces), room::share);
    const placed_ptr placed = fresh ? fresh->placed : nullptr;
    const bool small = placed && sectors_of(placed->extents) <= early_log_sectors_max;
    result<void> ready;
    if (!fresh)
        ready = fail(fresh.error());
    else if (!small)
        ready = co_await core_->write_new(std::move(fresh->list), placed->extents);
    if (!ready) {
        reserved_ += drawn;
        core_->reserved += drawn;
        co_return ready;
    }
    const auto still = check_change(authority);  // another writer may have come meanwhile
    if (!still) {
        core_->free_unlogged(placed->extents);
        co_return fail(still.error());
    }
    replace(chunk, placed);
    if (small) co_return co_await core_->write_logged(std::move(*fresh));
    co_return result<void>{};
}

task<std::vector<slice>> block_volume::get(chunk_id chunk, std::vector<share_range> ranges) {
    const auto self = shared_from_this();
    placed_ptr share;
    const auto pinned = volume_->pins.find(chunk);
    if (pinned != volume_->pins.end() && pinned->second.until > steady_clock::now()) share = pinned->second.share;
    if (!share) share = find(chunk);
    if (!share) co_return fail(errc::not_found, "no such chunk");
    CO_TRY(const auto head, co_await core_->load_head(volume_, chunk, share));
    auto out = co_await core_->read_ranges(share, head, std::move(ranges));
    share.reset();
    core_->collect_dying();
    co_return out;
}

task<share_description> block_volume::describe(chunk_id chunk) {
    const auto self = shared_from_this();
    const placed_ptr share = find(chunk);
    if (!share) co_return fail(errc::not_found, "no such chunk");
    CO_TRY(const auto head, co_await core_->load_head(volume_, chunk, share));
    co_return head->description;
}

task<> block_volume::remove(ballot authority, std::vector<share_removal> removals) {
    const auto self = shared_from_this();
    CO_TRY_VOID(check_change(authority));
    CO_TRY_VOID(check_removal_count(removals));
    for (const share_removal& removal : removals) {
        const placed_ptr share = find(removal.chunk);
        if (!share || (removal.pieces.empty() && removal.side_ranges.empty())) continue;
        CO_TRY(const auto head, co_await core_->load_head(volume_, removal.chunk, share));
        CO_TRY_VOID(check_removal(head->description, removal));
    }
    for (share_removal& removal : removals) CO_TRY_VOID(co_await remove_one(authority, std::move(removal)));
    co_return result<void>{};
}

task<> block_volume::remove_one(ballot authority, share_removal removal) {
    const held_lock lock = co_await core_->lock_chunk(volume_, removal.chunk);
    CO_TRY_VOID(check_change(authority));
    const placed_ptr share = find(removal.chunk);
    if (!share) co_return result<void>{};
    bool whole = removal.pieces.empty();
    if (!whole) {
        CO_TRY(const auto head, co_await core_->load_head(volume_, removal.chunk, share));
        auto sizes = head->description.piece_sizes;
        bool any_new = !removal.side_ranges.empty();
        for (const std::uint32_t piece : removal.pieces) any_new |= std::exchange(sizes[piece], 0U) != 0;
        whole = std::ranges::all_of(sizes, [](std::uint32_t size) { return size == 0; });
        if (!whole && !any_new) co_return result<void>{};
    }
    if (whole) {
        remove_entry entry;
        entry.volume = volume_->number;
        entry.chunk = removal.chunk;
        core_->log(volume_, entry);
        core_->index().remove_share(*volume_, removal.chunk);
        core_->drop(share, share->extents);
        co_return result<void>{};
    }
    const chunk_id chunk = removal.chunk;
    CO_TRY(placed_ptr revised, co_await core_->write_revision(volume_, chunk, share, removal));
    if (!revised) {
        CO_TRY(revised, co_await rewrite_without(std::move(removal), share));
    }
    const auto still = check_change(authority);
    if (!still) {
        core_->free_unlogged(unshared(revised->extents, share->extents));
        co_return fail(still.error());
    }
    replace(chunk, revised);
    co_return result<void>{};
}

/// For a share in too many runs: all pieces that stay are read and written together again.
task<placed_ptr> block_volume::rewrite_without(share_removal removal, placed_ptr old) {
    CO_TRY(const auto head, co_await core_->load_head(volume_, removal.chunk, old));
    share_head next = *head;
    ++next.generation;
    for (const std::uint32_t piece : removal.pieces) next.description.piece_sizes[piece] = 0;
    for (const share_range& range : removal.side_ranges)
        std::fill_n(next.side.begin() + range.offset, range.size, std::byte{0});
    std::vector<slice> pieces;
    for (std::uint32_t i = 0; i < next.description.piece_sizes.size(); ++i) {
        share_range range;
        range.part = i;
        range.size = next.description.piece_sizes[i];
        if (range.size == 0) continue;
        CO_TRY(auto bytes, co_await core_->read_ranges(old, head, std::vector{range}));
        pieces.push_back(std::move(bytes[0]));
    }
    co_return co_await core_->write_share(std::move(next), std::move(pieces), room::remove);
}

task<std::vector<chunk_id>> block_volume::list(chunk_id after, std::uint32_t count) {
    if (count > list_count_max) co_return fail(errc::too_large, "list count");
    std::vector<chunk_id> out;
    const auto& chunks = volume_->chunks;
    for (auto it = chunks.upper_bound(after); it != chunks.end() && out.size() < count; ++it) out.push_back(it->first);
    co_return out;
}

task<> block_volume::append(append_request request) {
    const auto self = shared_from_this();
    CO_TRY_VOID(check_change(request.authority));
    CO_TRY(const batch_ptr batch, co_await append_locked(std::move(request)));
    if (!batch) co_return co_await core_->barrier();
    co_return co_await core_->wait_durable(batch);
}

/// A repeat of a record: nothing to do but to wait until the first one is durable.
task<batch_ptr> block_volume::compare_record(append_request request, stored_record held) {
    CO_TRY(const byte_vector stored, co_await core_->load_blob(held));
    if (stored != encode_record_blob(request.entry.chunks, request.entry.share.view()))
        co_return fail(errc::conflict, "this record is here with other bytes");
    if (request.restart && volume_->span().first < request.entry.sequence) {
        cut_entry entry;
        entry.volume = volume_->number;
        entry.first = request.entry.sequence;
        core_->log(volume_, entry);
        core_->drop_records(core_->index().cut(*volume_, entry.first));
    }
    co_return batch_ptr();
}

/// Puts the record into the pending batch. Null: it is there already. Appends of a volume pass here one after the
/// other, so that requests in flight keep their order even when a large record is written outside of the log first.
task<batch_ptr> block_volume::append_locked(append_request request) {
    const held_lock lock = co_await core_->lock_journal(volume_);
    CO_TRY_VOID(check_change(request.authority));
    const auto held = volume_->journal.find(request.entry.sequence);
    std::optional<ballot> held_epoch;
    if (held != volume_->journal.end()) held_epoch = held->second.epoch;
    CO_TRY(const append_verdict verdict, decide_append(volume_->span(), held_epoch, request));
    if (verdict == append_verdict::compare) {
        const stored_record copy = held->second;
        co_return co_await compare_record(std::move(request), copy);
    }
    const journal_entry& asked = request.entry;
    for (const chunk_id& chunk : asked.chunks)
        if (!find(chunk)) static_cast<void>(co_await core_->lock_chunk(volume_, chunk));  // its put may be under way
    CO_TRY_VOID(check_change(request.authority));
    for (const chunk_id& chunk : asked.chunks)
        if (!find(chunk)) co_return fail(errc::not_found, "a chunk of this record is not here");
    byte_vector blob = encode_record_blob(asked.chunks, asked.share.view());
    record_entry entry;
    entry.volume = volume_->number;
    entry.sequence = asked.sequence;
    entry.epoch = asked.epoch;
    entry.restart = verdict == append_verdict::restart;
    entry.blob_size = static_cast<std::uint32_t>(blob.size());
    entry.blob_checksum = crc32c(blob);
    if (blob.size() <= record_inline_size_max &&
        core_->index().inline_size() + blob.size() <= record_inline_total_max &&
        core_->fill_segment_pool(room::share)) {
        entry.blob = std::move(blob);
    } else {
        CO_TRY(entry.extents, co_await core_->write_blob(std::move(blob)));
        auto still = check_change(request.authority);
        for (const chunk_id& chunk : asked.chunks)
            if (still && !find(chunk)) still = fail(errc::not_found, "a chunk of this record is not here");
        if (!still) {
            core_->free_unlogged(entry.extents);
            co_return fail(still.error());
        }
    }
    core_->log(volume_, entry);
    const batch_ptr batch = core_->pending();
    commit_batch::appended record;
    record.volume = volume_;
    record.sequence = entry.sequence;
    record.epoch = entry.epoch;
    batch->records.push_back(std::move(record));
    core_->drop_records(core_->index().set_record(*volume_, std::move(entry), batch->serial));
    core_->request_commit();
    co_return batch;
}

task<std::vector<journal_entry>> block_volume::read_journal(std::uint64_t from, std::uint32_t size_max) {
    const auto self = shared_from_this();
    std::vector<journal_entry> out;
    std::uint64_t size = 0;
    std::uint64_t at = std::max(from, volume_->visible_span().first);
    for (;; ++at) {
        const auto held = volume_->journal.find(at);
        if (at > volume_->visible_last || held == volume_->journal.end()) break;
        const stored_record record = held->second;
        size += record.blob_size;
        if (!out.empty() && size > size_max) break;
        auto blob = co_await core_->load_blob(record);
        if (!blob && !out.empty()) break;
        if (!blob) co_return fail(blob.error());
        CO_TRY(record_blob parts, decode_record_blob(*blob));
        journal_entry entry;
        entry.sequence = at;
        entry.epoch = record.epoch;
        entry.chunks = std::move(parts.chunks);
        entry.share = slice(buffer::copy_of(parts.share));
        out.push_back(std::move(entry));
    }
    co_return out;
}

task<> block_volume::cut_journal(ballot authority, std::uint64_t first) {
    const auto self = shared_from_this();
    CO_TRY_VOID(check_change(authority));
    const held_lock lock = co_await core_->lock_journal(volume_);
    CO_TRY_VOID(check_change(authority));
    const journal_span span = volume_->span();
    if (first > span.last) co_return fail(errc::bad_argument, "the last record stays");
    if (first <= span.first) co_return result<void>{};
    cut_entry entry;
    entry.volume = volume_->number;
    entry.first = first;
    core_->log(volume_, entry);
    core_->drop_records(core_->index().cut(*volume_, first));
    co_return result<void>{};
}

task<> block_volume::promise(ballot b) {
    const auto self = shared_from_this();
    CO_TRY_VOID(core_->check_working());
    if (core_->is_closing()) co_return fail(errc::cancelled, "the store is closing");
    if (b < volume_->promised) co_return fail(errc::stale_epoch, "a greater ballot is promised");
    if (b == volume_->promised) co_return co_await core_->barrier();
    volume_->promised = b;
    promise_entry entry;
    entry.volume = volume_->number;
    entry.promised = b;
    core_->log(volume_, entry);
    const batch_ptr batch = core_->pending();
    commit_batch::promised made;
    made.volume = volume_;
    made.value = b;
    batch->promises.push_back(std::move(made));
    co_return co_await core_->wait_durable(batch);
}

task<> block_volume::heartbeat(ballot authority, writer_identity writer) {
    CO_TRY_VOID(check_change(authority));
    volume_->heartbeat.emplace();
    volume_->heartbeat->authority = authority;
    volume_->heartbeat->writer = std::move(writer);
    volume_->heartbeat_at = steady_clock::now();
    co_return result<void>{};
}

task<> block_volume::pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) {
    const auto self = shared_from_this();
    if (ttl_ms > pin_ttl_max_ms) co_return fail(errc::bad_argument, "a pin this long");
    const auto now = steady_clock::now();
    std::erase_if(volume_->pins, [now](const auto& pin) { return pin.second.until <= now; });
    std::size_t fresh = 0;
    for (const chunk_id& chunk : chunks) {
        if (volume_->pins.contains(chunk)) continue;
        ++fresh;
        if (!find(chunk)) co_return fail(errc::not_found, "no such chunk");
    }
    if (volume_->pins.size() + fresh > pin_count_max) co_return fail(errc::busy, "too many pins");
    const deadline until = deadline_in_ms(ttl_ms);
    for (const chunk_id& chunk : chunks) {
        auto& pin = volume_->pins[chunk];
        if (!pin.share) pin.share = find(chunk);
        pin.until = std::max(pin.until, until);
    }
    core_->watch_pins(until);
    co_return result<void>{};
}

task<> block_volume::sync() {
    const auto self = shared_from_this();
    co_return co_await core_->barrier();
}

}  // namespace warifu
