#pragma once
// A process answers questions about itself on a Unix socket: one line of JSON in, one out. The mount offers it as
// RUN/mount.sock; `warifu status` and `warifu umount` ask.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "fs/async/asio.h"
#include "fs/base/clock.h"
#include "fs/config/json_node.h"

namespace warifu {

using control_handler = std::function<task<ordered_json>(std::string command)>;

/// Listens until destroyed; removes the socket then. Core thread. Only this user and root are answered.
class control_server {
  public:
    /// A stale socket of a process that ended is replaced; busy: somebody answers there. io_error with the path.
    static result<std::unique_ptr<control_server>> listen(asio::io_context& core, const std::filesystem::path& socket,
                                                          control_handler handler);
    virtual ~control_server() = default;
};

/// Asks and waits. Any thread that is no core thread. Errors: unreachable (nobody listens), timed_out, bad_format, or
/// what the other side said.
result<ordered_json> ask_control(const std::filesystem::path& socket, const std::string& command,
                                 std::chrono::milliseconds timeout);

}  // namespace warifu
