#include "keyd/local_socket.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

#include "fs/async/wait.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

constexpr int listen_backlog = 64;
constexpr int send_buffer_size = 1 << 20;

/// An address for a path of any length: a long one is reached through its directory's descriptor.
struct local_address {
    sockaddr_un name{};
    unique_fd directory;
};

result<local_address> address_of(const std::string& path) {
    local_address out;
    out.name.sun_family = AF_UNIX;
    std::string text = path;
    if (text.size() >= sizeof out.name.sun_path) {
        const auto slash = path.rfind('/');
        const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
        TRY(out.directory, open_file(parent, O_PATH | O_DIRECTORY));
        text = "/proc/self/fd/" + std::to_string(out.directory.get()) + "/" + path.substr(slash + 1);
        if (text.size() >= sizeof out.name.sun_path) return fail(errc::bad_argument, "the name is too long: " + path);
    }
    std::memcpy(out.name.sun_path, text.c_str(), text.size() + 1);
    return out;
}

result<unique_fd> make_socket() {
    unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.is_open()) return fail_errno("make", "a local socket");
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &send_buffer_size, sizeof send_buffer_size);
    return fd;
}

}  // namespace

result<unique_fd> connect_local(const std::string& path) {
    const auto address = address_of(path);
    if (!address) return fail(errc::unreachable, address.error().text);
    TRY(unique_fd fd, make_socket());
    const auto* name = reinterpret_cast<const sockaddr*>(&address->name);
    if (::connect(fd.get(), name, sizeof address->name) != 0) {
        const errc code = errno == EACCES || errno == EPERM ? errc::denied : errc::unreachable;
        return fail(code, "no key manager answers at " + path + ": " + std::strerror(errno));
    }
    return fd;
}

result<unique_fd> listen_local(const std::string& path, std::optional<gid_t> group) {
    if (connect_local(path)) return fail(errc::busy, path + ": a key manager answers here already");
    struct stat status{};
    if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
        return fail(errc::busy, path + ": is there and is no socket");
    TRY_VOID(remove_file(path));
    TRY(const auto address, address_of(path));
    TRY(unique_fd fd, make_socket());
    // The socket is born with mode 0600: the umask is the process's, and keyd's other files want the same.
    const mode_t before = ::umask(0177);
    const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.name), sizeof address.name);
    const int code = errno;
    ::umask(before);
    errno = code;
    if (bound != 0) return fail_errno("listen at", path);
    if (group && (::chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0 || ::chmod(path.c_str(), 0660) != 0))
        return fail_errno("give to its group", path);
    if (::listen(fd.get(), listen_backlog) != 0) return fail_errno("listen at", path);
    return fd;
}

bool peer_is_trusted(int fd, std::optional<gid_t> group) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    if (peer.uid == ::geteuid() || peer.uid == 0) return true;
    if (!group) return false;
    if (peer.gid == *group) return true;
    std::vector<gid_t> groups(64);
    size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) != 0) return false;
    groups.resize(size / sizeof(gid_t));
    return std::ranges::count(groups, *group) != 0;
}

namespace {

/// The first descriptor that came along; any others are closed.
unique_fd take_descriptor(msghdr& message) {
    unique_fd taken;
    for (auto* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
            unique_fd one(fd);
            if (!taken.is_open()) taken = std::move(one);
        }
    }
    return taken;
}

}  // namespace

packet_socket::packet_socket(asio::any_io_executor executor, unique_fd fd)
    : descriptor_(std::move(executor), fd.release()), incoming_(keyd_message_size_max) {}

task<packet> packet_socket::receive() {
    for (;;) {
        if (!descriptor_.is_open()) co_return fail(errc::unreachable, "the connection is closed");
        const auto [ec] = co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, use_values);
        if (ec || !descriptor_.is_open()) co_return fail(errc::unreachable, "the connection is closed");
        iovec piece{incoming_.data(), incoming_.size()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t got = ::recvmsg(descriptor_.native_handle(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got <= 0) co_return fail(errc::unreachable, "the connection was lost");
        packet out;
        out.fd = take_descriptor(message);
        if ((message.msg_flags & MSG_TRUNC) != 0) co_return fail(errc::too_large, "a message is over the limit");
        const auto arrived = bytes_span(incoming_).first(static_cast<std::size_t>(got));
        out.bytes.assign(arrived.begin(), arrived.end());
        wipe(arrived);
        co_return out;
    }
}

task<> packet_socket::send(byte_vector bytes, int fd, std::chrono::milliseconds limit) {
    const auto until = steady_clock::now() + limit;
    for (;;) {
        if (!descriptor_.is_open()) co_return fail(errc::unreachable, "the connection is closed");
        iovec piece{bytes.data(), bytes.size()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        if (fd >= 0) {
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            auto* head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(sizeof(int));
            std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
        }
        const ssize_t put = ::sendmsg(descriptor_.native_handle(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        const int code = errno;
        if (put >= 0 || (code != EAGAIN && code != EINTR)) {
            wipe(bytes);
            if (put < 0)
                co_return fail(errc::unreachable, std::string("the connection was lost: ") + std::strerror(code));
            co_return result<void>{};
        }
        if (steady_clock::now() >= until) co_return fail(errc::timed_out, "the peer does not read its messages");
        // A full socket is rare: messages are small and replies are read at once.
        co_await sleep_for(std::chrono::milliseconds(1));
    }
}

void packet_socket::close() {
    if (!descriptor_.is_open()) return;
    boost::system::error_code ignored;
    descriptor_.close(ignored);
}

}  // namespace warifu
