// Where files' bytes are.

#include <limits>

#include "fs/metadata/name_space_impl.h"
#include "fs/metadata/pieces.h"

namespace warifu {
namespace {

/// The part of `e` inside [start, end). REQUIRES: they overlap.
extent clip(const extent& e, std::uint64_t start, std::uint64_t end) {
    const std::uint64_t from = std::max(start, e.file_offset);
    const std::uint64_t to = std::min(end, e.end());
    extent part = e;
    part.file_offset = from;
    part.size = static_cast<std::uint32_t>(to - from);
    part.piece_offset = static_cast<std::uint32_t>(e.piece_offset + (from - e.file_offset));
    return part;
}

result<void> check_fresh(const std::vector<extent>& fresh, std::uint64_t start, std::uint64_t end) {
    for (const auto& e : fresh) {
        if (e.size == 0 || e.file_offset < start || e.file_offset > end || e.size > end - e.file_offset)
            return fail(errc::bad_argument, "an extent is outside of what it replaces");
        if (std::uint64_t{e.piece_offset} + e.size > e.piece_size)
            return fail(errc::bad_argument, "an extent is not inside its piece");
        if (e.end() > file_size_max) return fail(errc::file_too_big);
        start = e.end();
    }
    return {};
}

/// One replacement under way: counts bytes and references as extents come and go.
class replacement {
  public:
    replacement(transaction& tx, inode_number number) : tx_(tx), number_(number) {}

    void put(const extent_record& e) {
        tx_.put(extent_key(number_, e.value.end()), encode(e));
        pieces_.add(e);
        bytes_ += e.value.size;
    }
    void erase(const extent_record& e) {
        tx_.erase(extent_key(number_, e.value.end()));
        pieces_.remove(e);
        bytes_ -= e.value.size;
    }
    /// Writes the pieces' counts and the space counters. Returns the inode's stored size after it.
    result<std::uint64_t> settle(std::uint64_t stored_size) {
        TRY_VOID(pieces_.settle(tx_));
        tx_.counters.stored_bytes += bytes_;
        return stored_size + bytes_;
    }

  private:
    transaction& tx_;
    const inode_number number_;
    piece_ledger pieces_;
    std::uint64_t bytes_ = 0;  // modulo 2^64: may be a decrease
};

result<void> cut_out(replacement& change, const metadata_store& store, inode_number number, std::uint64_t start,
                     std::uint64_t end) {
    std::vector<extent_record> kept;
    cursor it(store, extent_key(number, start + 1), prefix_end(extent_prefix(number)));
    for (; it.valid(); it.next()) {
        TRY(const auto old, read_extent(store, it));
        const extent& e = old.value;
        if (e.file_offset >= end) break;
        change.erase(old);
        if (e.file_offset < start) kept.push_back({clip(e, e.file_offset, start), old.epoch});
        if (e.end() > end) kept.push_back({clip(e, end, e.end()), old.epoch});
    }
    TRY_VOID(it.status());
    for (const auto& part : kept) change.put(part);
    return {};
}

}  // namespace

result<std::vector<extent>> name_space::impl::extents(inode_number number, std::uint64_t offset,
                                                      std::uint64_t size) const {
    std::vector<extent> found;
    const std::uint64_t end = saturating_end(offset, size);
    if (offset >= end) return found;
    cursor it(store, extent_key(number, offset + 1), prefix_end(extent_prefix(number)));
    for (; it.valid(); it.next()) {
        TRY(const auto e, read_extent(store, it));
        if (e.value.file_offset >= end) break;
        found.push_back(e.value);
    }
    TRY_VOID(it.status());
    return found;
}

result<std::optional<extent>> name_space::next_extent(inode_number number, std::uint64_t offset) const {
    if (offset == std::numeric_limits<std::uint64_t>::max()) return std::optional<extent>();
    cursor it(impl_->store, extent_key(number, offset + 1), prefix_end(extent_prefix(number)));
    TRY_VOID(it.status());
    if (!it.valid()) return std::optional<extent>();
    TRY(const auto e, read_extent(impl_->store, it));
    return std::optional(e.value);
}

result<inode> name_space::impl::replace_extents(transaction& tx, const inode& changed, std::uint64_t offset,
                                                std::uint64_t size, const std::vector<extent>& fresh) {
    TRY(const auto current, tx.get_inode(changed.number));
    if (is_directory(current)) return fail(errc::is_directory);
    if (!S_ISREG(current.mode)) return fail(errc::bad_argument, "only regular files have extents");
    TRY(auto next, with_attributes(current, changed));
    if (offset > file_size_max) return fail(errc::file_too_big);
    if (forgotten_up_to.contains(changed.number)) return fail(errc::stale_handle, "the inode is being forgotten");
    const std::uint64_t end = saturating_end(offset, size);
    TRY_VOID(check_fresh(fresh, offset, end));
    replacement change(tx, changed.number);
    if (end > offset) TRY_VOID(cut_out(change, store, changed.number, offset, end));
    for (const auto& e : fresh) change.put({e, tx.number_epoch(e.chunk.epoch)});
    TRY(next.stored_size, change.settle(current.stored_size));
    tx.put_inode(next);
    return next;
}

result<inode> name_space::replace_extents(const inode& changed, std::uint64_t offset, std::uint64_t size,
                                          const std::vector<extent>& fresh) {
    transaction tx(impl_->store);
    TRY(const auto next, impl_->replace_extents(tx, changed, offset, size, fresh));
    TRY_VOID(tx.commit());
    return next;
}

result<inode> name_space::clone(inode_number from, std::uint64_t from_offset, const inode& to_changed,
                                std::uint64_t to_offset, std::uint64_t size) {
    if (from_offset > file_size_max || to_offset > file_size_max || size > file_size_max)
        return fail(errc::file_too_big);
    TRY_VOID(impl_->store.get_inode(from));
    TRY(const auto shared, impl_->extents(from, from_offset, size));
    std::vector<extent> fresh;
    fresh.reserve(shared.size());
    for (const auto& e : shared) {
        extent part = clip(e, from_offset, from_offset + size);
        part.file_offset = part.file_offset - from_offset + to_offset;
        fresh.push_back(part);
    }
    return replace_extents(to_changed, to_offset, size, fresh);
}

}  // namespace warifu
