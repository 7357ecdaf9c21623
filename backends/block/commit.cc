// Group commit: the pending batch, the log, checkpoints and the superblock.

#include "backends/block/block_core.h"
#include "fs/base/failpoint.h"

namespace warifu {

void block_core::log_now(const log_entry& entry) {
    byte_vector one;
    encode_log_entry(one, entry);
    auto& parts = pending_->parts;
    const std::size_t part_size_max = log_writer::batch_size_max(block_.segment_sectors);
    if (parts.empty() || parts.back().size() + one.size() > part_size_max) parts.emplace_back();
    parts.back().insert(parts.back().end(), one.begin(), one.end());
    pending_->size += one.size();
    if (pending_->size <= log_batch_size_max || pending_->requested) return;
    // Bounds the batch when nobody asks for a flush. Later: the index does not have this entry yet.
    asio::post(executor_, [self = shared_from_this()] { self->request_commit(); });
}

void block_core::log(const volume_ptr& volume, const log_entry& entry) {
    if (!volume->is_logged) {
        volume->is_logged = true;
        // Numbers follow the order of first mention in a log, so volumes that were opened before come first.
        for (volume_number n = 0; n <= volume->number; ++n) {
            const auto earlier = index_.by_number(n);
            if (earlier != volume && earlier->is_logged) continue;
            earlier->is_logged = true;
            log_now(volume_entry{n, earlier->id});
        }
    }
    log_now(entry);
}

void block_core::drop(placed_ptr share, extent_list extents) {
    if (extents.empty()) return;
    const bool fresh = share && share->born == pending_->serial;
    dying_extents one;
    one.share = std::move(share);
    one.extents = std::move(extents);
    (fresh ? pending_->freed_later : pending_->freed).push_back(std::move(one));
}

void block_core::drop_records(const std::vector<stored_record>& records) {
    for (const stored_record& record : records) {
        dying_extents one;
        one.extents = record.extents;
        (record.born == pending_->serial ? pending_->freed_later : pending_->freed).push_back(std::move(one));
    }
}

void block_core::request_commit() {
    pending_->requested = true;
    if (committing_) return;
    committing_ = true;
    asio::co_spawn(executor_, commit_loop(shared_from_this()), asio::detached);
}

task<> block_core::wait_durable(batch_ptr batch) {
    if (batch == pending_) request_commit();
    co_await batch->done.wait();
    co_return batch->outcome;
}

task<> block_core::barrier() {
    CO_TRY_VOID(check_working());
    if (!pending_->parts.empty() || !pending_->freed.empty()) co_return co_await wait_durable(pending_);
    if (writing_) co_return co_await wait_durable(writing_);
    co_return result<void>{};
}

awaitable<void> block_core::commit_loop(std::shared_ptr<block_core> self) {
    while (pending_->requested) {
        writing_ = std::exchange(pending_, std::make_shared<commit_batch>(executor_, next_serial_++));
        const batch_ptr batch = writing_;
        const auto outcome = co_await commit(batch);
        if (!outcome) fail_store(outcome.error());
        batch->outcome = outcome;
        finish(*batch, outcome.has_value());
        if (outcome && !fill_segment_pool(room::share)) kick_eraser();
        writing_.reset();
        batch->done.set();
    }
    committing_ = false;
    static_cast<void>(self);
}

task<> block_core::commit(batch_ptr batch) {
    CO_TRY_VOID(check_working());
    ++commit_count_;
    // A checkpoint says all that the batch says: the index already has it.
    const std::uint64_t added = log_writer::segments_for(std::max<std::size_t>(batch->size, 1), block_.segment_sectors);
    const std::uint64_t planned = log_->sectors() + added * block_.segment_sectors;
    if (checkpoint_wanted_ || planned > checkpoint_limit() + block_.segment_sectors)
        co_return co_await write_checkpoint();
    planned_chain_ = planned;
    // A batch without entries tells that the one before was flushed.
    if (batch->parts.empty() && !batch->freed.empty()) batch->parts.emplace_back();
    CO_TRY_VOID(co_await write_parts(batch->parts, true));
    planned_chain_ = 0;
    co_return result<void>{};
}

/// Each batch is flushed before the next one is written, so that only the last of a log can be torn. The batches of a
/// checkpoint count for nothing before its superblock, and share one flush.
task<> block_core::write_parts(const std::vector<byte_vector>& parts, bool flush_each) {
    for (const byte_vector& part : parts) {
        CO_TRY_VOID(co_await prepare_segment(part.size()));
        CO_TRY_VOID(co_await log_->write(part));
        failpoint("store.written");
        if (flush_each) CO_TRY_VOID(co_await flush_written());
    }
    if (parts.empty() || !flush_each) CO_TRY_VOID(co_await flush_written());
    failpoint("store.flushed");
    co_return result<void>{};
}

/// Everything that the batch under way names is on the device before the flush.
task<> block_core::flush_written() {
    while (writing_ && writing_->writes != 0) {
        writing_->written.reset();  // set whenever no write was under way while the batch was filled
        co_await writing_->written.wait();
    }
    CO_TRY_VOID(check_working());
    co_return co_await disk_->flush();
}

void block_core::finish(commit_batch& batch, bool good) {
    if (!good) return;
    for (const auto& one : batch.records) {
        const auto held = one.volume->journal.find(one.sequence);
        if (held != one.volume->journal.end() && held->second.epoch == one.epoch)
            one.volume->visible_last = std::max(one.volume->visible_last, one.sequence);
    }
    for (const auto& one : batch.promises)
        one.volume->promised_durable = std::max(one.volume->promised_durable, one.value);
    for (auto& one : batch.freed) dying_.push_back(std::move(one));
    batch.freed.clear();
    if (!batch.freed_later.empty()) pending_->requested = true;  // they should not wait for somebody else's commit
    for (auto& one : batch.freed_later) pending_->freed.push_back(std::move(one));
    batch.freed_later.clear();
    collect_dying();
}

task<std::uint64_t> block_core::take_segment() {
    const deadline until = deadline_in_ms(request_timeout_ms);
    for (;;) {
        fill_segment_pool(room::record);
        if (segment_pool_.empty())
            if (const auto run = space_.take_clean_run(block_.segment_sectors)) co_return run->first;
        if (!segment_pool_.empty()) {
            const std::uint64_t out = segment_pool_.back();
            segment_pool_.pop_back();
            co_return out;
        }
        kick_eraser();
        space_changed_.reset();
        if (!erasing_) co_return fail(errc::no_space, "no room for the log");
        co_await space_changed_.wait(until);
        if (steady_clock::now() >= until) co_return fail(errc::timed_out, "waiting for room for the log");
    }
}

task<> block_core::prepare_segment(std::size_t entry_bytes) {
    if (!log_->needs_segment(entry_bytes)) co_return result<void>{};
    CO_TRY(const std::uint64_t sector, co_await take_segment());
    log_->add_segment(sector);
    co_return result<void>{};
}

/// Writes the whole index into a fresh chain and lets the superblock point to it. The pending batch that led here is in
/// the index already; what joins the next batch meanwhile is logged behind the checkpoint.
task<> block_core::write_checkpoint() {
    checkpoint_wanted_ = false;
    for (const auto& [id, volume] : index_.volumes()) volume->is_logged = true;
    const auto parts = index_.snapshot(zeroed_logged_, log_writer::batch_size_max(block_.segment_sectors));
    planned_snapshot_ = log_writer::segments_for(index_.snapshot_size(), block_.segment_sectors);
    CO_TRY(const std::uint64_t first, co_await take_segment());
    extent_list old;
    log_position fresh;
    superblock next = block_;
    if (log_) {
        for (const std::uint64_t sector : log_->position().segments)
            old.push_back(extent{sector, block_.segment_sectors});
        old.push_back(extent{log_->position().next, block_.segment_sectors});
        retiring_sectors_ = sectors_of(old);
        fresh.number = log_->position().number + 1;
        fresh.batch = log_->position().batch;
    } else {  // after a rebuild
        fresh.number = block_.log_segment;
        fresh.batch = block_.log_batch;
    }
    // The writer begins a segment when the current one is full: start behind a full one that does not exist.
    fresh.used = block_.segment_sectors;
    fresh.next = first;
    next.log_segment = fresh.number + 1;
    next.log_batch = fresh.batch;
    next.log_sector = first;
    log_.emplace(*disk_, block_.uuid, block_.segment_sectors, std::move(fresh));
    CO_TRY_VOID(co_await write_parts(parts, false));
    next.checkpoint_batch = log_->position().batch - 1;
    next.zeroed_end = zeroed_logged_;
    block_ = next;
    CO_TRY_VOID(co_await write_superblock());
    ++checkpoint_count_;
    space_.add_dirty(old);
    retiring_sectors_ = planned_snapshot_ = 0;
    kick_eraser();
    co_return result<void>{};
}

/// Two copies, flush, the other two, flush: at every instant two copies agree on the old state or on the new one.
task<> block_core::write_superblock() {
    ++block_.sequence;
    for (unsigned half = 0; half < 2; ++half) {
        buffer bytes(2 * sector_size);
        std::vector<sector_output> list(2);
        for (unsigned i = 0; i < 2; ++i) {
            const unsigned copy = 2 * half + i;
            const byte_vector encoded = encode_superblock(block_, copy);
            std::memcpy(bytes.data() + i * sector_size, encoded.data(), sector_size);
            list[i].first = superblock_sector(copy);
            list[i].from.push_back(bytes.view(i * sector_size, sector_size));
        }
        CO_TRY_VOID(co_await disk_->write(std::move(list)));
        CO_TRY_VOID(co_await disk_->flush());
    }
    co_return result<void>{};
}

}  // namespace warifu
