#pragma once
// What `warifu status` shows: the mount's own word, the servers and the keyds put together; every part of it may be
// down.

#include "fs/config/json_node.h"
#include "tools/deployment.h"

namespace warifu {

/// The document of `status --json`. Fields that nobody can tell now are null. Also: healthy (everything is up), usable
/// (mounted, and enough sites to read).
result<ordered_json> status_report(const volume_place& place);

/// The same for people.
std::string status_table(const ordered_json& report);

}  // namespace warifu
