#pragma once
// Memory for bulk bytes: aligned to 4 KiB (O_DIRECT), recycled (the first touch of fresh memory is slow), wiped before
// it is recycled or freed (it holds plaintext, shares or key), move-only and unprintable. Locking is done once for the
// process (fs/base/harden.h).

#include <memory>
#include <utility>

#include "fs/base/bytes.h"

namespace warifu {

/// A run of `size()` bytes, 4 KiB aligned; its contents are unspecified until written. Thread-safe to create and
/// destroy on any thread; one owner at a time.
class buffer {
  public:
    buffer() = default;
    explicit buffer(std::size_t size);
    buffer(buffer&& other) noexcept;
    buffer& operator=(buffer&& other) noexcept;
    buffer(const buffer&) = delete;
    buffer& operator=(const buffer&) = delete;
    ~buffer();

    static buffer zeroed(std::size_t size);
    static buffer copy_of(bytes_view bytes);

    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    std::byte* data() { return data_; }
    const std::byte* data() const { return data_; }
    bytes_span span() { return {data_, size_}; }
    bytes_view view() const { return {data_, size_}; }
    bytes_span span(std::size_t offset, std::size_t size);
    bytes_view view(std::size_t offset, std::size_t size) const;

    /// Cuts the visible size; the memory stays. REQUIRES: size <= this->size().
    void shrink(std::size_t size);

  private:
    void release() noexcept;

    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

/// Freed blocks that wait to be used again give way when they and the blocks in use would be more than `most` bytes:
/// buffer_memory_max before the first call. Any thread.
void set_buffer_memory(std::size_t most);

/// A read-only view that keeps its buffer alive: how bulk bytes are handed to several stores at once without a copy.
class slice {
  public:
    slice() = default;
    /// Takes the whole buffer.
    explicit slice(buffer whole);
    slice(std::shared_ptr<const buffer> owner, bytes_view bytes) : owner_(std::move(owner)), bytes_(bytes) {}

    bytes_view view() const { return bytes_; }
    std::size_t size() const { return bytes_.size(); }
    bool empty() const { return bytes_.empty(); }
    slice part(std::size_t offset, std::size_t size) const;

  private:
    std::shared_ptr<const buffer> owner_;
    bytes_view bytes_;
};

}  // namespace warifu
