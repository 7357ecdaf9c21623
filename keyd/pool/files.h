#pragma once
// The few file operations that the key store needs, with errors that name the file.

#include <string>

#include "fs/base/bytes.h"
#include "fs/base/error.h"

namespace warifu {

/// Owns a file descriptor; -1 is none.
class unique_fd {
  public:
    unique_fd() = default;
    explicit unique_fd(int fd) : fd_(fd) {}
    unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept;
    unique_fd(const unique_fd&) = delete;
    unique_fd& operator=(const unique_fd&) = delete;
    ~unique_fd() { reset(); }

    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }
    void reset();

  private:
    int fd_ = -1;
};

/// "io_error: cannot WHAT PATH: No space left on device" from errno; no_space, not_found and denied keep their codes.
std::unexpected<error> fail_errno(std::string_view what, const std::string& path);

result<unique_fd> open_file(const std::string& path, int flags, unsigned mode = 0600);
/// All of `out` or an error (bad_format where the file ends early).
result<void> read_at(int fd, std::uint64_t offset, bytes_span out, const std::string& path);
result<void> write_at(int fd, std::uint64_t offset, bytes_view bytes, const std::string& path);
result<std::uint64_t> file_size(int fd, const std::string& path);
result<void> sync_data(int fd, const std::string& path);
result<void> sync_directory(const std::string& path);
result<void> make_directory(const std::string& path);
result<void> rename_file(const std::string& from, const std::string& to);
/// Puts `bytes` in the place of what PATH held, all at once and durably: written beside, flushed, renamed, the
/// directory flushed. In two steps for those who have something to do between them: PATH.tmp is written, and takes
/// PATH's name.
result<void> replace_file(const std::string& path, bytes_view bytes);
result<void> write_beside(const std::string& path, bytes_view bytes);
result<void> put_in_place(const std::string& path);
/// A missing file is no error.
result<void> remove_file(const std::string& path);

/// Whether whole pages of a file lie on a disk and nothing of them in the machine's memory. Pages that reach beyond the
/// range do not count: what lies beside it may have been read.
bool is_cold(int fd, std::uint64_t offset, std::uint64_t size);
/// read_at past the machine's memory where the file system can and `offset` and `out` begin with a page; for cold bytes
/// that nobody will read again. Sets O_DIRECT on `fd` meanwhile, and for good that nothing is read ahead.
result<void> read_cold(int fd, std::uint64_t offset, bytes_span out, const std::string& path);

/// Overwrites [offset, offset + size) with zeros, makes that durable, then gives the space back (a hole) where the file
/// system can: memory of a tmpfs is freed. What is in the machine's memory is overwritten there too. On flash the
/// overwriting is no proof of erasure. Sets O_DIRECT on `fd` meanwhile.
result<void> erase_range(int fd, std::uint64_t offset, std::uint64_t size, const std::string& path);

}  // namespace warifu
