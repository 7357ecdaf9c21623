#pragma once
// The kernel's connection of a mount that outlives its daemon: somebody else keeps the descriptor, and the next daemon
// goes on where the last one stopped.
//
// What libfuse does not know of is done below it, where it reads requests and writes replies: the kernel's first
// request (FUSE_INIT) is kept with its reply, because the kernel sends it once, and is played to each later daemon's
// session; each request's number is known to the redo log while its thread works on it, and each reply is noted there;
// and the kernel is asked to send again what had no reply (FUSE_NOTIFY_RESEND, Linux 6.9), marked by the number's
// highest bit.

#include <atomic>
#include <functional>
#include <memory>

#include "fs/files/redo_log.h"
#include "fs/mount/session.h"

namespace warifu {

class kept_connection {
  public:
    /// `keep` is given the descriptor once the kernel said that it can send requests again.
    kept_connection(std::shared_ptr<redo_log> log, std::function<void(int)> keep);

    /// A session that was just mounted.
    result<void> attach(fuse_session* session);
    /// A session that goes on with the mount behind `fd`. conflict when this program would have answered the kernel's
    /// first request otherwise than the one that did.
    result<void> resume(fuse_session* session, int fd);
    /// The kernel sends what has no reply to whoever reads next.
    result<void> ask_again();
    /// Whether the mount is gone already.
    bool is_unmounted() const;
    int descriptor() const { return fd_; }

  private:
    // libfuse's; `session` is a mount_session.
    static ssize_t read_request(int fd, void* bytes, std::size_t size, void* session);
    static ssize_t write_reply(int fd, iovec* parts, int count, void* session);
    result<void> use(fuse_session* session, int fd);
    void note_greeting(bytes_view request);
    ssize_t note_greeting_reply(int fd, iovec* parts, int count);

    const std::shared_ptr<redo_log> log_;
    const std::function<void(int)> keep_;
    int fd_ = -1;
    std::atomic<std::uint64_t> greeting_ = 0;  // the number of FUSE_INIT, until it is answered
    // Written before there are threads, or by the one that answers FUSE_INIT.
    bool can_resend_ = false, playing_ = false, played_well_ = false;
};

inline constexpr std::uint64_t resend_bit = 1ULL << 63U;

}  // namespace warifu
