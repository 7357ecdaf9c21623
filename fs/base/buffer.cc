#include "fs/base/buffer.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <vector>

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

constexpr std::size_t alignment = 4096;
constexpr std::size_t class_count = 12;  // 4 KiB << 0 .. 4 KiB << 11 (8 MiB)
constexpr std::size_t mapped_class = 5;  // from 128 KiB on the allocator maps and unmaps blocks one by one (harden.cc)
constexpr std::size_t slab_size = 1U << 20U;

/// Free lists per power of two; larger blocks go back to the allocator. A free block keeps its memory while all blocks
/// together stay below `most_`; then those of other sizes give way. Large ones are freed. Small ones are parts of slabs
/// and become *hollow*: their addresses wait, as at the beginning, and have no memory until they are written.
class recycler {
  public:
    std::byte* take(std::size_t capacity) {
        const std::size_t index = class_of(capacity);
        if (index < class_count) {
            const std::lock_guard lock(mutex_);
            in_use_ += capacity;
            if (std::byte* block = pop(free_[index])) {
                kept_ -= capacity;
                return block;
            }
            make_room(0, index);
            if (index < mapped_class) return take_hollow(index);
        }
        return allocate(capacity);
    }

    void give(std::byte* block, std::size_t capacity) noexcept {
        const std::size_t index = class_of(capacity);
        if (index >= class_count) return std::free(block);
        const std::lock_guard lock(mutex_);
        in_use_ -= capacity;
        make_room(capacity, index);
        if (fits(capacity)) {
            free_[index].push_back(block);
            kept_ += capacity;
        } else {
            hollow_out(block, index);
        }
    }

    void set_most(std::size_t most) {
        const std::lock_guard lock(mutex_);
        most_ = most;
        make_room(0, class_count);
    }

  private:
    using block_list = std::vector<std::byte*>;

    static std::size_t class_of(std::size_t capacity) {
        return static_cast<std::size_t>(std::countr_zero(capacity / alignment));
    }
    static std::byte* allocate(std::size_t size) {
        void* block = std::aligned_alloc(alignment, size);
        if (block == nullptr) throw std::bad_alloc();
        return static_cast<std::byte*>(block);
    }
    std::byte* take_hollow(std::size_t index) {
        if (hollow_[index].empty()) {
            std::byte* slab = allocate(slab_size);
            for (std::size_t at = slab_size; at > 0;) hollow_[index].push_back(slab + (at -= alignment << index));
        }
        return pop(hollow_[index]);
    }
    static std::byte* pop(block_list& list) {
        if (list.empty()) return nullptr;
        std::byte* block = list.back();
        list.pop_back();
        return block;
    }
    bool fits(std::size_t more) const {
        return kept_ + more <= buffer_recycle_size_max && in_use_ + kept_ + more <= most_;
    }

    /// Blocks of other sizes than `wanted` give way to `more` bytes of it.
    void make_room(std::size_t more, std::size_t wanted) noexcept {
        for (std::size_t index = 0; index < class_count && !fits(more); ++index) {
            if (index == wanted) continue;
            while (!fits(more) && !free_[index].empty()) {
                kept_ -= alignment << index;
                hollow_out(pop(free_[index]), index);
            }
        }
    }

    void hollow_out(std::byte* block, std::size_t index) noexcept {
        if (index >= mapped_class) return std::free(block);
        ::madvise(block, alignment << index, MADV_DONTNEED_LOCKED);  // from Linux 5.18 on; before, they stay
        hollow_[index].push_back(block);
    }

    std::mutex mutex_;
    std::array<block_list, class_count> free_;
    std::array<block_list, mapped_class> hollow_;
    std::size_t in_use_ = 0, kept_ = 0;
    std::size_t most_ = buffer_memory_max;
};

recycler& blocks() {
    static auto* instance = new recycler;  // never destroyed: buffers may outlive static destruction
    return *instance;
}

}  // namespace

void set_buffer_memory(std::size_t most) {
    blocks().set_most(most);
}

buffer::buffer(std::size_t size) : size_(size) {
    if (size == 0) return;
    capacity_ = std::bit_ceil(size < alignment ? alignment : size);
    data_ = blocks().take(capacity_);
}

buffer::buffer(buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

buffer& buffer::operator=(buffer&& other) noexcept {
    if (this != &other) {
        release();
        data_ = std::exchange(other.data_, nullptr);
        size_ = std::exchange(other.size_, 0);
        capacity_ = std::exchange(other.capacity_, 0);
    }
    return *this;
}

buffer::~buffer() {
    release();
}

void buffer::release() noexcept {
    if (data_ == nullptr) return;
    wipe({data_, size_});
    blocks().give(data_, capacity_);
    data_ = nullptr;
}

buffer buffer::zeroed(std::size_t size) {
    buffer b(size);
    if (size != 0) std::memset(b.data_, 0, size);
    return b;
}

buffer buffer::copy_of(bytes_view bytes) {
    buffer b(bytes.size());
    if (!bytes.empty()) std::memcpy(b.data_, bytes.data(), bytes.size());
    return b;
}

bytes_span buffer::span(std::size_t offset, std::size_t size) {
    WARIFU_ASSERT(offset <= size_ && size <= size_ - offset);
    return {data_ + offset, size};
}

bytes_view buffer::view(std::size_t offset, std::size_t size) const {
    WARIFU_ASSERT(offset <= size_ && size <= size_ - offset);
    return {data_ + offset, size};
}

void buffer::shrink(std::size_t size) {
    WARIFU_ASSERT(size <= size_);
    if (size < size_) wipe({data_ + size, size_ - size});
    size_ = size;
}

slice::slice(buffer whole) {
    auto owner = std::make_shared<const buffer>(std::move(whole));
    bytes_ = owner->view();
    owner_ = std::move(owner);
}

slice slice::part(std::size_t offset, std::size_t size) const {
    WARIFU_ASSERT(offset <= bytes_.size() && size <= bytes_.size() - offset);
    return {owner_, bytes_.subspan(offset, size)};
}

}  // namespace warifu
