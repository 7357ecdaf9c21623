#include "keyd/pool/files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace warifu {

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

result<void> erase_range(int fd, std::uint64_t offset, std::uint64_t size, const std::string& path) {
    static const std::vector<std::byte> zeros(128U << 10U);  // read from a near cache
    for (std::uint64_t done = 0; done < size;) {
        const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(zeros.size(), size - done));
        TRY_VOID(write_at(fd, offset + done, bytes_view(zeros).first(step), path));
        done += step;
    }
    TRY_VOID(sync_data(fd, path));
    // Not every file system can; the zeros are what counts.
    ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(size));
    return {};
}

}  // namespace warifu
