#pragma once
// The place of a mount: what is there, whether a mount can be made, its read-ahead.

#include <string>

#include "fs/base/error.h"

namespace warifu {

/// Why a mount at `path` would fail before the kernel is asked; detaches a dead mount (`*detached` then says so).
result<void> check_mountpoint(const std::string& path, bool* detached);

/// The kernel reads ahead 128 KiB by itself; a larger window lets it ask for several requests of 1 MiB at once. The
/// device number comes from mountinfo: a daemon never asks its own mount, because a crash meanwhile would leave a
/// process that cannot end. The kernel sets the window itself when it takes the reply to its first request, which is on
/// its way now, so the value is written until it stays.
void widen_read_ahead(const std::string& path);

}  // namespace warifu
