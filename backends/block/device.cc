#include "backends/block/device.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr auto held_wait = std::chrono::seconds(3);
constexpr auto held_look_interval = std::chrono::milliseconds(50);

result<void> os_failure(const std::string& path, int code) {
    const errc kind = code == ENOENT                     ? errc::not_found
                      : code == EACCES || code == EPERM  ? errc::denied
                      : code == ENOSPC                   ? errc::no_space
                      : code == EBUSY || code == ETXTBSY ? errc::busy
                                                         : errc::io_error;
    return fail(kind, path + ": " + std::strerror(code));
}

const buffer& zeros() {
    static const buffer bytes = buffer::zeroed(erase_step_size);
    return bytes;
}

/// What a file says of direct I/O: true when 4 KiB alignment is enough.
bool can_be_direct(int fd) {
    struct statx info{};
#ifdef STATX_DIOALIGN
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 && (info.stx_mask & STATX_DIOALIGN) != 0)
        return info.stx_dio_offset_align != 0 && info.stx_dio_offset_align <= sector_size &&
               info.stx_dio_mem_align <= sector_size;
#else
    static_cast<void>(info);
    static_cast<void>(fd);
#endif
    return true;  // older kernels do not tell; opening with O_DIRECT decides
}

result<void> find_size(const std::string& path, store_file& file) {
    struct stat info{};
    if (::fstat(file.fd, &info) != 0) return os_failure(path, errno);
    if (S_ISREG(info.st_mode)) {
        file.size = static_cast<std::uint64_t>(info.st_size);
        return {};
    }
    if (!S_ISBLK(info.st_mode)) return fail(errc::bad_argument, path + ": neither a file nor a block device");
    file.is_block_device = true;
    if (::ioctl(file.fd, BLKGETSIZE64, &file.size) != 0) return os_failure(path, errno);
    return {};
}

result<store_file> try_open(const std::string& path, std::uint64_t create_size) {
    store_file file;
    struct stat info{};
    const bool is_block = ::stat(path.c_str(), &info) == 0 && S_ISBLK(info.st_mode);
    const int create = create_size > 0 && !is_block ? O_CREAT : 0;
    const int exclusive = is_block ? O_EXCL : 0;  // refuses what is mounted
    const int flags = O_RDWR | O_CLOEXEC | create | exclusive;
    file.fd = ::open(path.c_str(), flags | O_DIRECT, 0600);
    file.direct = file.fd >= 0;
    if (file.fd < 0 && errno == EINVAL) file.fd = ::open(path.c_str(), flags, 0600);
    if (file.fd < 0) return fail(os_failure(path, errno).error());
    if (::flock(file.fd, LOCK_EX | LOCK_NB) != 0)
        return fail(errc::busy, path + ": this store is open in another process");
    TRY_VOID(find_size(path, file));
    if (file.size == 0 && create_size > 0 && !file.is_block_device) {
        if (::ftruncate(file.fd, static_cast<off_t>(create_size)) != 0) return fail(os_failure(path, errno).error());
        file.size = create_size;
    }
    if (file.direct && !can_be_direct(file.fd)) {
        ::fcntl(file.fd, F_SETFL, O_RDWR);
        file.direct = false;
    }
    return file;
}

}  // namespace

store_file::store_file(store_file&& other) noexcept
    : fd(std::exchange(other.fd, -1)), size(other.size), direct(other.direct), is_block_device(other.is_block_device) {}

store_file& store_file::operator=(store_file&& other) noexcept {
    std::swap(fd, other.fd);
    size = other.size;
    direct = other.direct;
    is_block_device = other.is_block_device;
    return *this;
}

store_file::~store_file() {
    if (fd >= 0) ::close(fd);
}

result<store_file> open_store_file(const std::string& path, std::uint64_t create_size) {
    const auto until = std::chrono::steady_clock::now() + held_wait;
    for (;;) {
        auto file = try_open(path, create_size);
        if (file || file.error().code != errc::busy || std::chrono::steady_clock::now() >= until) return file;
        std::this_thread::sleep_for(held_look_interval);
    }
}

void device::check(const transfer& one) const {
    std::uint64_t size = 0;
    for (const iovec& part : one.parts) {
        WARIFU_ASSERT(part.iov_len != 0 && part.iov_len % sector_size == 0);
        WARIFU_ASSERT(reinterpret_cast<std::uintptr_t>(part.iov_base) % sector_size == 0);
        size += part.iov_len;
    }
    WARIFU_ASSERT(one.offset % sector_size == 0 && one.parts.size() <= IOV_MAX);
    WARIFU_ASSERT(one.offset <= sector_count_ * sector_size && size <= sector_count_ * sector_size - one.offset);
}

task<> device::read(std::vector<sector_io> list) {
    std::vector<transfer> transfers;
    for (const sector_io& one : list) {
        transfer t;
        t.offset = one.first * sector_size;
        for (const bytes_span part : one.into) {
            t.parts.push_back(iovec{part.data(), part.size()});
            bytes_read_ += part.size();
        }
        check(t);
        transfers.push_back(std::move(t));
    }
    return do_run(std::move(transfers));
}

task<> device::write(std::vector<sector_output> list) {
    std::vector<transfer> transfers;
    for (const sector_output& one : list) {
        transfer t;
        t.is_write = true;
        t.offset = one.first * sector_size;
        for (const bytes_view part : one.from) {
            // iovec knows no const; a write does not change its memory
            t.parts.push_back(iovec{const_cast<std::byte*>(part.data()), part.size()});
            bytes_written_ += part.size();
        }
        check(t);
        transfers.push_back(std::move(t));
    }
    return do_run(std::move(transfers));
}

task<> device::write_zeros(extent where) {
    std::vector<sector_output> list;
    for (std::uint64_t at = where.first; at < where.end();) {
        const std::uint64_t count = std::min<std::uint64_t>(where.end() - at, erase_step_size / sector_size);
        sector_output one;
        one.first = at;
        one.from.push_back(zeros().view(0, count * sector_size));
        list.push_back(std::move(one));
        at += count;
    }
    return write(std::move(list));
}

task<> device::flush() {
    ++flush_count_;
    return do_flush();
}

task<buffer> device::read_sectors(extent where) {
    buffer out(where.count * sector_size);
    std::vector<sector_io> list(1);
    list[0].first = where.first;
    list[0].into.push_back(out.span());
    CO_TRY_VOID(co_await read(std::move(list)));
    co_return out;
}

file_device::file_device(int fd, std::uint64_t sector_count, bool direct, std::shared_ptr<ring> r)
    : device(sector_count), fd_(fd), direct_(direct), ring_(std::move(r)) {}

file_device::~file_device() {
    ring_.reset();
    ::flock(fd_, LOCK_UN);  // the kernel lets go of a ring's files some time after the ring is gone
    ::close(fd_);
}

result<std::unique_ptr<file_device>> file_device::open(asio::any_io_executor executor, const std::string& path) {
    TRY(store_file file, open_store_file(path, 0));
    TRY(auto r, ring::make(std::move(executor), file.fd));
    const int fd = std::exchange(file.fd, -1);
    return std::unique_ptr<file_device>(new file_device(fd, file.size / sector_size, file.direct, std::move(r)));
}

}  // namespace warifu
