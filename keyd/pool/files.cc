#include "keyd/pool/files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <vector>

namespace warifu {
namespace {

constexpr std::size_t page_size = 4096;
constexpr std::size_t zeros_size = 128U << 10U;  // stays in a near cache
constexpr std::size_t zeros_per_write = 32;

alignas(page_size) constinit std::array<std::byte, zeros_size> zeros{};

/// O_DIRECT on a descriptor for as long as this lives, where its file system has that.
class direct_io {
  public:
    explicit direct_io(int fd) : fd_(fd), flags_(::fcntl(fd, F_GETFL)) {
        is_on_ = flags_ >= 0 && ::fcntl(fd, F_SETFL, flags_ | O_DIRECT) == 0;
    }
    direct_io(const direct_io&) = delete;
    direct_io& operator=(const direct_io&) = delete;
    ~direct_io() {
        if (is_on_) ::fcntl(fd_, F_SETFL, flags_);
    }
    bool is_on() const { return is_on_; }

  private:
    int fd_;
    int flags_;
    bool is_on_ = false;
};

std::uint64_t round_down(std::uint64_t value) {
    return value / page_size * page_size;
}

}  // namespace

unique_fd& unique_fd::operator=(unique_fd&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = other.release();
    }
    return *this;
}

void unique_fd::reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

std::unexpected<error> fail_errno(std::string_view what, const std::string& path) {
    const int code = errno;
    errc kind = errc::io_error;
    if (code == ENOSPC || code == EDQUOT) kind = errc::no_space;
    if (code == ENOENT) kind = errc::not_found;
    if (code == EACCES || code == EPERM) kind = errc::denied;
    return fail(kind, "cannot " + std::string(what) + " " + path + ": " + std::strerror(code));
}

result<unique_fd> open_file(const std::string& path, int flags, unsigned mode) {
    unique_fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
    if (!fd.is_open()) return fail_errno("open", path);
    return fd;
}

result<void> read_at(int fd, std::uint64_t offset, bytes_span out, const std::string& path) {
    while (!out.empty()) {
        const ssize_t got = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("read", path);
        if (got == 0) return fail(errc::bad_format, path + " ends early");
        out = out.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return {};
}

result<void> write_at(int fd, std::uint64_t offset, bytes_view bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return fail_errno("write", path);
        bytes = bytes.subspan(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return {};
}

result<std::uint64_t> file_size(int fd, const std::string& path) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return fail_errno("stat", path);
    return static_cast<std::uint64_t>(status.st_size);
}

result<void> sync_data(int fd, const std::string& path) {
    if (::fdatasync(fd) != 0) return fail_errno("flush", path);
    return {};
}

result<void> sync_directory(const std::string& path) {
    TRY(const unique_fd fd, open_file(path, O_RDONLY | O_DIRECTORY));
    if (::fsync(fd.get()) != 0) return fail_errno("flush", path);
    return {};
}

result<void> make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return fail_errno("create", path);
    return {};
}

result<void> rename_file(const std::string& from, const std::string& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) return fail_errno("rename", from);
    return {};
}

result<void> write_beside(const std::string& path, bytes_view bytes) {
    const std::string temporary = path + ".tmp";
    TRY(const unique_fd fd, open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW));
    TRY_VOID(write_at(fd.get(), 0, bytes, temporary));
    return sync_data(fd.get(), temporary);
}

result<void> put_in_place(const std::string& path) {
    TRY_VOID(rename_file(path + ".tmp", path));
    const auto slash = path.rfind('/');
    return sync_directory(slash == std::string::npos ? "." : path.substr(0, slash));
}

result<void> replace_file(const std::string& path, bytes_view bytes) {
    TRY_VOID(write_beside(path, bytes));
    return put_in_place(path);
}

result<void> remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("remove", path);
    return {};
}

bool is_cold(int fd, std::uint64_t offset, std::uint64_t size) {
    struct statfs system{};
    if (::fstatfs(fd, &system) != 0 || system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC) return false;
    const std::uint64_t begin = round_up(offset, page_size), end = round_down(offset + size);
    if (begin >= end) return false;
    const auto length = static_cast<std::size_t>(end - begin);
    void* place = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(begin));
    if (place == MAP_FAILED) return false;
    std::vector<unsigned char> pages(length / page_size);
    const bool known = ::mincore(place, length, pages.data()) == 0;
    ::munmap(place, length);
    return known && std::ranges::none_of(pages, [](unsigned char page) { return (page & 1U) != 0; });
}

result<void> read_cold(int fd, std::uint64_t offset, bytes_span out, const std::string& path) {
    std::size_t done = 0;
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // what has to go through memory takes nothing else there
    if (offset % page_size == 0 && reinterpret_cast<std::uintptr_t>(out.data()) % page_size == 0) {
        const direct_io direct(fd);
        const auto whole = static_cast<std::size_t>(round_down(out.size()));
        while (direct.is_on() && done < whole) {
            const ssize_t got = ::pread(fd, out.data() + done, whole - done, static_cast<off_t>(offset + done));
            if (got < 0 && errno == EINTR) continue;
            if (got < static_cast<ssize_t>(page_size)) break;
            done += static_cast<std::size_t>(round_down(static_cast<std::uint64_t>(got)));
        }
    }
    return read_at(fd, offset + done, out.subspan(done), path);  // the rest, and what went wrong
}

namespace {

result<void> overwrite(int fd, std::uint64_t offset, std::uint64_t end, const std::string& path) {
    for (; offset < end; offset += std::min<std::uint64_t>(zeros_size, end - offset)) {
        const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(zeros_size, end - offset));
        TRY_VOID(write_at(fd, offset, bytes_view(zeros).first(step), path));
    }
    return {};
}

/// Whole pages, past the machine's memory. Returns how far it came.
std::uint64_t overwrite_cold(int fd, std::uint64_t offset, std::uint64_t end) {
    const direct_io direct(fd);
    while (direct.is_on() && offset < end) {
        std::array<iovec, zeros_per_write> parts{};
        int count = 0;
        for (std::uint64_t at = offset; at < end && count < static_cast<int>(zeros_per_write); ++count) {
            const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(zeros_size, end - at));
            parts[static_cast<std::size_t>(count)] = {zeros.data(), step};
            at += step;
        }
        const ssize_t put = ::pwritev(fd, parts.data(), count, static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put < static_cast<ssize_t>(page_size)) break;
        offset += round_down(static_cast<std::uint64_t>(put));
    }
    return offset;
}

}  // namespace

result<void> erase_range(int fd, std::uint64_t offset, std::uint64_t size, const std::string& path) {
    const std::uint64_t end = offset + size;
    for (std::uint64_t at = offset; at < end;) {
        const std::uint64_t page_end = round_up(at, page_size);
        const std::uint64_t part_end = std::min(page_end == at ? at + zeros_per_write * zeros_size : page_end, end);
        std::uint64_t done = at;
        if (page_end == at && is_cold(fd, at, part_end - at)) done = overwrite_cold(fd, at, round_down(part_end));
        TRY_VOID(overwrite(fd, done, part_end, path));  // the rest, and what went wrong
        at = part_end;
    }
    TRY_VOID(sync_data(fd, path));
    // Not every file system can; the zeros are what counts.
    ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(size));
    return {};
}

}  // namespace warifu
