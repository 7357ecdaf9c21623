#include "backends/memory/memory_store.h"

#include "backends/store_rules.h"
#include "fs/base/random.h"

namespace warifu {
namespace {

std::uint64_t record_footprint(const journal_entry& entry) {
    return entry.share.size() + entry.chunks.size() * sizeof(chunk_id);
}

bool same_bytes(const slice& a, const slice& b) {
    return std::ranges::equal(a.view(), b.view());
}

bool same_record(const journal_entry& a, const journal_entry& b) {
    return a.sequence == b.sequence && a.epoch == b.epoch && a.chunks == b.chunks && same_bytes(a.share, b.share);
}

/// Pieces that are gone are not compared: a repeat of a put that crosses a remove changes nothing.
bool same_share(const memory_share& held, const share_put& share, bool partly_removed) {
    if (held.index != share.index || held.policy != share.policy) return false;
    if (held.pieces.size() != share.pieces.size()) return false;
    if (partly_removed ? held.side.size() != share.side.size() : !same_bytes(held.side, share.side)) return false;
    for (std::size_t i = 0; i < held.pieces.size(); ++i)
        if (!held.pieces[i].empty() && !same_bytes(held.pieces[i], share.pieces[i])) return false;
    return true;
}

}  // namespace

share_description memory_share::description() const {
    share_description out;
    out.index = index;
    out.policy = policy;
    out.side_size = static_cast<std::uint32_t>(side.size());
    for (const slice& piece : pieces) out.piece_sizes.push_back(static_cast<std::uint32_t>(piece.size()));
    return out;
}

std::uint64_t memory_share::footprint() const {
    return share_footprint(side.size(), pieces);
}

journal_span memory_image::span() const {
    journal_span out;
    if (journal.empty()) return out;
    out.first = journal.begin()->first;
    out.last = journal.rbegin()->first;
    out.last_epoch = journal.rbegin()->second.epoch;
    return out;
}

std::uint64_t memory_image::used() const {
    std::uint64_t sum = 0;
    for (const auto& [id, share] : chunks) sum += share->footprint();
    for (const auto& [sequence, entry] : journal) sum += record_footprint(entry);
    return sum;
}

memory_store::memory_store(std::uint64_t capacity) : capacity_(capacity) {
    now_.incarnation = random_uuid<incarnation_id>();
    durable_ = now_;
}

memory_store::memory_store(memory_image image, std::uint64_t capacity)
    : now_(image), durable_(std::move(image)), capacity_(capacity), used_(now_.used()) {}

void memory_store::crash() {
    now_ = durable_;
    changed_.clear();
    used_ = now_.used();
    reserved_ = 0;
    pins_.clear();
    heartbeat_.reset();
}

void memory_store::crash(const std::function<bool()>& keeps) {
    for (const chunk_id& id : changed_) {
        if (!keeps()) continue;
        const auto held = now_.chunks.find(id);
        if (held == now_.chunks.end())
            durable_.chunks.erase(id);
        else
            durable_.chunks.insert_or_assign(id, held->second);
    }
    crash();
}

std::uint64_t memory_store::free_bytes() const {
    const std::uint64_t taken = used_ + reserved_;
    return taken < capacity_ ? capacity_ - taken : 0;
}

void memory_store::set_chunk(chunk_id id, std::shared_ptr<const memory_share> share) {
    const auto held = now_.chunks.find(id);
    if (held != now_.chunks.end()) {
        used_ -= held->second->footprint();
        now_.chunks.erase(held);
    }
    if (share) {
        used_ += share->footprint();
        now_.chunks.emplace(id, std::move(share));
    }
    changed_.insert(id);
}

void memory_store::flush() {
    for (const chunk_id& id : changed_) {
        const auto held = now_.chunks.find(id);
        if (held == now_.chunks.end())
            durable_.chunks.erase(id);
        else
            durable_.chunks.insert_or_assign(id, held->second);
    }
    changed_.clear();
    durable_.promised = now_.promised;
    durable_.journal = now_.journal;
}

void memory_store::drop_expired_pins() {
    const auto now = steady_clock::now();
    std::erase_if(pins_, [now](const auto& entry) { return entry.second.until <= now; });
}

task<store_state> memory_store::state() {
    store_state out;
    out.incarnation = now_.incarnation;
    out.promised = now_.promised;
    out.journal = now_.span();
    out.capacity = capacity_;
    out.free = free_bytes();
    if (heartbeat_) {
        out.heartbeat = heartbeat_;
        const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - heartbeat_at_);
        out.heartbeat->age_ms = static_cast<std::uint32_t>(std::min<std::int64_t>(age.count(), UINT32_MAX));
    }
    co_return out;
}

task<> memory_store::reserve(ballot authority, std::uint64_t size) {
    CO_TRY_VOID(check_authority(authority, now_.promised));
    if (size > free_bytes()) co_return fail(errc::no_space, "the store is full");
    reserved_ += size;
    co_return result<void>{};
}

task<> memory_store::put(share_put share) {
    CO_TRY_VOID(check_authority(share.authority, now_.promised));
    CO_TRY_VOID(check_put(share));
    if (const auto held = now_.chunks.find(share.chunk); held != now_.chunks.end()) {
        const auto& pieces = held->second->pieces;
        const bool partly = std::ranges::any_of(pieces, [](const slice& piece) { return piece.empty(); });
        if (!same_share(*held->second, share, partly))
            co_return fail(errc::conflict, "this chunk is here with other bytes");
        co_return result<void>{};
    }
    const std::uint64_t size = share_footprint(share.side.size(), share.pieces);
    const std::uint64_t drawn = std::min(size, reserved_);
    if (size - drawn > free_bytes()) co_return fail(errc::no_space, "the store is full");
    reserved_ -= drawn;
    auto stored = std::make_shared<memory_share>();
    stored->index = share.index;
    stored->policy = share.policy;
    stored->side = slice(buffer::copy_of(share.side.view()));
    for (const slice& piece : share.pieces) stored->pieces.emplace_back(buffer::copy_of(piece.view()));
    set_chunk(share.chunk, std::move(stored));
    co_return result<void>{};
}

task<std::vector<slice>> memory_store::get(chunk_id chunk, std::vector<share_range> ranges) {
    drop_expired_pins();
    const auto pinned = pins_.find(chunk);
    const auto held = now_.chunks.find(chunk);
    std::shared_ptr<const memory_share> share;
    if (pinned != pins_.end())
        share = pinned->second.share;
    else if (held != now_.chunks.end())
        share = held->second;
    if (!share) co_return fail(errc::not_found, "no such chunk");
    CO_TRY_VOID(check_ranges(share->description(), ranges));
    std::vector<slice> out;
    for (const share_range& range : ranges) {
        const slice& part = range.part == side_part ? share->side : share->pieces[range.part];
        out.push_back(part.part(range.offset, range.size));
    }
    co_return out;
}

task<share_description> memory_store::describe(chunk_id chunk) {
    const auto held = now_.chunks.find(chunk);
    if (held == now_.chunks.end()) co_return fail(errc::not_found, "no such chunk");
    co_return held->second->description();
}

task<> memory_store::remove(ballot authority, std::vector<share_removal> removals) {
    CO_TRY_VOID(check_authority(authority, now_.promised));
    CO_TRY_VOID(check_removal_count(removals));
    for (const share_removal& removal : removals) {
        const auto held = now_.chunks.find(removal.chunk);
        if (held != now_.chunks.end()) CO_TRY_VOID(check_removal(held->second->description(), removal));
    }
    for (const share_removal& removal : removals) {
        const auto held = now_.chunks.find(removal.chunk);
        if (held == now_.chunks.end()) continue;
        auto left = std::make_shared<memory_share>(*held->second);
        for (const std::uint32_t piece : removal.pieces) left->pieces[piece] = slice();
        const bool any = std::ranges::any_of(left->pieces, [](const slice& piece) { return !piece.empty(); });
        if (removal.pieces.empty() || !any) {
            set_chunk(removal.chunk, nullptr);
            continue;
        }
        buffer side = buffer::copy_of(left->side.view());
        for (const share_range& range : removal.side_ranges)
            std::ranges::fill(side.span(range.offset, range.size), std::byte{0});
        left->side = slice(std::move(side));
        set_chunk(removal.chunk, std::move(left));
    }
    co_return result<void>{};
}

task<std::vector<chunk_id>> memory_store::list(chunk_id after, std::uint32_t count) {
    if (count > list_count_max) co_return fail(errc::too_large, "list count");
    std::vector<chunk_id> out;
    for (auto it = now_.chunks.upper_bound(after); it != now_.chunks.end() && out.size() < count; ++it)
        out.push_back(it->first);
    co_return out;
}

result<void> memory_store::append_now(append_request& request) {
    journal_entry& entry = request.entry;
    const auto held = now_.journal.find(entry.sequence);
    std::optional<ballot> held_epoch;
    if (held != now_.journal.end()) held_epoch = held->second.epoch;
    TRY(const append_verdict verdict, decide_append(now_.span(), held_epoch, request));
    if (verdict == append_verdict::compare) {
        if (!same_record(held->second, entry)) return fail(errc::conflict, "this record is here with other bytes");
        if (request.restart) now_.journal.erase(now_.journal.begin(), held);
        return {};
    }
    for (const chunk_id& chunk : entry.chunks)
        if (!now_.chunks.contains(chunk)) return fail(errc::not_found, "a chunk of this record is not here");
    if (record_footprint(entry) > free_bytes() + reserved_) return fail(errc::no_space, "the store is full");
    const bool all = verdict == append_verdict::restart;
    now_.journal.erase(all ? now_.journal.begin() : now_.journal.lower_bound(entry.sequence), now_.journal.end());
    entry.share = slice(buffer::copy_of(entry.share.view()));
    const std::uint64_t sequence = entry.sequence;
    now_.journal.emplace(sequence, std::move(entry));
    return {};
}

task<> memory_store::append(append_request request) {
    CO_TRY_VOID(check_authority(request.authority, now_.promised));
    CO_TRY_VOID(append_now(request));
    flush();
    used_ = now_.used();
    co_return result<void>{};
}

task<std::vector<journal_entry>> memory_store::read_journal(std::uint64_t from, std::uint32_t size_max) {
    std::vector<journal_entry> out;
    std::uint64_t size = 0;
    for (auto it = now_.journal.lower_bound(from); it != now_.journal.end(); ++it) {
        size += record_footprint(it->second);
        if (!out.empty() && size > size_max) break;
        out.push_back(it->second);
    }
    co_return out;
}

task<> memory_store::cut_journal(ballot authority, std::uint64_t first) {
    CO_TRY_VOID(check_authority(authority, now_.promised));
    if (first > now_.span().last) co_return fail(errc::bad_argument, "the last record stays");
    now_.journal.erase(now_.journal.begin(), now_.journal.lower_bound(first));
    used_ = now_.used();
    co_return result<void>{};
}

task<> memory_store::promise(ballot b) {
    if (b < now_.promised) co_return fail(errc::stale_epoch, "a greater ballot is promised");
    now_.promised = b;
    flush();
    co_return result<void>{};
}

task<> memory_store::heartbeat(ballot authority, writer_identity writer) {
    CO_TRY_VOID(check_authority(authority, now_.promised));
    heartbeat_.emplace();
    heartbeat_->authority = authority;
    heartbeat_->writer = std::move(writer);
    heartbeat_at_ = steady_clock::now();
    co_return result<void>{};
}

task<> memory_store::pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) {
    drop_expired_pins();
    if (ttl_ms > pin_ttl_max_ms) co_return fail(errc::bad_argument, "a pin this long");
    std::size_t fresh = 0;
    for (const chunk_id& chunk : chunks) {
        if (!pins_.contains(chunk)) ++fresh;
        if (!pins_.contains(chunk) && !now_.chunks.contains(chunk)) co_return fail(errc::not_found, "no such chunk");
    }
    if (pins_.size() + fresh > pin_count_max) co_return fail(errc::busy, "too many pins");
    const deadline until = deadline_in_ms(ttl_ms);
    for (const chunk_id& chunk : chunks) {
        auto pinned = pins_.find(chunk);
        if (pinned == pins_.end()) {
            pinned_share entry;
            entry.share = now_.chunks.at(chunk);
            pinned = pins_.emplace(chunk, std::move(entry)).first;
        }
        pinned->second.until = std::max(pinned->second.until, until);
    }
    co_return result<void>{};
}

task<> memory_store::sync() {
    flush();
    co_return result<void>{};
}

}  // namespace warifu
