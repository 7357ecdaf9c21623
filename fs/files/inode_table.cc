#include "fs/files/inode_table.h"

namespace warifu {

std::shared_ptr<inode_state> inode_table::find(inode_number number) const {
    const shard& s = of(number);
    const std::lock_guard lock(s.mutex);
    const auto it = s.states.find(number);
    return it == s.states.end() ? nullptr : it->second;
}

void inode_table::insert(std::shared_ptr<inode_state> state) {
    shard& s = of(state->number);
    const std::lock_guard lock(s.mutex);
    s.states.insert_or_assign(state->number, std::move(state));
}

void inode_table::erase(inode_number number) {
    shard& s = of(number);
    const std::lock_guard lock(s.mutex);
    s.states.erase(number);
}

std::uint64_t handle_table::add(std::shared_ptr<open_file> file) {
    const std::lock_guard lock(mutex_);
    files_.emplace(next_, std::move(file));
    return next_++;
}

bool handle_table::adopt(std::uint64_t handle, std::shared_ptr<open_file> file) {
    const std::lock_guard lock(mutex_);
    return files_.emplace(handle, std::move(file)).second;
}

std::shared_ptr<open_file> handle_table::find(std::uint64_t handle) const {
    const std::lock_guard lock(mutex_);
    const auto it = files_.find(handle);
    return it == files_.end() ? nullptr : it->second;
}

std::shared_ptr<open_file> handle_table::remove(std::uint64_t handle) {
    const std::lock_guard lock(mutex_);
    const auto it = files_.find(handle);
    if (it == files_.end()) return nullptr;
    auto file = std::move(it->second);
    files_.erase(it);
    return file;
}

std::size_t handle_table::size() const {
    const std::lock_guard lock(mutex_);
    return files_.size();
}

void reference_table::add(inode_number number, std::uint64_t count) {
    shard& s = of(number);
    const std::lock_guard lock(s.mutex);
    s.counts[number] += count;
}

bool reference_table::remove(inode_number number, std::uint64_t count) {
    shard& s = of(number);
    const std::lock_guard lock(s.mutex);
    const auto it = s.counts.find(number);
    if (it == s.counts.end()) return inherited_;
    if (it->second > count) {
        it->second -= count;
        return false;
    }
    s.counts.erase(it);
    return true;
}

bool reference_table::contains(inode_number number) const {
    const shard& s = of(number);
    const std::lock_guard lock(s.mutex);
    return inherited_ || s.counts.contains(number);
}

}  // namespace warifu
