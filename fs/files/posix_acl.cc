#include "fs/files/posix_acl.h"

#include <cstring>
#include <endian.h>

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr std::uint32_t acl_version = 2;
constexpr std::size_t acl_header_size = 4, entry_size = 8;
constexpr std::uint16_t user_obj = 0x01, user = 0x02, group_obj = 0x04, group = 0x08, mask = 0x10, other = 0x20;

std::uint16_t take16(const char* at) {
    std::uint16_t raw = 0;
    std::memcpy(&raw, at, sizeof raw);
    return le16toh(raw);
}
std::uint32_t take32(const char* at) {
    std::uint32_t raw = 0;
    std::memcpy(&raw, at, sizeof raw);
    return le32toh(raw);
}
template <typename T>
void put(std::string& out, T raw) {
    out.append(reinterpret_cast<const char*>(&raw), sizeof raw);
}

}  // namespace

result<posix_acl> posix_acl::decode(std::string_view value) {
    if (value.size() < acl_header_size || (value.size() - acl_header_size) % entry_size != 0 ||
        take32(value.data()) != acl_version)
        return fail(errc::bad_argument, "not an access control list");
    posix_acl list;
    unsigned owners = 0;
    unsigned groups = 0;
    unsigned masks = 0;
    unsigned others = 0;
    bool named = false;
    for (std::size_t at = acl_header_size; at < value.size(); at += entry_size) {
        const entry e{take16(value.data() + at), take16(value.data() + at + 2), take32(value.data() + at + 4)};
        if (e.permissions > 7) return fail(errc::bad_argument, "permissions of an access control list");
        switch (e.tag) {
            case user_obj:
                ++owners;
                break;
            case group_obj:
                ++groups;
                break;
            case mask:
                ++masks;
                break;
            case other:
                ++others;
                break;
            case user:
            case group:
                named = true;
                break;
            default:
                return fail(errc::bad_argument, "a tag of an access control list");
        }
        list.entries_.push_back(e);
    }
    if (owners != 1 || groups != 1 || others != 1 || masks > 1 || (named && masks == 0))
        return fail(errc::bad_argument, "an incomplete access control list");
    return list;
}

std::string posix_acl::encode() const {
    std::string out;
    put(out, htole32(acl_version));
    for (const entry& e : entries_) {
        put(out, htole16(e.tag));
        put(out, htole16(e.permissions));
        put(out, htole32(e.id));
    }
    return out;
}

const posix_acl::entry* posix_acl::find_if_there(std::uint16_t tag) const {
    for (const entry& e : entries_)
        if (e.tag == tag) return &e;
    return nullptr;
}

posix_acl::entry& posix_acl::find(std::uint16_t tag) {
    for (entry& e : entries_)
        if (e.tag == tag) return e;
    assert_failed("decode() has seen an entry of each kind", __FILE__, __LINE__);
}

std::uint32_t posix_acl::mode() const {
    const entry* middle = find_if_there(mask);
    if (middle == nullptr) middle = find_if_there(group_obj);
    return static_cast<std::uint32_t>(find_if_there(user_obj)->permissions << 6 | middle->permissions << 3 |
                                      find_if_there(other)->permissions);
}

void posix_acl::set_mode(std::uint32_t mode) {
    find(user_obj).permissions = static_cast<std::uint16_t>(mode >> 6U & 7U);
    find(find_if_there(mask) != nullptr ? mask : group_obj).permissions = static_cast<std::uint16_t>(mode >> 3U & 7U);
    find(other).permissions = static_cast<std::uint16_t>(mode & 7U);
}

result<void> posix_acl::map_ids(const id_translation& users, const id_translation& groups) {
    for (entry& e : entries_) {
        if (e.tag != user && e.tag != group) continue;
        const auto other_id = e.tag == user ? users(e.id) : groups(e.id);
        if (!other_id) return fail(errc::bad_argument, "an access control list names an unknown number");
        e.id = *other_id;
    }
    return {};
}

std::uint32_t posix_acl::inherit(std::uint32_t wanted) {
    const std::uint32_t granted = wanted & (mode() | ~0777U);
    set_mode(granted);
    return granted;
}

}  // namespace warifu
