#include "backends/block/store_index.h"

#include <utility>

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr std::uint64_t volume_entry_sizes = 5 + 4 + 16 + 5 + 4 + 16;  // its name and its promise

}  // namespace

share_entry entry_of(volume_number volume, chunk_id chunk, const placed_share& share) {
    share_entry out;
    out.volume = volume;
    out.chunk = chunk;
    out.generation = share.generation;
    out.head_checksum = share.head_checksum;
    out.head_sectors = share.head_sectors;
    out.extents = share.extents;
    return out;
}

record_entry entry_of(volume_number volume, std::uint64_t sequence, const stored_record& record) {
    record_entry out;
    out.volume = volume;
    out.sequence = sequence;
    out.epoch = record.epoch;
    out.blob_size = record.blob_size;
    out.blob_checksum = record.blob_checksum;
    if (record.blob) out.blob = *record.blob;
    out.extents = record.extents;
    return out;
}

journal_span volume_state::span() const {
    journal_span out;
    if (journal.empty()) return out;
    out.first = journal.begin()->first;
    out.last = journal.rbegin()->first;
    out.last_epoch = journal.rbegin()->second.epoch;
    return out;
}

journal_span volume_state::visible_span() const {
    journal_span out;
    const auto last = journal.find(visible_last);
    if (last == journal.end()) return out;
    out.first = journal.begin()->first;
    out.last = visible_last;
    out.last_epoch = last->second.epoch;
    return out;
}

result<std::shared_ptr<volume_state>> store_index::open(volume_id id) {
    const auto held = volumes_.find(id);
    if (held != volumes_.end()) return held->second;
    if (by_number_.size() >= store_volume_count_max) return fail(errc::busy, "too many volumes in this store");
    auto volume = std::make_shared<volume_state>();
    volume->id = id;
    volume->number = static_cast<volume_number>(by_number_.size());
    by_number_.push_back(volume);
    volumes_.emplace(id, volume);
    snapshot_size_ += volume_entry_sizes;
    return volume;
}

std::shared_ptr<volume_state> store_index::by_number(volume_number number) const {
    return number < by_number_.size() ? by_number_[number] : nullptr;
}

std::shared_ptr<placed_share> store_index::set_share(volume_state& volume, chunk_id chunk,
                                                     std::shared_ptr<placed_share> share) {
    auto& place = volume.chunks[chunk];
    if (place)
        snapshot_size_ -= log_entry_size(entry_of(volume.number, chunk, *place));
    else
        ++chunk_count_;
    snapshot_size_ += log_entry_size(entry_of(volume.number, chunk, *share));
    return std::exchange(place, std::move(share));
}

std::shared_ptr<placed_share> store_index::remove_share(volume_state& volume, chunk_id chunk) {
    const auto held = volume.chunks.find(chunk);
    if (held == volume.chunks.end()) return nullptr;
    auto out = std::move(held->second);
    volume.chunks.erase(held);
    --chunk_count_;
    snapshot_size_ -= log_entry_size(entry_of(volume.number, chunk, *out));
    return out;
}

std::vector<stored_record> store_index::drop_records(volume_state& volume,
                                                     std::map<std::uint64_t, stored_record>::iterator first,
                                                     std::map<std::uint64_t, stored_record>::iterator last) {
    std::vector<stored_record> freed;
    for (auto it = first; it != last; ++it) {
        stored_record& record = it->second;
        if (record.blob) inline_size_ -= record.blob->size();
        snapshot_size_ -= log_entry_size(entry_of(volume.number, it->first, record));
        if (!record.extents.empty()) freed.push_back(std::move(record));
    }
    volume.journal.erase(first, last);
    return freed;
}

std::vector<stored_record> store_index::set_record(volume_state& volume, record_entry entry, std::uint64_t born) {
    const auto from = entry.restart ? volume.journal.begin() : volume.journal.lower_bound(entry.sequence);
    auto freed = drop_records(volume, from, volume.journal.end());
    volume.visible_last = entry.restart ? 0 : std::min(volume.visible_last, entry.sequence - 1);
    snapshot_size_ += log_entry_size(entry);
    stored_record record;
    record.born = born;
    record.epoch = entry.epoch;
    record.blob_size = entry.blob_size;
    record.blob_checksum = entry.blob_checksum;
    record.extents = std::move(entry.extents);
    if (record.extents.empty()) {
        inline_size_ += entry.blob.size();
        record.blob = std::make_shared<const byte_vector>(std::move(entry.blob));
    }
    volume.journal.emplace(entry.sequence, std::move(record));
    return freed;
}

std::vector<stored_record> store_index::cut(volume_state& volume, std::uint64_t first) {
    return drop_records(volume, volume.journal.begin(), volume.journal.lower_bound(first));
}

result<std::shared_ptr<volume_state>> store_index::known(volume_number number) const {
    auto out = by_number(number);
    if (!out) return fail(errc::bad_format, "log: an entry of an unknown volume");
    return out;
}

result<void> store_index::apply_record(record_entry entry) {
    TRY(const auto volume, known(entry.volume));
    const journal_span span = volume->span();
    const bool follows = entry.sequence >= span.first && entry.sequence <= span.last + 1;
    if (!entry.restart && !(span.last == 0 ? entry.sequence == 1 : follows))
        return fail(errc::bad_format, "log: a journal record out of order");
    const std::uint64_t sequence = entry.sequence;
    set_record(*volume, std::move(entry));
    volume->visible_last = sequence;
    return {};
}

result<void> store_index::apply(log_entry entry) {
    if (auto* e = std::get_if<record_entry>(&entry)) return apply_record(std::move(*e));
    if (const auto* e = std::get_if<zeroed_entry>(&entry)) {
        zeroed_end_ = std::max(zeroed_end_, e->end);
    } else if (const auto* v = std::get_if<volume_entry>(&entry)) {
        if (v->number != by_number_.size() || volumes_.contains(v->volume))
            return fail(errc::bad_format, "log: volumes out of order");
        TRY(const auto volume, open(v->volume));
        volume->is_logged = true;
    } else if (const auto* s = std::get_if<share_entry>(&entry)) {
        TRY(const auto volume, known(s->volume));
        auto share = std::make_shared<placed_share>();
        share->generation = s->generation;
        share->head_checksum = s->head_checksum;
        share->head_sectors = s->head_sectors;
        share->extents = s->extents;
        set_share(*volume, s->chunk, std::move(share));
        if (chunk_count_ > store_chunk_count_max) return fail(errc::too_large, "log: too many shares");
    } else if (const auto* r = std::get_if<remove_entry>(&entry)) {
        TRY(const auto volume, known(r->volume));
        remove_share(*volume, r->chunk);
    } else if (const auto* c = std::get_if<cut_entry>(&entry)) {
        TRY(const auto volume, known(c->volume));
        cut(*volume, c->first);
    } else if (const auto* p = std::get_if<promise_entry>(&entry)) {
        TRY(const auto volume, known(p->volume));
        volume->promised = volume->promised_durable = std::max(volume->promised, p->promised);
    }
    return {};
}

std::vector<byte_vector> store_index::snapshot(std::uint64_t zeroed_end, std::size_t part_size_max) const {
    std::vector<byte_vector> parts(1);
    const auto add = [&](const log_entry& entry) {
        const std::size_t before = parts.back().size();
        encode_log_entry(parts.back(), entry);
        if (parts.back().size() <= part_size_max || before == 0) return;
        const auto from = parts.back().begin() + static_cast<std::ptrdiff_t>(before);
        byte_vector next(from, parts.back().end());
        parts.back().resize(before);
        parts.push_back(std::move(next));
        parts.back().reserve(part_size_max);
    };
    add(zeroed_entry{zeroed_end});
    for (const auto& volume : by_number_) {
        add(volume_entry{volume->number, volume->id});
        if (!volume->promised.is_zero()) add(promise_entry{volume->number, volume->promised});
        for (const auto& [chunk, share] : volume->chunks) add(entry_of(volume->number, chunk, *share));
        bool is_first = true;
        for (const auto& [sequence, record] : volume->journal) {
            record_entry entry = entry_of(volume->number, sequence, record);
            entry.restart = std::exchange(is_first, false);
            add(entry);
        }
    }
    return parts;
}

extent_list store_index::used() const {
    extent_list out;
    for (const auto& [id, volume] : volumes_) {
        for (const auto& [chunk, share] : volume->chunks)
            out.insert(out.end(), share->extents.begin(), share->extents.end());
        for (const auto& [sequence, record] : volume->journal)
            out.insert(out.end(), record.extents.begin(), record.extents.end());
    }
    return out;
}

}  // namespace warifu
