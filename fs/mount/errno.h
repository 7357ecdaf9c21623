#pragma once
// The one place where errors become errno.

#include "fs/base/error.h"

namespace warifu {

/// A positive errno for the reply to a request. `reading`: the request only reads, so that lack of key shows as a
/// time-out and not as a full disk (contract A2).
int to_errno(const error& why, bool reading = false);

}  // namespace warifu
