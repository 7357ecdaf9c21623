#pragma once
// Memory that a consumer of pads lends to its keyd, which fills it with key. It serves again and again: to get fresh
// memory from the machine costs more than the key that is copied into it.

#include <memory>
#include <mutex>
#include <vector>

#include "keyd/pool/files.h"

namespace warifu {

/// A memory descriptor of fixed size (sealed against resizing), mapped here for reading and writing.
class lent_memory {
  public:
    /// `size` bytes, which take no memory before they are touched. no_space, io_error.
    static result<std::unique_ptr<lent_memory>> make(std::size_t size);
    lent_memory(const lent_memory&) = delete;
    lent_memory& operator=(const lent_memory&) = delete;
    ~lent_memory();

    int descriptor() const { return memory_.get(); }
    std::size_t size() const { return bytes_.size(); }
    /// At most so many bytes take memory.
    std::size_t touched() const { return touched_; }
    /// The first `size` bytes, after keyd has filled them. What an earlier, much larger filling took goes back to the
    /// machine. REQUIRES: size <= size().
    bytes_span filled(std::size_t size);

  private:
    lent_memory(unique_fd memory, bytes_span bytes) : memory_(std::move(memory)), bytes_(bytes) {}

    unique_fd memory_;
    bytes_span bytes_;
    std::size_t touched_ = 0;
};

/// Lent memory that is not in use, up to a bound; beyond it what was used longest ago goes. Any thread.
class memory_shelf {
  public:
    /// At least `size` bytes, which need not be touched: those that took least memory of what has served for as much
    /// before, else those that took most, else fresh ones. bad_argument (more than pad_window_size_max), no_space,
    /// io_error.
    result<std::unique_ptr<lent_memory>> take(std::size_t size);
    /// REQUIRES: keyd has answered, so that it writes no more, and the key in it is wiped.
    void put_back(std::unique_ptr<lent_memory> memory);

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<lent_memory>> unused_;  // in the order in which they came back
    std::size_t touched_ = 0;                           // of all of them
};

/// For keyd: `fd` is a memory descriptor of at least `size` bytes, no larger than any window, which keyd may write and
/// nobody can resize or seal further. bad_argument; busy when there is none, as this process has no room for it.
result<void> check_lent_memory(int fd, std::uint64_t size);

}  // namespace warifu
