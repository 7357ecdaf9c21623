#pragma once
// POSIX access control lists as the kernel's extended attributes carry them (linux/posix_acl_xattr.h: little-endian;
// version 2, then entries of tag, permissions, id). The kernel enforces them; the file system keeps them in step with
// the mode bits: the mode's group bits are the list's mask (IEEE 1003.1e draft 17, section 23.1).

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"

namespace warifu {

inline constexpr std::string_view acl_access_name = "system.posix_acl_access";
inline constexpr std::string_view acl_default_name = "system.posix_acl_default";

class posix_acl {
  public:
    /// bad_argument unless it is a well-formed list: one owner, one group, one other entry, a mask if anybody is named.
    static result<posix_acl> decode(std::string_view value);
    std::string encode() const;

    /// Nothing but what the mode bits say.
    bool is_minimal() const { return entries_.size() == 3; }
    /// The nine permission bits that belong to it.
    std::uint32_t mode() const;
    /// Takes the permissions of owner, mask (or group) and others from a mode.
    void set_mode(std::uint32_t mode);
    /// As the default list of a directory: becomes the access list of a new file that asks for `mode`. Returns the
    /// file's mode.
    std::uint32_t inherit(std::uint32_t mode);
    using id_translation = std::function<std::optional<std::uint32_t>(std::uint32_t)>;
    /// Puts other numbers in place of those of named users and groups; bad_argument when one has no other.
    result<void> map_ids(const id_translation& users, const id_translation& groups);

  private:
    struct entry {
        std::uint16_t tag = 0, permissions = 0;
        std::uint32_t id = 0;
    };
    entry& find(std::uint16_t tag);
    const entry* find_if_there(std::uint16_t tag) const;
    std::vector<entry> entries_;
};

}  // namespace warifu
