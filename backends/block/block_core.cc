#include "backends/block/block_core.h"

#include "fs/base/crc32c.h"

namespace warifu {

block_core::block_core(asio::any_io_executor executor, std::unique_ptr<device> disk, block_store_options options)
    : executor_(executor),
      disk_(std::move(disk)),
      options_(std::move(options)),
      pending_(std::make_shared<commit_batch>(executor, next_serial_++)),
      space_changed_(executor),
      eraser_idle_(executor),
      pin_timer_(executor) {}

void block_core::stop() {
    stopped_ = true;
    pin_timer_.cancel();
    space_changed_.set();
}

result<void> block_core::check_working() const {
    if (failure_) return fail(errc::io_error, "the store takes no changes since its device failed: " + failure_->text);
    return {};
}

void block_core::fail_store(const error& cause) {
    if (!failure_) failure_ = cause;
    count_media_error();
}

awaitable<held_lock> block_core::lock(const volume_state* volume, chunk_id chunk) {
    auto& place = locks_[lock_key{volume, chunk}];
    auto mutex = place.lock();
    if (!mutex) {
        // The last holder takes the entry along.
        mutex = std::shared_ptr<async_mutex>(new async_mutex(executor_),
                                             [self = weak_from_this(), volume, chunk](async_mutex* gone) {
                                                 delete gone;
                                                 if (const auto core = self.lock())
                                                     core->locks_.erase(lock_key{volume, chunk});
                                             });
        place = mutex;
    }
    auto guard = co_await mutex->lock();
    co_return held_lock{std::move(mutex), std::move(guard)};
}

awaitable<held_lock> block_core::lock_chunk(volume_ptr volume, chunk_id chunk) {
    return lock(volume.get(), chunk);
}

/// Chunk ids have a nonzero epoch, so the zero id is free to stand for the journal.
awaitable<held_lock> block_core::lock_journal(volume_ptr volume) {
    return lock(volume.get(), chunk_id());
}

task<byte_vector> block_core::load_blob(stored_record record) {
    if (record.blob) co_return *record.blob;
    buffer bytes(sectors_of(record.extents) * sector_size);
    std::vector<sector_io> list;
    std::size_t at = 0;
    for (const extent& e : record.extents) {
        sector_io one;
        one.first = e.first;
        one.into.push_back(bytes.span(at, e.count * sector_size));
        at += e.count * sector_size;
        list.push_back(std::move(one));
    }
    CO_TRY_VOID(co_await disk_->read(std::move(list)));
    if (crc32c(bytes.view(0, record.blob_size)) != record.blob_checksum) {
        count_media_error();
        co_return fail(errc::bad_checksum, "the medium changed a journal record");
    }
    const bytes_view blob = bytes.view(0, record.blob_size);
    co_return byte_vector(blob.begin(), blob.end());
}

task<extent_list> block_core::write_blob(byte_vector blob) {
    buffer bytes = buffer::zeroed(round_up(blob.size(), sector_size));
    std::memcpy(bytes.data(), blob.data(), blob.size());
    CO_TRY(extent_list place, co_await allocate(bytes.size() / sector_size, room::record));
    std::vector<sector_output> list;
    std::size_t at = 0;
    for (const extent& e : place) {
        sector_output one;
        one.first = e.first;
        one.from.push_back(bytes.view(at, e.count * sector_size));
        at += e.count * sector_size;
        list.push_back(std::move(one));
    }
    CO_TRY_VOID(co_await write_new(std::move(list), place));
    co_return place;
}

void block_core::expire_pins() {
    const auto now = steady_clock::now();
    std::optional<deadline> next;
    for (const auto& [id, volume] : index_.volumes()) {
        std::erase_if(volume->pins, [now](const auto& pin) { return pin.second.until <= now; });
        for (const auto& [chunk, pin] : volume->pins) next = std::min(next.value_or(pin.until), pin.until);
    }
    collect_dying();
    if (next) watch_pins(*next);
}

void block_core::watch_pins(deadline until) {
    if (stopped_ || (pin_timer_armed_ && pin_timer_.expiry() <= until)) return;
    pin_timer_.expires_at(until);
    pin_timer_armed_ = true;
    pin_timer_.async_wait([self = weak_from_this()](boost::system::error_code ec) {
        const auto core = self.lock();
        if (!core || ec) return;
        core->pin_timer_armed_ = false;
        core->expire_pins();
    });
}

block_store_status block_core::status() {
    block_store_status out;
    out.capacity = capacity() * sector_size;
    const std::uint64_t free = promised_free() * sector_size;
    out.free = std::min(free > reserved ? free - reserved : 0, out.capacity);
    out.reserved = reserved;
    out.to_erase = space_.unclean_count() * sector_size;
    out.chunk_count = index_.chunk_count();
    out.volume_count = index_.volumes().size();
    out.log_size = log_ ? log_->sectors() * sector_size : 0;
    out.flush_count = disk_->flush_count();
    out.commit_count = commit_count_;
    out.checkpoint_count = checkpoint_count_;
    out.bytes_written = disk_->bytes_written();
    out.bytes_read = disk_->bytes_read();
    out.media_errors = media_errors_;
    out.dropped_records = dropped_records_;
    out.failed = failure_.has_value();
    return out;
}

}  // namespace warifu
