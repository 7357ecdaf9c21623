// Making and removing names.

#include "fs/metadata/name_space_impl.h"

namespace warifu {
namespace {

result<void> check_new(const new_inode& fresh) {
    switch (fresh.mode & S_IFMT) {
        case S_IFREG:
        case S_IFDIR:
        case S_IFCHR:
        case S_IFBLK:
        case S_IFIFO:
        case S_IFSOCK:
            if (!fresh.symlink_target.empty()) return fail(errc::bad_argument, "a target of no symbolic link");
            return {};
        case S_IFLNK:
            if (fresh.symlink_target.size() > symlink_size_max) return fail(errc::name_too_long);
            if (fresh.symlink_target.empty()) return fail(errc::not_found, "an empty target");
            if (fresh.symlink_target.find('\0') != std::string::npos) return fail(errc::bad_argument, "not a target");
            return {};
        default:
            return fail(errc::bad_argument, "no such type of inode");
    }
}

inode make_inode(inode_number number, const new_inode& fresh, const inode& parent) {
    inode i;
    i.number = number;
    i.mode = fresh.mode;
    i.uid = fresh.uid;
    // A set-group-ID directory passes its group on, and to directories the bit too (inode(7)).
    i.gid = (parent.mode & S_ISGID) != 0 ? parent.gid : fresh.gid;
    if ((parent.mode & S_ISGID) != 0 && S_ISDIR(fresh.mode)) i.mode |= S_ISGID;
    i.link_count = S_ISDIR(fresh.mode) ? 2 : 1;
    i.size = S_ISLNK(fresh.mode) ? fresh.symlink_target.size() : 0;
    i.device = fresh.device;
    i.parent = S_ISDIR(fresh.mode) ? parent.number : 0;
    i.access_time = i.modify_time = i.change_time = i.birth_time = fresh.now;
    return i;
}

}  // namespace

void drop_link(transaction& tx, inode& i, time_stamp now) {
    i.link_count = is_directory(i) ? 0 : i.link_count - 1;
    i.change_time = now;
    if (i.link_count == 0) tx.put(orphan_key(i.number), {});
    tx.put_inode(i);
}

result<inode> name_space::create(inode_number parent, std::string_view name, const new_inode& fresh) {
    TRY_VOID(check_name(name));
    TRY_VOID(check_new(fresh));
    transaction tx(impl_->store);
    TRY(auto directory, get_parent(tx, parent));
    TRY(const auto slot, impl_->find(tx, parent, name));
    if (slot.found) return fail(errc::exists);
    if (S_ISDIR(fresh.mode) && directory.link_count >= link_count_max) return fail(errc::too_many_links);
    if (fresh.number != 0 && tx.get_inode(fresh.number)) return fail(errc::conflict, "the inode is there already");
    const inode made = make_inode(tx.new_inode_number(fresh.number), fresh, directory);
    TRY_VOID(insert_name(tx, slot, name, made.number, made.mode & S_IFMT));
    tx.put_inode(made);
    if (S_ISLNK(made.mode)) tx.put(symlink_key(made.number), fresh.symlink_target);
    ++directory.size;
    if (is_directory(made)) ++directory.link_count;
    touch_directory(directory, fresh.now);
    tx.put_inode(directory);
    ++tx.counters.inodes;
    TRY_VOID(tx.commit());
    return made;
}

result<inode> name_space::link(inode_number number, inode_number parent, std::string_view name, time_stamp now) {
    TRY_VOID(check_name(name));
    transaction tx(impl_->store);
    TRY(auto linked, tx.get_inode(number));
    TRY(auto directory, get_parent(tx, parent));
    TRY(const auto slot, impl_->find(tx, parent, name));
    if (slot.found) return fail(errc::exists);
    if (is_directory(linked)) return fail(errc::not_permitted, "a directory has one name");
    if (linked.link_count == 0) return fail(errc::not_found, "the inode has lost its last name");
    if (linked.link_count >= link_count_max) return fail(errc::too_many_links);
    TRY_VOID(insert_name(tx, slot, name, number, linked.mode & S_IFMT));
    ++linked.link_count;
    linked.change_time = now;
    tx.put_inode(linked);
    ++directory.size;
    touch_directory(directory, now);
    tx.put_inode(directory);
    TRY_VOID(tx.commit());
    return linked;
}

result<inode> name_space::unlink(inode_number parent, std::string_view name, time_stamp now) {
    TRY_VOID(check_name(name));
    transaction tx(impl_->store);
    TRY(auto directory, get_parent(tx, parent));
    TRY(const auto slot, impl_->find(tx, parent, name));
    if (!slot.found) return fail(errc::not_found);
    TRY(auto victim, tx.get_inode(slot.found->number));
    if (is_directory(victim)) return fail(errc::is_directory);
    TRY_VOID(erase_name(tx, slot));
    drop_link(tx, victim, now);
    --directory.size;
    touch_directory(directory, now);
    tx.put_inode(directory);
    TRY_VOID(tx.commit());
    return victim;
}

result<inode> name_space::remove_directory(inode_number parent, std::string_view name, time_stamp now) {
    TRY_VOID(check_name(name));
    transaction tx(impl_->store);
    TRY(auto directory, get_parent(tx, parent));
    TRY(const auto slot, impl_->find(tx, parent, name));
    if (!slot.found) return fail(errc::not_found);
    TRY(auto victim, tx.get_inode(slot.found->number));
    if (!is_directory(victim)) return fail(errc::not_directory);
    if (victim.size != 0) return fail(errc::not_empty);
    TRY_VOID(erase_name(tx, slot));
    drop_link(tx, victim, now);
    --directory.size;
    --directory.link_count;
    touch_directory(directory, now);
    tx.put_inode(directory);
    TRY_VOID(tx.commit());
    return victim;
}

}  // namespace warifu
