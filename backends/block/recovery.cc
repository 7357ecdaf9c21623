// Opening a store: superblock, replay of the log, judgement of its last batch; closing; rebuilding the index by
// scanning.

#include <algorithm>

#include "backends/block/block_core.h"
#include "fs/base/random.h"

namespace warifu {

task<> block_core::read_superblock() {
    std::vector<result<superblock>> copies;
    for (unsigned copy = 0; copy < superblock_copy_count; ++copy) {
        if (superblock_sector(copy) >= disk_->sector_count())
            co_return fail(errc::bad_format, "too small for a share store");
        const auto bytes = co_await disk_->read_sectors(extent{superblock_sector(copy), 1});
        if (bytes)
            copies.push_back(decode_superblock(bytes->view(), copy));
        else
            copies.push_back(fail(bytes.error()));
    }
    CO_TRY(block_, choose_superblock(copies));
    if (block_.sector_count > disk_->sector_count())
        co_return fail(errc::bad_format, "the device is smaller than the store on it");
    co_return co_await repair_superblock(std::move(copies));
}

/// Copies that lag behind, after a crash in an update, or are damaged: brought up to the chosen state before anything
/// else. Otherwise two that lag could outvote a later update that a crash leaves half done, and point to a log that is
/// gone.
task<> block_core::repair_superblock(std::vector<result<superblock>> copies) {
    bool any = false;
    for (unsigned copy = 0; copy < superblock_copy_count; ++copy) {
        if (copies[copy] && *copies[copy] == block_) continue;
        any = true;
        const buffer bytes = buffer::copy_of(encode_superblock(block_, copy));
        std::vector<sector_output> list(1);
        list[0].first = superblock_sector(copy);
        list[0].from.push_back(bytes.view());
        CO_TRY_VOID(co_await disk_->write(std::move(list)));
    }
    if (any) CO_TRY_VOID(co_await disk_->flush());
    co_return result<void>{};
}

task<> block_core::recover() {
    CO_TRY_VOID(co_await read_superblock());
    if (options_.rebuild) co_return co_await rebuild();
    co_return co_await replay();
}

/// Applies every batch; the last one only as far as it proves whole, since nothing tells whether its flush came.
task<> block_core::replay() {
    log_reader reader(*disk_, block_);
    bool dropped = false;
    std::optional<decoded_batch> tail;  // held back until the next one shows that it was flushed
    for (;;) {
        CO_TRY(auto batch, co_await reader.next());
        if (!batch) break;
        if (tail)
            for (log_entry& entry : tail->entries) CO_TRY_VOID(index_.apply(std::move(entry)));
        tail = std::move(batch);
    }
    if (reader.position().batch <= block_.checkpoint_batch)
        co_return fail(errc::bad_checksum, "log damaged: its checkpoint is not whole");
    if (tail && tail->header.sequence <= block_.checkpoint_batch) {
        for (log_entry& entry : tail->entries) CO_TRY_VOID(index_.apply(std::move(entry)));
    } else if (tail) {
        CO_TRY(const bool whole, co_await apply_tail(std::move(*tail)));
        dropped = !whole;
    }
    log_.emplace(*disk_, block_.uuid, block_.segment_sectors, reader.position());
    co_return co_await start_serving(dropped);
}

/// The entries of a batch that may not have been flushed with what they name. True when all of them hold.
task<bool> block_core::apply_tail(decoded_batch batch) {
    bool whole = true;
    std::vector<volume_number> ended;  // volumes whose journal ends at a record that was dropped
    for (log_entry& entry : batch.entries) {
        if (const auto* share = std::get_if<share_entry>(&entry))
            tail_extents_.insert(tail_extents_.end(), share->extents.begin(), share->extents.end());
        if (const auto* record = std::get_if<record_entry>(&entry))
            tail_extents_.insert(tail_extents_.end(), record->extents.begin(), record->extents.end());
        if (const auto* share = std::get_if<share_entry>(&entry)) {
            const auto volume = index_.by_number(share->volume);
            auto placed = std::make_shared<placed_share>();
            placed->generation = share->generation;
            placed->head_checksum = share->head_checksum;
            placed->head_sectors = share->head_sectors;
            placed->extents = share->extents;
            if (!volume || !co_await verify_share(volume, share->chunk, placed)) {
                whole = false;
                continue;
            }
        } else if (const auto* record = std::get_if<record_entry>(&entry)) {
            const bool has_ended = std::ranges::find(ended, record->volume) != ended.end();
            CO_TRY(const bool good, co_await tail_record_is_good(*record));
            if (has_ended || !good) {
                whole = false;
                ++dropped_records_;
                ended.push_back(record->volume);
                continue;
            }
        } else if (const auto* cut = std::get_if<cut_entry>(&entry)) {
            const auto volume = index_.by_number(cut->volume);
            if (volume && cut->first > volume->span().last) continue;  // behind a record that was dropped
        }
        CO_TRY_VOID(index_.apply(std::move(entry)));
    }
    co_return whole;
}

task<bool> block_core::tail_record_is_good(const record_entry& entry) {
    const auto volume = index_.by_number(entry.volume);
    if (!volume) co_return false;
    stored_record record;
    record.blob_size = entry.blob_size;
    record.blob_checksum = entry.blob_checksum;
    record.extents = entry.extents;
    if (entry.extents.empty()) record.blob = std::make_shared<const byte_vector>(entry.blob);
    const auto blob = co_await load_blob(std::move(record));
    if (!blob) co_return false;
    const auto parts = decode_record_blob(*blob);
    if (!parts) co_return false;
    co_return std::ranges::all_of(parts->chunks, [&](const chunk_id& chunk) { return volume->chunks.contains(chunk); });
}

extent_list block_core::used_extents() const {
    extent_list used = index_.used();
    if (!log_) return used;
    for (const std::uint64_t sector : log_->position().segments) used.push_back(extent{sector, block_.segment_sectors});
    used.push_back(extent{log_->position().next, block_.segment_sectors});
    return used;
}

/// A later entry of the last batch may have taken the place of an earlier one. The bytes of both stay until another
/// batch is durable: after one more crash the same batch is judged by them again.
void block_core::keep_tail_extents(const extent_list& used) {
    extent_list kept;
    for (const extent& e : std::exchange(tail_extents_, {}))
        for (const extent& part : unshared(unshared({e}, used), kept)) kept.push_back(part);
    if (!kept.empty()) {
        dying_extents one;
        one.extents = std::move(kept);
        pending_->freed.push_back(std::move(one));
    }
}

result<void> block_core::make_space() {
    const std::uint64_t zeroed_end = std::max(block_.zeroed_end, index_.zeroed_end());
    extent_list used = used_extents();
    keep_tail_extents(used);
    for (const dying_extents& one : pending_->freed) used.insert(used.end(), one.extents.begin(), one.extents.end());
    TRY(space_, space::make(block_.sector_count, zeroed_end, std::move(used), block_.free_is_clean));
    zeroed_logged_ = space_.zeroed_end();
    return {};
}

task<> block_core::start_serving(bool must_rewrite) {
    CO_TRY_VOID(make_space());
    media_errors_ = 0;  // torn tails are no fault of the medium
    // What was found may still lie in a volatile cache; whoever sees it must be able to rely on it.
    CO_TRY_VOID(co_await disk_->flush());
    while (!fill_segment_pool(room::remove)) {
        CO_TRY(const bool more, co_await erase_step());
        if (!more) break;
    }
    if (must_rewrite) {
        block_.free_is_clean = false;
        CO_TRY_VOID(co_await write_checkpoint());
    } else if (block_.free_is_clean) {
        block_.free_is_clean = false;
        CO_TRY_VOID(co_await write_superblock());
    }
    serving_ = true;
    if (!pending_->freed.empty()) request_commit();
    kick_eraser();
    co_return result<void>{};
}

task<> block_core::close() {
    closing_ = true;
    pin_timer_.cancel();
    for (const auto& [id, volume] : index_.volumes()) volume->pins.clear();
    CO_TRY_VOID(co_await barrier());
    collect_dying();
    const deadline until = deadline_in_ms(request_timeout_ms);
    kick_eraser();
    while (erasing_ && co_await eraser_idle_.wait(until)) {
    }
    CO_TRY_VOID(check_working());
    CO_TRY_VOID(co_await barrier());
    while (committing_) co_await asio::post(executor_, asio::use_awaitable);
    CO_TRY_VOID(co_await write_checkpoint());
    // The old chain became free just now; the next opening finds it clean only if it is erased before.
    kick_eraser();
    while (erasing_ && co_await eraser_idle_.wait(until)) {
    }
    CO_TRY_VOID(check_working());
    block_.free_is_clean = !erasing_ && space_.unclean_count() == 0 && space_.lost_count() == 0 && dying_.empty();
    CO_TRY_VOID(co_await disk_->flush());
    CO_TRY_VOID(co_await write_superblock());
    stop();
    co_return result<void>{};
}

/// Finds shares by their heads and begins a new incarnation: journals and promises cannot be found again, and a store
/// that forgot a promise must not be taken for the one that made it.
task<> block_core::rebuild() {
    CO_TRY_VOID(co_await scan_shares());
    block_.incarnation = random_uuid<incarnation_id>();
    block_.free_is_clean = false;
    // Every sector may have been written once: all free ones are looked at again before they are used.
    block_.zeroed_end = block_.sector_count;
    block_.log_segment += 1ULL << 32U;  // beyond every number of the lost log
    block_.log_batch = std::max(block_.log_batch, block_.checkpoint_batch) + (1ULL << 32U);
    co_return co_await start_serving(true);
}

task<> block_core::scan_shares() {
    constexpr std::uint32_t step = (4U << 20U) / sector_size;
    for (std::uint64_t at = data_first; at < block_.sector_count; at += step) {
        extent run;
        run.first = at;
        run.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(step, block_.sector_count - at));
        const auto bytes = co_await disk_->read_sectors(run);
        if (bytes) {
            CO_TRY_VOID(co_await scan_run(bytes->view(), at));
            continue;
        }
        for (std::uint32_t i = 0; i < run.count; ++i) {  // around what cannot be read
            const auto one = co_await disk_->read_sectors(extent{at + i, 1});
            if (one) CO_TRY_VOID(co_await scan_run(one->view(), at + i));
        }
    }
    co_return result<void>{};
}

task<> block_core::scan_run(bytes_view sectors, std::uint64_t first) {
    for (std::size_t i = 0; i < sectors.size() / sector_size; ++i)
        CO_TRY_VOID(co_await consider_head(sectors.subspan(i * sector_size, sector_size), first + i));
    co_return result<void>{};
}

/// Takes the share whose head begins at `sector` if it is ours, whole, and newer than what is known of its chunk.
task<> block_core::consider_head(bytes_view first_sector, std::uint64_t sector) {
    const auto outline = outline_share_head(first_sector);
    if (!outline || outline->extents.front().first != sector) co_return result<void>{};
    for (const extent& e : outline->extents)
        if (e.first >= block_.sector_count || e.count > block_.sector_count - e.first) co_return result<void>{};
    auto placed = std::make_shared<placed_share>();
    placed->head_checksum = share_head_checksum(first_sector);
    placed->head_sectors = outline->head_sectors;
    placed->extents = outline->extents;
    buffer bytes(outline->head_sectors * sector_size);
    std::size_t at = 0;
    for (const extent& e : part_of(outline->extents, 0, outline->head_sectors)) {
        const auto part = co_await disk_->read_sectors(e);
        if (!part) co_return result<void>{};
        std::memcpy(bytes.data() + at, part->data(), part->size());
        at += part->size();
    }
    const auto head = decode_share_head(bytes.view());
    if (!head || head->store != block_.uuid) co_return result<void>{};
    placed->generation = head->generation;
    CO_TRY(const volume_ptr volume, index_.open(head->volume));
    const auto known = volume->chunks.find(head->chunk);
    if (known != volume->chunks.end() && known->second->generation >= head->generation) co_return result<void>{};
    if (!co_await verify_share(volume, head->chunk, placed)) co_return result<void>{};
    index_.set_share(*volume, head->chunk, placed);
    co_return result<void>{};
}

}  // namespace warifu
