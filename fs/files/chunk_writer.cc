#include "fs/files/chunk_writer.h"

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

using phase = chunk_in_flight::phase;

constexpr std::uint64_t to_the_end = ~0ULL;

void add_unique(std::vector<inode_number>& owners, inode_number owner) {
    // A file's pieces come one after the other, so the last owner is nearly always the one looked for.
    if (!owners.empty() && owners.back() == owner) return;
    if (std::find(owners.begin(), owners.end(), owner) == owners.end()) owners.push_back(owner);
}

}  // namespace

chunk_writer::chunk_writer(asio::io_context& core, volume& v, dirty_budget& budget, std::function<void()> on_failure)
    : core_(core),
      volume_(v),
      budget_(budget),
      on_failure_(std::move(on_failure)),
      own_chunk_size_(v.chunk_size() / 2),
      put_done_(core.get_executor()) {}

extent chunk_writer::place(std::uint64_t file_offset, std::uint32_t size) {
    extent where;
    where.file_offset = file_offset;
    where.size = size;
    where.placement = volume_.placement();
    where.piece_size = size;
    if (size >= own_chunk_size_) {
        where.chunk = volume_.allocate_chunk();
        return where;
    }
    if (packing_ &&
        (packing_->bytes + size > volume_.chunk_size() || packing_->pieces.size() >= chunk_piece_count_max)) {
        close_packing();
    }
    if (!packing_) {
        auto fresh = std::make_shared<chunk_in_flight>();
        fresh->id = volume_.allocate_chunk();
        const std::lock_guard lock(mutex_);
        chunks_.emplace(fresh->id, fresh);
        packing_ = std::move(fresh);
    }
    where.chunk = packing_->id;
    where.piece = static_cast<std::uint16_t>(packing_->pieces.size());
    where.first_unit = packing_->units;
    return where;
}

void chunk_writer::add(const extent& where, slice bytes, std::size_t memory, inode_number owner) {
    const bool packed = packing_ && packing_->id == where.chunk;
    chunk_pointer chunk = packed ? packing_ : std::make_shared<chunk_in_flight>();
    {
        const std::lock_guard lock(mutex_);
        if (!packed) {
            chunk->id = where.chunk;
            chunks_.emplace(chunk->id, chunk);
        }
        WARIFU_ASSERT(where.piece == chunk->pieces.size());
        chunk->bytes += bytes.size();
        chunk->memory += memory;
        memory_ += memory;
        chunk->units += volume_.unit_count(where.piece_size);
        chunk->pieces.push_back(std::move(bytes));
        add_unique(chunk->owners, owner);
    }
    if (!packed) close(chunk);
}

void chunk_writer::close_packing() {
    if (!packing_ || packing_->pieces.empty()) return;
    close(packing_);
    packing_.reset();
}

void chunk_writer::close(const chunk_pointer& chunk) {
    chunk->state = phase::waiting;
    unnamed_.push_back(chunk);
    asio::post(core_, [this, chunk] {
        queue_.push_back(chunk);
        start_puts();
    });
}

std::vector<chunk_pointer> chunk_writer::take_unnamed() {
    return std::exchange(unnamed_, {});
}

void chunk_writer::return_unnamed(std::vector<chunk_pointer> chunks) {
    chunks.insert(chunks.end(), unnamed_.begin(), unnamed_.end());
    unnamed_ = std::move(chunks);
}

slice chunk_writer::find(const chunk_id& chunk, std::uint16_t piece) const {
    const std::lock_guard lock(mutex_);
    const auto it = chunks_.find(chunk);
    if (it == chunks_.end() || piece >= it->second->pieces.size()) return {};
    return it->second->pieces[piece];
}

void chunk_writer::add_owner(const chunk_id& chunk, inode_number owner) {
    const std::lock_guard lock(mutex_);
    const auto it = chunks_.find(chunk);
    if (it != chunks_.end()) add_unique(it->second->owners, owner);
}

std::optional<error> chunk_writer::failure_of(inode_number number) const {
    if (failed_count_.load() == 0) return std::nullopt;
    const std::lock_guard lock(mutex_);
    const auto it = failures_.find(number);
    if (it == failures_.end()) return std::nullopt;
    return it->second;
}

void chunk_writer::forget_failure(inode_number number) {
    if (failed_count_.load() == 0) return;
    const std::lock_guard lock(mutex_);
    failures_.erase(number);
    failed_count_ = failures_.size();
}

void chunk_writer::forget_mended() {
    std::vector<inode_number> still;
    const std::lock_guard lock(mutex_);
    for (const auto& chunk : unnamed_)
        if (chunk->state == phase::failed) still.insert(still.end(), chunk->owners.begin(), chunk->owners.end());
    std::sort(still.begin(), still.end());
    std::erase_if(failures_,
                  [&still](const auto& entry) { return !std::binary_search(still.begin(), still.end(), entry.first); });
    failed_count_ = failures_.size();
}

void chunk_writer::start_puts() {
    while (!abandoned_ && puts_running_ < chunk_puts_in_flight_max && !queue_.empty()) {
        chunk_pointer next = std::move(queue_.front());
        queue_.pop_front();
        ++puts_running_;
        next->state = phase::putting;
        asio::co_spawn(core_, put_one(std::move(next)), asio::detached);
    }
}

awaitable<void> chunk_writer::put_one(chunk_pointer chunk) {
    auto outcome = co_await volume_.put_chunk(chunk->id, chunk->pieces, [this, chunk] {
        chunk->on_its_way = true;
        put_done_.set();
    });
    --puts_running_;
    if (outcome) {
        drop(chunk);
        chunk->state = phase::done;
        ++chunks_put_;
    } else {
        ++puts_failed_;
        chunk->failure = outcome.error();
        chunk->state = phase::failed;  // before the list of failures, so that forget_mended() does not miss it
        {
            const std::lock_guard lock(mutex_);
            for (const inode_number owner : chunk->owners) failures_.insert_or_assign(owner, outcome.error());
            failed_count_ = failures_.size();
        }
        on_failure_();
    }
    put_done_.set();
    start_puts();
}

/// Its bytes are at the sites, or nobody refers to them any more.
void chunk_writer::drop(const chunk_pointer& chunk) {
    std::size_t bytes = 0;
    std::size_t memory = 0;
    {
        const std::lock_guard lock(mutex_);
        chunks_.erase(chunk->id);
        chunk->pieces.clear();
        bytes = std::exchange(chunk->bytes, 0);
        memory = std::exchange(chunk->memory, 0);
    }
    memory_ -= memory;
    budget_.add(-static_cast<std::int64_t>(bytes), -static_cast<std::int64_t>(memory));
}

task<> chunk_writer::wait_sent(std::vector<chunk_pointer> chunks) {
    const auto is_awaited = [](const chunk_pointer& chunk) {
        const auto state = chunk->state.load();
        return state == phase::waiting || (state == phase::putting && !chunk->on_its_way);
    };
    while (std::ranges::any_of(chunks, is_awaited)) {
        put_done_.reset();
        co_await put_done_.wait();
    }
    for (const auto& chunk : chunks)
        if (chunk->state == phase::failed) co_return fail(*chunk->failure);
    co_return result<void>{};
}

awaitable<void> chunk_writer::wait_put(std::vector<chunk_pointer> chunks) {
    while (std::ranges::any_of(chunks, [](const chunk_pointer& chunk) { return chunk->state == phase::putting; })) {
        put_done_.reset();
        co_await put_done_.wait();
    }
}

result<void> chunk_writer::refit_failed(const inode_table& inodes) {
    std::vector<chunk_pointer> failed;
    std::erase_if(unnamed_, [&failed](const chunk_pointer& chunk) {
        if (chunk->state != phase::failed) return false;
        failed.push_back(chunk);
        return true;
    });
    while (!failed.empty()) {
        if (auto outcome = refit(failed.back(), inodes); !outcome) {
            return_unnamed(std::move(failed));
            return outcome;
        }
        failed.pop_back();
    }
    return {};
}

result<void> chunk_writer::refit(const chunk_pointer& failed, const inode_table& inodes) {
    auto fresh = std::make_shared<chunk_in_flight>();
    fresh->id = volume_.allocate_chunk();
    std::vector<inode_number> owners;
    {
        const std::lock_guard lock(mutex_);
        chunks_.emplace(fresh->id, fresh);
        owners = failed->owners;
    }
    std::unordered_map<std::uint16_t, extent> moved;
    result<void> outcome;
    for (const inode_number owner : owners) {
        outcome = refit_file(failed, fresh, owner, inodes, moved);
        if (!outcome) break;
    }
    if (fresh->pieces.empty()) {
        const std::lock_guard lock(mutex_);
        chunks_.erase(fresh->id);
    } else {
        // The accounts move with the pieces; after an error the failed chunk keeps them until the next attempt.
        if (outcome && failed->bytes >= fresh->bytes) {
            fresh->memory = failed->memory / failed->bytes * fresh->bytes;
            failed->bytes -= fresh->bytes;
            failed->memory -= fresh->memory;
        } else {
            fresh->bytes = 0;
        }
        close(fresh);
    }
    if (outcome) drop(failed);
    return outcome;
}

result<void> chunk_writer::refit_file(const chunk_pointer& failed, const chunk_pointer& fresh, inode_number owner,
                                      const inode_table& inodes, std::unordered_map<std::uint16_t, extent>& moved) {
    name_space& names = volume_.names();
    const auto state = inodes.find(owner);
    std::unique_lock<std::mutex> state_lock;
    if (state) state_lock = std::unique_lock(state->mutex);
    auto attributes = state ? result<inode>(state->attributes) : names.get(owner);
    if (!attributes && attributes.error().code == errc::not_found) return {};  // deleted meanwhile
    if (!attributes) return fail(std::move(attributes).error());
    TRY(auto extents, names.extents(owner, 0, to_the_end));
    std::erase_if(extents, [&failed](const extent& e) { return e.chunk != failed->id; });
    if (extents.empty()) forget_failure(owner);
    for (extent e : extents) {
        if (!moved.contains(e.piece)) {
            const std::lock_guard lock(mutex_);
            extent place;
            place.piece = static_cast<std::uint16_t>(fresh->pieces.size());
            place.first_unit = fresh->units;
            moved.emplace(e.piece, place);
            fresh->pieces.push_back(failed->pieces[e.piece]);
            fresh->units += volume_.unit_count(e.piece_size);
            fresh->bytes += e.piece_size;
        }
        const extent& place = moved.at(e.piece);
        e.chunk = fresh->id;
        e.piece = place.piece;
        e.first_unit = place.first_unit;
        {
            const std::lock_guard lock(mutex_);
            add_unique(fresh->owners, owner);
        }
        TRY(auto changed, names.replace_extents(*attributes, e.file_offset, e.size, {e}));
        *attributes = changed;
        if (state) state->attributes = changed;
    }
    return {};
}

}  // namespace warifu
