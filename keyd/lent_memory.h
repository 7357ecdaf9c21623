#pragma once
// Memory that a consumer of pads lends to its keyd, which fills it with key. It serves again and again: to get fresh
// memory from the machine costs more than the key that is copied into it.

#include <memory>
#include <mutex>
#include <vector>

#include "keyd/pool/files.h"

namespace warifu {

/// A memory descriptor of fixed size (sealed against resizing); as much as has been filled is mapped here for reading
/// and writing, so that no more counts as locked memory.
class lent_memory {
  public:
    /// `size` bytes, which take no memory before they are filled. no_space, io_error.
    static result<std::unique_ptr<lent_memory>> make(std::size_t size);
    lent_memory(const lent_memory&) = delete;
    lent_memory& operator=(const lent_memory&) = delete;
    ~lent_memory();

    int descriptor() const { return memory_.get(); }
    std::size_t size() const { return size_; }
    /// Bytes that take memory.
    std::size_t taken() const { return mapped_.size(); }
    /// The first `size` bytes, after keyd has filled them. What an earlier, much larger filling took goes back to the
    /// machine. Spans of earlier fillings are void. REQUIRES: size <= size(). no_space, io_error.
    result<bytes_span> filled(std::size_t size);

  private:
    lent_memory(unique_fd memory, std::size_t size) : memory_(std::move(memory)), size_(size) {}
    result<void> map(std::size_t size);

    unique_fd memory_;
    std::size_t size_;
    bytes_span mapped_;  // whole pages from the beginning
};

/// Lent memory that is not in use, up to a bound; beyond it what was used longest ago goes. Any thread.
class memory_shelf {
  public:
    /// At least `size` bytes: of memory that has been filled with as much before the one that takes least, else the one
    /// that takes most, else fresh memory. bad_argument (more than pad_window_size_max), no_space,
    /// io_error.
    result<std::unique_ptr<lent_memory>> take(std::size_t size);
    /// REQUIRES: keyd has answered, so that it writes no more, and the key in it is wiped.
    void put_back(std::unique_ptr<lent_memory> memory);

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<lent_memory>> unused_;  // in the order in which they came back
    std::size_t taken_ = 0;                             // by all of them, bytes
};

/// For keyd: `fd` is a memory descriptor of at least `size` bytes, no larger than any window, which keyd may write and
/// nobody can resize or seal further. bad_argument; busy when there is none, as this process has no room for it.
result<void> check_lent_memory(int fd, std::uint64_t size);

}  // namespace warifu
