#pragma once
// Key for the bytes that a mount accepts (contract D2): asks keyd to set it aside ahead of what programs write, and
// tells the file system how far it may go.

#include <memory>

#include "fs/async/wait.h"
#include "fs/files/file_system.h"
#include "tools/volume_session.h"

namespace warifu {

/// Core thread. Session and file system outlive it, up to the end of stop().
class key_reserve {
  public:
    key_reserve(asio::any_io_executor core, volume_session& session, file_system& files);
    awaitable<void> stop();

  private:
    awaitable<void> run();
    /// Bytes: what is not at the sites, and what may come before the next time. 0: nobody has written for a while.
    std::uint64_t target(file_system::intake now, bool wanted);
    bool is_given_up() const;
    awaitable<steady_clock::duration> ask(bool wanted);

    volume_session& session_;
    file_system& files_;
    std::shared_ptr<event> wanted_;
    event ended_;
    std::uint64_t came_ = 0, asked_ = 0;  // at the last time
    deadline wrote_at_{};
    bool stopping_ = false;
};

}  // namespace warifu
