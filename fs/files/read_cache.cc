#include "fs/files/read_cache.h"

#include <algorithm>

#include "fs/base/limits.h"

namespace warifu {
namespace {

std::uint32_t whole_units(std::size_t size, std::size_t unit) {
    return static_cast<std::uint32_t>(std::max<std::size_t>(size / unit, 1) * unit);
}

}  // namespace

read_cache::read_cache(asio::io_context& core, volume& v, std::size_t size_max)
    : core_(core),
      volume_(v),
      block_size_(whole_units(read_block_size, v.sharing().unit_size())),
      size_max_(size_max) {}

std::shared_ptr<cached_block> read_cache::find(const extent& where, std::uint32_t piece_offset) {
    const block_key key{where.chunk, where.piece, piece_offset / block_size_};
    const std::lock_guard lock(mutex_);
    const auto it = blocks_.find(key);
    if (it == blocks_.end()) return nullptr;
    order_.splice(order_.begin(), order_, it->second->place_);
    return it->second;
}

std::shared_ptr<cached_block> read_cache::acquire(const extent& where, std::uint32_t piece_offset, bool ahead) {
    const block_key key{where.chunk, where.piece, piece_offset / block_size_};
    std::shared_ptr<cached_block> block;
    {
        const std::lock_guard lock(mutex_);
        const auto it = blocks_.find(key);
        if (it != blocks_.end()) {
            if (!ahead) order_.splice(order_.begin(), order_, it->second->place_);
            return it->second;
        }
        if (ahead && fetching_ >= read_fetches_in_flight_max) return nullptr;
        const std::uint32_t offset = key.number * block_size_;
        block = std::make_shared<cached_block>(key, offset, std::min(block_size_, where.piece_size - offset),
                                               core_.get_executor());
        ++fetching_;
        size_ += block->size;
        blocks_.emplace(key, block);
        order_.push_front(block);
        block->place_ = order_.begin();
        evict();
    }
    asio::post(core_, [this, block, where] { asio::co_spawn(core_, fetch(block, where), asio::detached); });
    return block;
}

/// Blocks that are still being fetched stay: somebody will want them, and their number is bounded.
void read_cache::evict() {
    for (auto it = order_.end(); it != order_.begin() && size_.load() > size_max_;) {
        --it;
        const auto& block = *it;
        if (!block->done_.load()) continue;
        size_ -= block->size;
        blocks_.erase(block->key);
        it = order_.erase(it);
    }
}

void read_cache::demote(const std::shared_ptr<cached_block>& block) {
    const std::lock_guard lock(mutex_);
    const auto it = blocks_.find(block->key);
    if (it != blocks_.end() && it->second == block) order_.splice(order_.end(), order_, block->place_);
}

awaitable<void> read_cache::fetch(std::shared_ptr<cached_block> block, extent where) {
    auto bytes = co_await volume_.read(where, block->offset, block->size);
    {
        const std::lock_guard lock(mutex_);
        --fetching_;
        if (bytes) {
            block->bytes_ = std::move(*bytes);
            block->done_.store(true, std::memory_order_release);
        } else {
            block->failure_ = std::move(bytes).error();
            size_ -= block->size;
            blocks_.erase(block->key);
            order_.erase(block->place_);
        }
        evict();
    }
    block->ready.set();
}

task<slice> read_cache::wait(std::shared_ptr<cached_block> block) {
    co_await block->ready.wait();
    if (block->failure_) co_return fail(*block->failure_);
    co_return block->bytes_;
}

}  // namespace warifu
