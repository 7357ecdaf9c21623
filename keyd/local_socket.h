#pragma once
// Local SOCK_SEQPACKET sockets with peer credentials and descriptors in passing, for coroutines of one core thread.

#include <optional>
#include <string>
#include <sys/types.h>

#include "fs/async/asio.h"
#include "fs/base/bytes.h"
#include "keyd/pool/files.h"

namespace warifu {

/// Listens at `path` with mode 0600, or 0660 and the group's id. A socket that nobody answers on is replaced.
/// Errors: busy (somebody answers there), denied, io_error; the text names the path. Any length of path will do.
result<unique_fd> listen_local(const std::string& path, std::optional<gid_t> group);
/// unreachable when nobody listens at `path`.
result<unique_fd> connect_local(const std::string& path);
/// Whether the peer is this user, root, or in `group` (SO_PEERCRED, SO_PEERGROUPS).
bool peer_is_trusted(int fd, std::optional<gid_t> group);

struct packet {
    byte_vector bytes;
    unique_fd fd;  // at most one came along
};

/// One end of a connection. Core thread only; one coroutine may receive, any number may send.
class packet_socket {
  public:
    packet_socket(asio::any_io_executor executor, unique_fd fd);
    /// unreachable when the connection is closed; too_large.
    task<packet> receive();
    /// Sends one packet, with a descriptor if `fd` is open (it stays the caller's while this runs). unreachable;
    /// timed_out.
    task<> send(byte_vector bytes, int fd, std::chrono::milliseconds limit);
    /// Ends receive() and send() with unreachable.
    void close();
    bool is_open() const { return descriptor_.is_open(); }

  private:
    asio::posix::stream_descriptor descriptor_;
    byte_vector incoming_;  // where packets arrive; wiped after each
};

}  // namespace warifu
