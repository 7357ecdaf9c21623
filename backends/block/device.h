#pragma once
// A raw block device or a file, addressed by sector. Non-virtual checks around a virtual implementation, so that tests
// can put a device below the store that fails, forgets or tears (crash_device.h).

#include "backends/block/layout.h"
#include "backends/block/ring.h"
#include "fs/base/buffer.h"

namespace warifu {

/// Sectors and the memory for them, which is 4 KiB aligned and as long.
struct sector_io {
    std::uint64_t first = 0;
    std::vector<bytes_span> into;
};
struct sector_output {
    std::uint64_t first = 0;
    std::vector<bytes_view> from;
};

/// Thread: one core thread. Memory stays the caller's until the call answers.
class device {
  public:
    virtual ~device() = default;

    std::uint64_t sector_count() const { return sector_count_; }

    /// Errors: io_error. REQUIRES: inside of the device.
    task<> read(std::vector<sector_io> list);
    task<> write(std::vector<sector_output> list);
    task<> write_zeros(extent where);
    /// Makes durable what was answered before.
    task<> flush();

    task<buffer> read_sectors(extent where);

    std::uint64_t flush_count() const { return flush_count_; }
    std::uint64_t bytes_written() const { return bytes_written_; }
    std::uint64_t bytes_read() const { return bytes_read_; }

  protected:
    explicit device(std::uint64_t sector_count) : sector_count_(sector_count) {}
    virtual task<> do_run(std::vector<transfer> transfers) = 0;
    virtual task<> do_flush() = 0;

  private:
    void check(const transfer& one) const;

    std::uint64_t sector_count_;
    std::uint64_t flush_count_ = 0;
    std::uint64_t bytes_written_ = 0;
    std::uint64_t bytes_read_ = 0;
};

/// A file or block device through io_uring and, where the file system can, O_DIRECT. Locked against a second opener
/// (flock).
class file_device final : public device {
  public:
    /// Errors: not_found, busy (open elsewhere), bad_argument (neither a file nor a block device), io_error.
    static result<std::unique_ptr<file_device>> open(asio::any_io_executor executor, const std::string& path);
    ~file_device() override;
    bool is_direct() const { return direct_; }

  private:
    file_device(int fd, std::uint64_t sector_count, bool direct, std::shared_ptr<ring> r);
    task<> do_run(std::vector<transfer> transfers) override { return ring_->run(std::move(transfers)); }
    task<> do_flush() override { return ring_->flush(); }

    int fd_;
    bool direct_;
    std::shared_ptr<ring> ring_;
};

/// An open descriptor of `path` and its size; the flags that store files are opened with. Closed by the owner.
struct store_file {
    int fd = -1;
    std::uint64_t size = 0;
    bool direct = false;
    bool is_block_device = false;

    store_file() = default;
    store_file(store_file&& other) noexcept;
    store_file& operator=(store_file&& other) noexcept;
    ~store_file();
};
/// `create_size` > 0: a missing file is made with that size (sparse); an existing empty one is given it. Blocks for
/// three seconds before it says that another process holds the file (busy): the kernel ends the io_uring of a process
/// that was killed some time after the process.
result<store_file> open_store_file(const std::string& path, std::uint64_t create_size);

}  // namespace warifu
