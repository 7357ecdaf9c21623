#include "fs/mount/connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

namespace warifu {
namespace {

// Newer than Debian 12's <linux/fuse.h>.
constexpr std::uint32_t has_resend = 1U << (39 - 32);  // FUSE_HAS_RESEND, in flags2
constexpr int notify_resend = 7;                       // FUSE_NOTIFY_RESEND

bytes_view of(const iovec& part) {
    return {static_cast<const std::byte*>(part.iov_base), part.iov_len};
}

}  // namespace

kept_connection::kept_connection(std::shared_ptr<redo_log> log, std::function<void(int)> keep)
    : log_(std::move(log)), keep_(std::move(keep)) {}

result<void> kept_connection::use(fuse_session* session, int fd) {
    fd_ = fd;
    fuse_custom_io io{};
    io.read = read_request;
    io.writev = write_reply;
    const int code = fuse_session_custom_io(session, &io, fd);
    if (code != 0) return fail(errc::io_error, fmt::format("libfuse: {}", std::strerror(-code)));
    return {};
}

result<void> kept_connection::attach(fuse_session* session) {
    return use(session, fuse_session_fd(session));
}

result<void> kept_connection::resume(fuse_session* session, int fd) {
    TRY_VOID(use(session, fd));
    byte_vector first(log_->greeting().begin(), log_->greeting().end());
    if (first.size() < sizeof(fuse_in_header)) return fail(errc::bad_format, "the kernel's first request was not kept");
    note_greeting(first);
    playing_ = true;
    fuse_buf request{};
    request.size = first.size();
    request.mem = first.data();
    fuse_session_process_buf(session, &request);
    playing_ = false;
    if (!played_well_)
        return fail(errc::conflict, "this version cannot go on with the mount of the one before: umount and mount");
    return {};
}

result<void> kept_connection::ask_again() {
    fuse_out_header ask{};
    ask.len = sizeof ask;
    ask.error = notify_resend;
    if (::write(fd_, &ask, sizeof ask) == static_cast<ssize_t>(sizeof ask)) {
        log_->asked_again();
        return {};
    }
    return fail(errc::unsupported, fmt::format("the kernel does not send requests again: {}", std::strerror(errno)));
}

bool kept_connection::is_unmounted() const {
    pollfd look{fd_, 0, 0};
    return ::poll(&look, 1, 0) > 0 && (look.revents & POLLERR) != 0;
}

void kept_connection::note_greeting(bytes_view request) {
    fuse_in_header head{};
    fuse_init_in wanted{};
    std::memcpy(&head, request.data(), sizeof head);
    std::memcpy(&wanted, request.data() + sizeof head, std::min(sizeof wanted, request.size() - sizeof head));
    can_resend_ = (wanted.flags & FUSE_INIT_EXT) != 0 && (wanted.flags2 & has_resend) != 0;
    greeting_ = head.unique;
}

ssize_t kept_connection::read_request(int fd, void* bytes, std::size_t size, void* session) {
    auto& mine = *static_cast<mount_session*>(session)->connection;
    redo_log::work_on(0);
    const ssize_t got = ::read(fd, bytes, size);
    if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) return got;
    fuse_in_header head{};
    std::memcpy(&head, bytes, sizeof head);
    redo_log::work_on(head.unique & ~resend_bit);
    if (head.opcode == FUSE_INIT && static_cast<std::size_t>(got) <= redo_greeting_size_max) {
        const bytes_view request(static_cast<const std::byte*>(bytes), static_cast<std::size_t>(got));
        mine.log_->keep_greeting(request);
        mine.note_greeting(request);
    }
    return got;
}

ssize_t kept_connection::write_reply(int fd, iovec* parts, int count, void* session) {
    auto& mine = *static_cast<mount_session*>(session)->connection;
    fuse_out_header head{};
    if (count > 0 && parts[0].iov_len >= sizeof head) std::memcpy(&head, parts[0].iov_base, sizeof head);
    if (head.unique != 0 && head.unique == mine.greeting_.load()) return mine.note_greeting_reply(fd, parts, count);
    const ssize_t written = ::writev(fd, parts, count);
    const int code = errno;
    // ENOENT: nobody waits for it any more.
    if (head.unique != 0 && (written >= 0 || code == ENOENT)) mine.log_->answered(head.unique & ~resend_bit);
    errno = code;
    return written;
}

ssize_t kept_connection::note_greeting_reply(int fd, iovec* parts, int count) {
    byte_vector reply;
    for (int i = 0; i < count; ++i) {
        const bytes_view part = of(parts[i]);
        reply.insert(reply.end(), part.begin(), part.end());
    }
    if (playing_) {  // the kernel has had its reply long ago
        played_well_ = std::ranges::equal(reply, log_->greeting_reply());
        greeting_ = 0;
        return static_cast<ssize_t>(reply.size());
    }
    greeting_ = 0;
    const ssize_t written = ::writev(fd, parts, count);
    if (written < 0 || reply.size() > redo_greeting_size_max) return written;
    log_->keep_greeting_reply(reply);
    if (can_resend_ && keep_) keep_(fd);
    return written;
}

}  // namespace warifu
