#pragma once
// What the parts of name_space share.

#include <algorithm>
#include <map>
#include <sys/stat.h>

#include "fs/metadata/entries.h"
#include "fs/metadata/name_space.h"
#include "fs/metadata/store.h"

namespace warifu {

class name_space::impl {
  public:
    impl(rocksdb::DB& db, std::uint64_t mask) : store(db), hash_mask(mask) {}

    /// Finds a name, for readers (metadata_store) and for transactions.
    template <typename Reader>
    result<name_slot> find(const Reader& from, inode_number directory, std::string_view name) const {
        const std::uint64_t cookie = std::max<std::uint64_t>(first_cookie(store.hash_key(), name) & hash_mask, 256);
        return find_name(from, directory, cookie & ~std::uint64_t{255}, name);
    }
    /// Extents of [offset, offset + size), unclipped.
    result<std::vector<extent>> extents(inode_number number, std::uint64_t offset, std::uint64_t size) const;
    result<inode> replace_extents(transaction& tx, const inode& changed, std::uint64_t offset, std::uint64_t size,
                                  const std::vector<extent>& fresh);

    metadata_store store;
    const std::uint64_t hash_mask;
    /// Where forget_orphan goes on, by inode; only a shortcut over what is removed already. Guarded by the namespace
    /// lock.
    std::map<inode_number, std::uint64_t> forgotten_up_to;
    std::uint64_t opened_sequence = 0;
};

inline bool is_directory(const inode& i) {
    return S_ISDIR(i.mode);
}

inline std::uint64_t saturating_end(std::uint64_t offset, std::uint64_t size) {
    return size > ~offset ? ~std::uint64_t{0} : offset + size;
}

/// The directory as a parent for new names: not_directory, or not_found when it is itself removed.
result<inode> get_parent(const transaction& tx, inode_number number);
/// A change of a directory's names at `now`.
void touch_directory(inode& directory, time_stamp now);
/// `current` with the attributes that set() takes from `changed`. bad_argument for another type or an impossible time;
/// file_too_big.
result<inode> with_attributes(const inode& current, const inode& changed);
/// Takes one link of a non-directory, or all of a directory; without links it becomes an orphan.
void drop_link(transaction& tx, inode& i, time_stamp now);

}  // namespace warifu
