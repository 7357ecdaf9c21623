// The namespace: life cycle, reads, attributes.

#include "fs/metadata/name_space.h"

#include "fs/base/clock.h"
#include "fs/metadata/name_space_impl.h"

namespace warifu {
namespace {

constexpr std::int64_t ns_per_second = 1'000'000'000;

bool is_time(const time_stamp& t) {
    return t.nanoseconds < ns_per_second;
}

}  // namespace

time_stamp time_stamp::now() {
    const std::int64_t ns = realtime_ns();
    return {ns / ns_per_second, static_cast<std::uint32_t>(ns % ns_per_second)};
}

result<inode> get_parent(const transaction& tx, inode_number number) {
    TRY(auto parent, tx.get_inode(number));
    if (!is_directory(parent)) return fail(errc::not_directory);
    if (parent.link_count == 0) return fail(errc::not_found, "the directory was removed");
    return parent;
}

void touch_directory(inode& directory, time_stamp now) {
    directory.modify_time = now;
    directory.change_time = now;
}

result<inode> with_attributes(const inode& current, const inode& changed) {
    if ((current.mode & S_IFMT) != (changed.mode & S_IFMT))
        return fail(errc::bad_argument, "an inode's type is for life");
    if (!is_time(changed.access_time) || !is_time(changed.modify_time) || !is_time(changed.change_time) ||
        !is_time(changed.birth_time))
        return fail(errc::bad_argument, "a time stamp has too many nanoseconds");
    if (changed.size > file_size_max) return fail(errc::file_too_big);
    inode next = changed;
    next.number = current.number;
    next.link_count = current.link_count;
    next.parent = current.parent;
    next.stored_size = current.stored_size;
    next.device = current.device;
    if (!S_ISREG(current.mode)) next.size = current.size;
    return next;
}

name_space::name_space(rocksdb::DB& db, std::uint64_t hash_mask) : impl_(std::make_unique<impl>(db, hash_mask)) {}
name_space::~name_space() = default;

result<void> name_space::format(std::uint32_t root_mode, std::uint32_t uid, std::uint32_t gid, time_stamp now) {
    if (!is_time(now)) return fail(errc::bad_argument, "a time stamp has too many nanoseconds");
    TRY_VOID(impl_->store.format());
    transaction tx(impl_->store);
    inode root;
    root.number = root_inode;
    root.mode = S_IFDIR | (root_mode & ~std::uint32_t{S_IFMT});
    root.uid = uid;
    root.gid = gid;
    root.link_count = 2;
    root.parent = root_inode;
    root.access_time = root.modify_time = root.change_time = root.birth_time = now;
    tx.put_inode(root);
    tx.counters.inodes = 1;
    return tx.commit();
}

result<void> name_space::open() {
    impl_->forgotten_up_to.clear();
    impl_->opened_sequence = sequence();
    return impl_->store.load();
}

result<inode> name_space::get(inode_number number) const {
    return impl_->store.get_inode(number);
}

result<inode> name_space::lookup(inode_number parent, std::string_view name) const {
    const auto& store = impl_->store;
    if (name == "." || name == "..") {
        TRY(const auto directory, store.get_inode(parent));
        if (!is_directory(directory)) return fail(errc::not_directory);
        return name == "." ? result<inode>(directory) : store.get_inode(directory.parent);
    }
    TRY_VOID(check_name(name));
    TRY(const auto slot, impl_->find(store, parent, name));
    if (slot.found) return store.get_inode(slot.found->number);
    TRY(const auto directory, store.get_inode(parent));
    return is_directory(directory) ? fail(errc::not_found) : fail(errc::not_directory);
}

result<std::string> name_space::read_link(inode_number number) const {
    TRY(const auto target, impl_->store.get(symlink_key(number)));
    if (target) return *target;
    TRY_VOID(impl_->store.get_inode(number));
    return fail(errc::bad_argument, "not a symbolic link");
}

result<std::vector<directory_entry>> name_space::list(inode_number directory, std::uint64_t cookie,
                                                      std::size_t count) const {
    TRY(const auto parent, impl_->store.get_inode(directory));
    if (!is_directory(parent)) return fail(errc::not_directory);
    std::vector<directory_entry> entries;
    if (cookie == ~std::uint64_t{0}) return entries;
    cursor it(impl_->store, entry_key(directory, cookie + 1), prefix_end(entry_prefix(directory)));
    for (; it.valid() && entries.size() < count; it.next()) {
        TRY(auto record, decode_entry(it.value()));
        if (record.is_placeholder()) continue;
        TRY(const auto place, decode_entry_cookie(it.key()));
        entries.push_back({std::move(record.name), record.number, record.type, place});
    }
    TRY_VOID(it.status());
    return entries;
}

result<std::vector<extent>> name_space::extents(inode_number number, std::uint64_t offset, std::uint64_t size) const {
    return impl_->extents(number, offset, size);
}

std::uint64_t name_space::sequence() const {
    return impl_->store.db().GetLatestSequenceNumber();
}

std::uint64_t name_space::opened_sequence() const {
    return impl_->opened_sequence;
}

space_use name_space::use() const {
    const auto counters = impl_->store.counters();
    return {counters.inodes, counters.stored_bytes};
}

result<void> name_space::set(const inode& changed) {
    transaction tx(impl_->store);
    TRY(const auto current, tx.get_inode(changed.number));
    TRY(const auto next, with_attributes(current, changed));
    tx.put_inode(next);
    return tx.commit();
}

}  // namespace warifu
