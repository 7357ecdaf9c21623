// Free space: allocation, erasing what was freed, zero-writing ahead.

#include <algorithm>

#include "backends/block/block_core.h"

namespace warifu {
namespace {

constexpr std::uint32_t erase_sectors = erase_step_size / sector_size;
constexpr std::uint32_t raw_step_sectors = 16 * erase_sectors;
constexpr std::uint64_t log_segments_kept = 8;
constexpr std::uint64_t control_segments = 2;  // of those kept, what records and removes may use when all else is full
constexpr std::uint64_t log_segments_before_checkpoint = 4;

bool is_zero(bytes_view bytes) {
    // Compares the bytes with themselves shifted by one.
    return bytes.empty() ||
           (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

/// Room for the log: a running chain, a checkpoint of the index and of an entry that comes beside it, and some.
std::uint64_t block_core::log_reserve(room kind) const {
    const std::uint64_t snapshot =
        log_writer::segments_for(index_.snapshot_size() + pending_->size + log_entry_size_max, block_.segment_sectors);
    const std::uint64_t kept = kind == room::share ? log_segments_kept : log_segments_kept - control_segments;
    return (kept + 2 * snapshot) * block_.segment_sectors;
}

std::uint64_t block_core::checkpoint_limit() const {
    if (options_.checkpoint_after != 0) return divide_up(options_.checkpoint_after, sector_size);
    const std::uint64_t snapshot = log_writer::segments_for(index_.snapshot_size(), block_.segment_sectors);
    return (log_segments_before_checkpoint + snapshot) * block_.segment_sectors;
}

std::uint64_t block_core::capacity() const {
    const std::uint64_t kept = log_segments_kept * block_.segment_sectors;
    return space_.total() > kept ? space_.total() - kept : 0;
}

std::uint64_t block_core::free_with_log() const {
    return space_.free_count() + log_sectors();
}

std::uint64_t block_core::user_free() const {
    const std::uint64_t all = free_with_log(), kept = log_reserve(room::share);
    return all > kept ? all - kept : 0;
}

std::uint64_t block_core::log_sectors() const {
    return (log_ ? log_->sectors() : 0) + retiring_sectors_ + segment_pool_.size() * block_.segment_sectors;
}

/// What the log may need is set aside first, so that a full and fragmented store can still write it.
bool block_core::fill_segment_pool(room kind) {
    const std::uint64_t wanted = log_reserve(kind);
    while (log_sectors() + block_.segment_sectors <= wanted) {
        const auto run = space_.take_clean_run(block_.segment_sectors);
        if (!run) return false;
        segment_pool_.push_back(run->first);
    }
    return true;
}

/// Segments that the log does not need now are kept while there is other space: an index that grows again finds them
/// in one piece.
bool block_core::give_back_segment(room kind) {
    if (segment_pool_.empty() || log_sectors() < log_reserve(kind) + block_.segment_sectors) return false;
    space_.give_back(extent_list{extent{segment_pool_.back(), block_.segment_sectors}});
    segment_pool_.pop_back();
    return true;
}

bool block_core::has_room(std::uint64_t sectors, room kind) const {
    if (kind == room::share) return sectors * sector_size + reserved <= user_free() * sector_size;
    return sectors + log_reserve(kind) <= free_with_log();
}

task<extent_list> block_core::allocate(std::uint64_t sectors, room kind) {
    const deadline until = deadline_in_ms(request_timeout_ms);
    if (!has_room(sectors, kind)) {
        if (!pending_->freed.empty() || writing_)
            CO_TRY_VOID(co_await barrier());  // removes that were answered free space
        if (!has_room(sectors, kind)) co_return fail(errc::no_space, "the store is full");
    }
    for (;;) {
        CO_TRY_VOID(check_working());
        // A remove lets the index shrink and needs no more log than there is.
        const bool log_fits = fill_segment_pool(kind) || kind == room::remove;
        auto got = log_fits ? space_.take_clean(sectors) : std::nullopt;
        while (log_fits && !got && give_back_segment(kind)) got = space_.take_clean(sectors);
        if (got) {
            if (space_.clean_count() * sector_size < options_.zero_ahead / 2) kick_eraser();
            co_return std::move(*got);
        }
        kick_eraser();
        if (!erasing_) co_return fail(errc::no_space, "the free space is in too many pieces");
        space_changed_.reset();
        co_await space_changed_.wait(until);  // another waiter may have reset it again: the clock tells
        if (steady_clock::now() >= until) co_return fail(errc::timed_out, "waiting for erased space");
    }
}

/// Sectors that were written, but never logged.
void block_core::free_unlogged(const extent_list& written) {
    space_.add_dirty(written);
    kick_eraser();
}

void block_core::collect_dying() {
    bool any = false;
    std::erase_if(dying_, [this, &any](dying_extents& one) {
        if (one.share && one.share.use_count() > 1) return false;
        space_.add_dirty(one.extents);
        any = true;
        return true;
    });
    if (any) kick_eraser();
}

void block_core::kick_eraser() {
    if (erasing_ || stopped_ || failure_) return;
    const bool wants_raw =
        !closing_ && space_.raw_count() > 0 && space_.clean_count() * sector_size < options_.zero_ahead;
    if (space_.unclean_count() == 0 && !wants_raw) return;
    erasing_ = true;
    eraser_idle_.reset();
    asio::co_spawn(executor_, erase_loop(shared_from_this()), asio::detached);
}

awaitable<void> block_core::erase_loop(std::shared_ptr<block_core> self) {
    while (!stopped_ && !failure_) {
        const auto more = co_await erase_step();
        if (!more || !*more) break;
        fill_segment_pool(room::record);
        space_changed_.set();
    }
    erasing_ = false;
    eraser_idle_.set();
    space_changed_.set();
    static_cast<void>(self);
}

/// False when nothing is left to do. A run that cannot be erased stays out of use until the store is opened again.
task<bool> block_core::erase_step() {
    result<void> done;
    std::optional<extent> where;
    if ((where = space_.take_dirty(erase_sectors))) {
        done = co_await disk_->write_zeros(*where);
    } else if ((where = space_.take_suspect(erase_sectors))) {
        done = co_await erase_suspect(*where);
    } else if (!closing_ && space_.clean_count() * sector_size < options_.zero_ahead) {
        const auto step = std::max<std::uint64_t>(space_.total() / 64, block_.segment_sectors);
        where = space_.take_raw(static_cast<std::uint32_t>(std::min<std::uint64_t>(step, raw_step_sectors)));
        if (!where) co_return false;
        if ((done = co_await open_raw(*where))) space_.add_opened(*where);
        if (!done) count_media_error();
        co_return true;
    }
    if (!where) co_return false;
    if (!done) {
        count_media_error();
        co_return true;
    }
    space_.add_clean(*where);
    co_return true;
}

/// After a crash free space may hold bytes of shares whose commit never came.
task<> block_core::erase_suspect(extent where) {
    CO_TRY(const buffer bytes, co_await disk_->read_sectors(where));
    if (is_zero(bytes.view())) co_return result<void>{};
    co_return co_await disk_->write_zeros(where);
}

/// Fresh space is zero-written before use, so that flushes touch no journal of a file system below; and the log tells
/// of it before bytes of shares get there, so that they are found and erased after a crash.
task<> block_core::open_raw(extent where) {
    CO_TRY_VOID(co_await disk_->write_zeros(where));
    if (!serving_) {  // recovery: the checkpoint that follows will tell
        zeroed_logged_ = where.end();
        checkpoint_wanted_ = true;
        co_return result<void>{};
    }
    log_now(zeroed_entry{where.end()});
    const batch_ptr batch = pending_;
    zeroed_logged_ = where.end();
    co_return co_await wait_durable(batch);
}

}  // namespace warifu
