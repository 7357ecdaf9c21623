// Free space: allocation, erasing what was freed, zero-writing ahead.

#include <algorithm>

#include "backends/block/block_core.h"

namespace warifu {
namespace {

constexpr std::uint32_t erase_sectors = erase_step_size / sector_size;
constexpr std::uint32_t raw_step_sectors = 16 * erase_sectors;
constexpr std::uint64_t log_segments_kept = 10;
constexpr std::uint64_t log_segments_before_checkpoint = 4;
// When the index grows by a segment, its log and its next checkpoint do: what is asked of one who adds to it more than
// of one who may come later.
constexpr std::uint64_t growth_segments = 2;

bool is_zero(bytes_view bytes) {
    // Compares the bytes with themselves shifted by one.
    return bytes.empty() ||
           (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

/// Room for the log: a running chain as long as it is or may become, a checkpoint of the index and of an entry that
/// comes beside it, and for shares and records what a growing index will need.
std::uint64_t block_core::log_reserve(room kind) const {
    const std::size_t entries = index_.snapshot_size() + pending_->size + log_entry_size_max;
    const std::uint64_t snapshot = log_writer::segments_for(entries, block_.segment_sectors);
    const std::uint64_t chain = retiring_sectors_ != 0 ? retiring_sectors_ : log_ ? log_->sectors() : 0;
    const std::uint64_t chain_max = (log_segments_before_checkpoint + snapshot + 1) * block_.segment_sectors;
    const std::uint64_t growth = kind == room::share ? 2 * growth_segments : kind == room::record ? growth_segments : 0;
    return std::max({chain, planned_chain_, chain_max}) +
           (std::max(snapshot, planned_snapshot_) + 1 + growth) * block_.segment_sectors;
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

/// Nothing while the log cannot be given the segments that shares ask for, and no erasing will bring them.
std::uint64_t block_core::promised_free() {
    const bool log_fits = fill_segment_pool(room::share);
    if (!log_fits) kick_eraser();
    return log_fits || (erasing_ && space_.run_will_come(block_.segment_sectors)) ? user_free() : 0;
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
    const std::uint64_t wanted = log_reserve(room::share);
    wants_run_ = false;
    while (!wants_run_ && log_sectors() + block_.segment_sectors <= wanted) {
        if (const auto run = space_.take_clean_run(block_.segment_sectors))
            segment_pool_.push_back(run->first);
        else
            wants_run_ = true;
    }
    return log_sectors() + block_.segment_sectors > log_reserve(kind);
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

/// Frees what answered removes hold, and what a log that grew too long holds.
task<> block_core::settle() {
    if (log_->sectors() <= checkpoint_limit()) co_return co_await barrier();
    checkpoint_wanted_ = true;
    co_return co_await wait_durable(pending_);
}

task<extent_list> block_core::allocate(std::uint64_t sectors, room kind) {
    const deadline until = deadline_in_ms(request_timeout_ms);
    bool settled = false;
    if (!has_room(sectors, kind)) {
        CO_TRY_VOID(co_await settle());
        settled = true;
        if (!has_room(sectors, kind)) co_return fail(errc::no_space, "the store is full");
    }
    for (;;) {
        CO_TRY_VOID(check_working());
        // Who was promised space before the log ran short of segments gets it.
        const bool log_fits = fill_segment_pool(kind == room::share ? room::record : kind);
        auto got = log_fits ? space_.take_clean(sectors) : std::nullopt;
        while (log_fits && !got && give_back_segment(kind)) got = space_.take_clean(sectors);
        if (got) {
            if (wants_run_ || space_.clean_count() * sector_size < options_.zero_ahead / 2) kick_eraser();
            co_return std::move(*got);
        }
        wants_run_ = true;
        kick_eraser();
        if (!erasing_ && !std::exchange(settled, true)) {
            CO_TRY_VOID(co_await settle());
            continue;
        }
        if (!erasing_) co_return fail(errc::no_space, "the free space is in too many pieces");
        space_changed_.reset();
        co_await space_changed_.wait(until);  // another waiter may have reset it again: the clock tells
        if (steady_clock::now() < until) continue;
        if (!log_fits) co_return fail(errc::no_space, "the free space is in too many pieces until more is erased");
        co_return fail(errc::timed_out, "waiting for erased space");
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

bool block_core::wants_raw() const {
    return !closing_ && (wants_run_ || space_.clean_count() * sector_size < options_.zero_ahead);
}

void block_core::kick_eraser() {
    if (erasing_ || stopped_ || failure_) return;
    if (space_.unclean_count() == 0 && !(wants_raw() && space_.raw_count() > 0)) return;
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
/// While the log waits for a segment, what brings one comes first.
task<bool> block_core::erase_step() {
    const std::uint32_t segment = block_.segment_sectors;
    std::optional<extent> dirty, suspect, raw;
    if (wants_run_ && !(dirty = space_.take_dirty_run(segment)) && !(suspect = space_.take_suspect_run(segment)))
        raw = take_raw();
    if (!dirty && !suspect && !raw && !(dirty = space_.take_dirty(erase_sectors)) &&
        !(suspect = space_.take_suspect(erase_sectors)))
        raw = take_raw();
    if (raw) {
        const auto done = co_await open_raw(*raw);
        if (!done) count_media_error();
        done ? space_.add_opened(*raw) : space_.lose_raw(*raw);
        co_return true;
    }
    if (!dirty && !suspect) co_return false;
    const extent where = dirty ? *dirty : *suspect;
    const auto done = dirty ? co_await disk_->write_zeros(where) : co_await erase_suspect(where);
    if (!done) count_media_error();
    done ? space_.add_clean(where) : space_.lose_unclean(where);
    co_return true;
}

/// Space that was never used, when more is wanted.
std::optional<extent> block_core::take_raw() {
    if (!wants_raw()) return std::nullopt;
    const auto step = std::max<std::uint64_t>(space_.total() / 64, block_.segment_sectors);
    return space_.take_raw(static_cast<std::uint32_t>(std::min<std::uint64_t>(step, raw_step_sectors)));
}

/// After a crash free space may hold bytes of shares whose commit never came.
task<> block_core::erase_suspect(extent where) {
    const auto bytes = co_await disk_->read_sectors(where);
    if (bytes && is_zero(bytes->view())) co_return result<void>{};
    CO_TRY_VOID(co_await disk_->write_zeros(where));
    if (bytes) co_return result<void>{};
    // Media replace a sector that cannot be read when it is written. One that still cannot be read is not used again.
    CO_TRY(const buffer written, co_await disk_->read_sectors(where));
    if (!is_zero(written.view())) co_return fail(errc::io_error, "the medium does not keep what is written to it");
    count_media_error();
    co_return result<void>{};
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
