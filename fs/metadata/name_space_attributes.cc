// Extended attributes.

#include "fs/metadata/name_space_impl.h"

namespace warifu {
namespace {

/// What listxattr(2) can return (XATTR_LIST_MAX): all names with a NUL after each.
constexpr std::size_t attribute_list_size_max = 65536;

result<void> check_attribute_name(std::string_view name) {
    if (name.empty() || name.find('\0') != std::string_view::npos)
        return fail(errc::bad_argument, "not an attribute's name");
    if (name.size() > attribute_name_size_max) return fail(errc::range, "an attribute's name is too long");
    return {};
}

result<std::vector<std::string>> names_of(const metadata_store& store, inode_number number) {
    std::vector<std::string> names;
    const std::string prefix = attribute_prefix(number);
    cursor it(store, prefix, prefix_end(prefix));
    for (; it.valid(); it.next()) names.emplace_back(it.key().substr(prefix.size()));
    TRY_VOID(it.status());
    return names;
}

}  // namespace

result<std::string> name_space::get_attribute(inode_number number, std::string_view name) const {
    TRY_VOID(check_attribute_name(name));
    TRY(const auto value, impl_->store.get(attribute_key(number, name)));
    if (value) return *value;
    TRY_VOID(impl_->store.get_inode(number));
    return fail(errc::no_attribute);
}

result<std::vector<std::string>> name_space::list_attributes(inode_number number) const {
    TRY_VOID(impl_->store.get_inode(number));
    return names_of(impl_->store, number);
}

result<void> name_space::set_attribute(inode_number number, std::string_view name, std::string_view value,
                                       attribute_mode mode, time_stamp now) {
    TRY_VOID(check_attribute_name(name));
    if (value.size() > attribute_value_size_max) return fail(errc::too_large, "an attribute's value is too large");
    transaction tx(impl_->store);
    TRY(auto owner, tx.get_inode(number));
    const std::string key = attribute_key(number, name);
    TRY(const auto old, tx.get(key));
    if (old && mode == attribute_mode::create_only) return fail(errc::exists);
    if (!old && mode == attribute_mode::replace_only) return fail(errc::no_attribute);
    if (!old) {
        TRY(const auto names, names_of(impl_->store, number));
        std::size_t size = name.size() + 1;
        for (const auto& other : names) size += other.size() + 1;
        if (size > attribute_list_size_max) return fail(errc::no_space, "an inode has too many attributes");
    }
    tx.put(key, std::string(value));
    owner.change_time = now;
    tx.put_inode(owner);
    return tx.commit();
}

result<void> name_space::remove_attribute(inode_number number, std::string_view name, time_stamp now) {
    TRY_VOID(check_attribute_name(name));
    transaction tx(impl_->store);
    TRY(auto owner, tx.get_inode(number));
    const std::string key = attribute_key(number, name);
    TRY(const auto old, tx.get(key));
    if (!old) return fail(errc::no_attribute);
    tx.erase(key);
    owner.change_time = now;
    tx.put_inode(owner);
    return tx.commit();
}

}  // namespace warifu
