#pragma once
// Names in directories: chains of names whose hashes collide.
//
// A name's place is (directory, cookie), cookie = hash << 8 | collision number. The record at collision number 0 begins
// the chain and says the highest number that is in use; when its name goes while others stay, a placeholder keeps the
// place. So looking a name up is one point read unless hashes collide, and cookies never move.

#include <optional>
#include <string_view>

#include "fs/metadata/store.h"

namespace warifu {

/// Where a name is, or would go.
struct name_slot {
    inode_number directory = 0;
    std::uint64_t first_cookie = 0;
    std::optional<entry_record> first;  // what stands at collision number 0
    std::optional<entry_record> found;  // the name's own record
    std::uint64_t cookie = 0;           // of `found`
};

/// bad_argument for an empty name, "." or "..", or one with '/' or NUL; name_too_long.
result<void> check_name(std::string_view name);

result<name_slot> find_name(const metadata_store& store, inode_number directory, std::uint64_t first_cookie,
                            std::string_view name);
result<name_slot> find_name(const transaction& tx, inode_number directory, std::uint64_t first_cookie,
                            std::string_view name);

/// Adds a name. REQUIRES: `slot` was found in this transaction's state, without the name. no_space when 256 names
/// collide.
result<void> insert_name(transaction& tx, const name_slot& slot, std::string_view name, inode_number number,
                         std::uint32_t type);
/// Lets an existing name lead elsewhere; its cookie stays. REQUIRES: slot.found.
void repoint_name(transaction& tx, const name_slot& slot, inode_number number, std::uint32_t type);
/// Removes a name. REQUIRES: slot.found, found in this transaction's state.
result<void> erase_name(transaction& tx, const name_slot& slot);

}  // namespace warifu
