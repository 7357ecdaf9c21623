#include "fs/base/buffer.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

constexpr std::size_t alignment = 4096;
constexpr std::size_t class_count = 12;  // 4 KiB << 0 .. 4 KiB << 11 (8 MiB)

/// Free lists per power of two. Larger blocks go back to the allocator.
class recycler {
  public:
    std::byte* take(std::size_t capacity) {
        const std::size_t index = class_of(capacity);
        if (index < class_count) {
            const std::lock_guard lock(mutex_);
            auto& list = free_[index];
            if (!list.empty()) {
                std::byte* block = list.back();
                list.pop_back();
                kept_ -= capacity;
                return block;
            }
        }
        void* block = std::aligned_alloc(alignment, capacity);
        if (block == nullptr) throw std::bad_alloc();
        return static_cast<std::byte*>(block);
    }

    void give(std::byte* block, std::size_t capacity) noexcept {
        const std::size_t index = class_of(capacity);
        if (index < class_count) {
            const std::lock_guard lock(mutex_);
            if (kept_ + capacity <= buffer_recycle_size_max) {
                free_[index].push_back(block);
                kept_ += capacity;
                return;
            }
        }
        std::free(block);
    }

  private:
    static std::size_t class_of(std::size_t capacity) {
        return static_cast<std::size_t>(std::countr_zero(capacity / alignment));
    }

    std::mutex mutex_;
    std::array<std::vector<std::byte*>, class_count> free_;
    std::size_t kept_ = 0;
};

recycler& blocks() {
    static auto* instance = new recycler;  // never destroyed: buffers may outlive static destruction
    return *instance;
}

}  // namespace

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
