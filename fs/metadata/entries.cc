#include "fs/metadata/entries.h"

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr unsigned collision_max = 255;

template <typename Reader>
result<std::optional<entry_record>> read_entry(const Reader& from, inode_number directory, std::uint64_t cookie) {
    TRY(const auto value, from.get(entry_key(directory, cookie)));
    if (!value) return std::optional<entry_record>();
    TRY(auto record, decode_entry(*value));
    return std::optional(std::move(record));
}

template <typename Reader>
result<name_slot> find(const Reader& from, inode_number directory, std::uint64_t first_cookie, std::string_view name) {
    name_slot slot{.directory = directory, .first_cookie = first_cookie, .first = {}, .found = {}};
    TRY(slot.first, read_entry(from, directory, first_cookie));
    if (!slot.first) return slot;
    if (!slot.first->is_placeholder() && slot.first->name == name) {
        slot.found = slot.first;
        slot.cookie = first_cookie;
        return slot;
    }
    for (unsigned i = 1; i <= slot.first->last_collision; ++i) {
        TRY(auto record, read_entry(from, directory, first_cookie + i));
        if (!record || record->name != name) continue;
        slot.found = std::move(record);
        slot.cookie = first_cookie + i;
        break;
    }
    return slot;
}

}  // namespace

result<void> check_name(std::string_view name) {
    if (name.size() > name_size_max) return fail(errc::name_too_long);
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
        name.find('\0') != std::string_view::npos)
        return fail(errc::bad_argument, "not a name");
    return {};
}

result<name_slot> find_name(const metadata_store& store, inode_number directory, std::uint64_t first_cookie,
                            std::string_view name) {
    return find(store, directory, first_cookie, name);
}

result<name_slot> find_name(const transaction& tx, inode_number directory, std::uint64_t first_cookie,
                            std::string_view name) {
    return find(tx, directory, first_cookie, name);
}

result<void> insert_name(transaction& tx, const name_slot& slot, std::string_view name, inode_number number,
                         std::uint32_t type) {
    WARIFU_ASSERT(!slot.found);
    entry_record record{.type = type, .number = number, .name = std::string(name)};
    if (!slot.first || slot.first->is_placeholder()) {
        if (slot.first) record.last_collision = slot.first->last_collision;
        tx.put(entry_key(slot.directory, slot.first_cookie), encode(record));
        return {};
    }
    unsigned free = 1;
    for (; free <= slot.first->last_collision; ++free) {
        TRY(const auto other, tx.get(entry_key(slot.directory, slot.first_cookie + free)));
        if (!other) break;
    }
    if (free > collision_max) return fail(errc::no_space, "too many names of a directory collide");
    tx.put(entry_key(slot.directory, slot.first_cookie + free), encode(record));
    if (free > slot.first->last_collision) {
        entry_record first = *slot.first;
        first.last_collision = static_cast<std::uint8_t>(free);
        tx.put(entry_key(slot.directory, slot.first_cookie), encode(first));
    }
    return {};
}

void repoint_name(transaction& tx, const name_slot& slot, inode_number number, std::uint32_t type) {
    WARIFU_ASSERT(slot.found);
    entry_record record = *slot.found;
    record.number = number;
    record.type = type;
    tx.put(entry_key(slot.directory, slot.cookie), encode(record));
}

result<void> erase_name(transaction& tx, const name_slot& slot) {
    WARIFU_ASSERT(slot.found && slot.first);
    unsigned last = 0;  // the highest collision number that stays in use
    for (unsigned i = slot.first->last_collision; i > 0 && last == 0; --i) {
        if (slot.first_cookie + i == slot.cookie) continue;
        TRY(const auto other, tx.get(entry_key(slot.directory, slot.first_cookie + i)));
        if (other) last = i;
    }
    entry_record first = *slot.first;
    if (slot.cookie == slot.first_cookie)
        first = entry_record{};
    else
        tx.erase(entry_key(slot.directory, slot.cookie));
    first.last_collision = static_cast<std::uint8_t>(last);
    const std::string key = entry_key(slot.directory, slot.first_cookie);
    if (first.is_placeholder() && last == 0)
        tx.erase(key);
    else if (first.is_placeholder() || last != slot.first->last_collision)
        tx.put(key, encode(first));
    return {};
}

}  // namespace warifu
