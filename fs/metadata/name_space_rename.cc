// rename(2) and renameat2(2).

#include "fs/metadata/name_space_impl.h"

namespace warifu {
namespace {

/// A renaming under way. The two directories may be one: then `to_parent` is not used.
struct renaming {
    transaction& tx;
    inode from_parent;
    inode to_parent;
    name_slot from_slot;
    name_slot to_slot;
    std::string_view to_name;
    inode moved;
    std::optional<inode> target;
    time_stamp now;

    bool across() const { return from_parent.number != to_parent.number; }
    inode& destination() { return across() ? to_parent : from_parent; }
};

/// bad_argument when `below` is `directory` or stands under it.
result<void> refuse_loop(const transaction& tx, inode_number directory, inode_number below) {
    while (below != root_inode) {
        if (below == directory) return fail(errc::bad_argument, "a directory cannot move below itself");
        TRY(const auto next, tx.get_inode(below));
        below = next.parent;
    }
    return below == directory ? fail(errc::bad_argument, "the root cannot move") : result<void>();
}

/// Moves a directory's ".." and the link counts that it brings along.
void reparent(const renaming& r, inode& moved, inode& old_parent, inode& new_parent) {
    if (!is_directory(moved) || !r.across()) return;
    --old_parent.link_count;
    ++new_parent.link_count;
    moved.parent = new_parent.number;
}

void finish(renaming& r) {
    touch_directory(r.from_parent, r.now);
    r.tx.put_inode(r.from_parent);
    if (r.across()) {
        touch_directory(r.to_parent, r.now);
        r.tx.put_inode(r.to_parent);
    }
    r.moved.change_time = r.now;
    r.tx.put_inode(r.moved);
}

result<void> exchange(renaming& r) {
    reparent(r, r.moved, r.from_parent, r.to_parent);
    reparent(r, *r.target, r.to_parent, r.from_parent);
    if (r.from_parent.link_count > link_count_max || r.to_parent.link_count > link_count_max)
        return fail(errc::too_many_links);
    repoint_name(r.tx, r.from_slot, r.target->number, r.target->mode & S_IFMT);
    repoint_name(r.tx, r.to_slot, r.moved.number, r.moved.mode & S_IFMT);
    r.target->change_time = r.now;
    r.tx.put_inode(*r.target);
    finish(r);
    return {};
}

/// Takes the target out of the way. Its name stays, for the moved inode.
result<void> displace(renaming& r) {
    inode& target = *r.target;
    if (is_directory(r.moved) && !is_directory(target)) return fail(errc::not_directory);
    if (!is_directory(r.moved) && is_directory(target)) return fail(errc::is_directory);
    if (is_directory(target)) {
        if (target.size != 0) return fail(errc::not_empty);
        --r.destination().link_count;
    }
    drop_link(r.tx, target, r.now);
    return {};
}

result<void> replace(renaming& r) {
    if (r.target) {
        TRY_VOID(displace(r));
        repoint_name(r.tx, r.to_slot, r.moved.number, r.moved.mode & S_IFMT);
    } else {
        TRY_VOID(insert_name(r.tx, r.to_slot, r.to_name, r.moved.number, r.moved.mode & S_IFMT));
        ++r.destination().size;
    }
    --r.from_parent.size;
    reparent(r, r.moved, r.from_parent, r.to_parent);
    if (r.to_parent.link_count > link_count_max) return fail(errc::too_many_links);
    finish(r);
    return {};
}

}  // namespace

result<rename_outcome> name_space::rename(inode_number from, std::string_view from_name, inode_number to,
                                          std::string_view to_name, rename_mode mode, time_stamp now) {
    TRY_VOID(check_name(from_name));
    TRY_VOID(check_name(to_name));
    transaction tx(impl_->store);
    TRY(auto from_parent, get_parent(tx, from));
    TRY(auto to_parent, get_parent(tx, to));
    TRY(auto from_slot, impl_->find(tx, from, from_name));
    if (!from_slot.found) return fail(errc::not_found);
    TRY(auto to_slot, impl_->find(tx, to, to_name));
    if (mode == rename_mode::no_replace && to_slot.found) return fail(errc::exists);
    if (mode == rename_mode::exchange && !to_slot.found) return fail(errc::not_found);
    if (to_slot.found && to_slot.found->number == from_slot.found->number) return rename_outcome{};
    TRY(auto moved, tx.get_inode(from_slot.found->number));
    if (is_directory(moved) && from != to) TRY_VOID(refuse_loop(tx, moved.number, to));
    std::optional<inode> target;
    if (to_slot.found) {
        TRY(target, tx.get_inode(to_slot.found->number));
        if (mode == rename_mode::exchange && is_directory(*target) && from != to)
            TRY_VOID(refuse_loop(tx, target->number, from));
    }
    renaming r{tx, from_parent, to_parent, from_slot, to_slot, to_name, moved, target, now};
    if (mode == rename_mode::exchange) {
        TRY_VOID(exchange(r));
        TRY_VOID(tx.commit());
        return rename_outcome{};
    }
    TRY_VOID(replace(r));
    // The two names may collide: find the old one again in the chain as it is now.
    TRY(const auto old, impl_->find(tx, from, from_name));
    TRY_VOID(erase_name(tx, old));
    TRY_VOID(tx.commit());
    return rename_outcome{r.target};
}

}  // namespace warifu
