#pragma once
// A mount that keeps names and discards data: what FUSE and fs/files alone can do on this machine, for `warifu bench`.

#include <filesystem>

#include "tools/cli.h"
#include "tools/process.h"

namespace warifu {

class discard_mount {
  public:
    /// Mounts at `path`, which is made.
    static result<discard_mount> start(const std::filesystem::path& path);
    discard_mount(discard_mount&& other) noexcept : path_(std::exchange(other.path_, {})), process_(other.process_) {}
    discard_mount& operator=(discard_mount&& other) noexcept;
    discard_mount(const discard_mount&) = delete;
    discard_mount& operator=(const discard_mount&) = delete;
    /// Unmounts and waits.
    ~discard_mount();

    const std::filesystem::path& path() const { return path_; }

  private:
    discard_mount(std::filesystem::path path, process_identity process) : path_(std::move(path)), process_(process) {}
    std::filesystem::path path_;
    process_identity process_;
};

/// The process behind it; not shown by --help.
void add_discard_mount_command(cli& c);

}  // namespace warifu
