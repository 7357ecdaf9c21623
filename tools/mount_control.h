#pragma once
// A mount's word to others: what it says on its control socket, and the alarms that it raises.

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <string>

#include "fs/config/json_node.h"
#include "fs/files/file_system.h"
#include "fs/mount/mount.h"
#include "tools/mount_alarm.h"
#include "tools/mount_options.h"
#include "tools/volume_session.h"

namespace warifu {

/// What the mount says of itself on its control socket. Core thread.
class mount_control {
  public:
    mount_control(volume_session& session, file_system& files, std::string mountpoint,
                  std::shared_ptr<mount_health> health);
    /// "status" and "sync"; bad_argument for anything else.
    task<ordered_json> answer(std::string command);

  private:
    task<ordered_json> sync();
    task<ordered_json> status();
    ordered_json collected();

    volume_session& session_;
    file_system& files_;
    const std::string mountpoint_;
    const std::shared_ptr<mount_health> health_;
    asio::thread_pool worker_{1};  // calls into the file system and the volume may wait for RocksDB
};

/// Looks every two seconds and tells the alarm's program. Core thread, but for the program's.
class mount_watcher {
  public:
    mount_watcher(asio::io_context& core, volume_session& session, const parsed_mount_options& options,
                  std::shared_ptr<mount_health> health);
    awaitable<void> stop();

  private:
    awaitable<void> run();

    volume_session& session_;
    const std::shared_ptr<mount_health> health_;
    const bool read_only_;
    alarm_state state_;
    alarm_runner runner_;
    event stop_, ended_;
};

}  // namespace warifu
