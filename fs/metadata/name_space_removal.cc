// What becomes of inodes without names and pieces without extents.

#include "fs/metadata/name_space_impl.h"
#include "fs/metadata/pieces.h"

namespace warifu {
namespace {

/// Erases everything below `prefix` in the transaction.
result<void> erase_all(transaction& tx, const std::string& prefix) {
    cursor it(tx.store(), prefix, prefix_end(prefix));
    for (; it.valid(); it.next()) tx.erase(std::string(it.key()));
    return it.status();
}

result<bool> chunk_is_dead(const metadata_store& store, const chunk_key& chunk) {
    cursor it(store, piece_prefix(chunk), prefix_end(piece_prefix(chunk)));
    TRY_VOID(it.status());
    return !it.valid();
}

}  // namespace

result<std::vector<inode_number>> name_space::orphans(std::size_t count) const {
    std::vector<inode_number> found;
    cursor it(impl_->store, orphan_prefix(), prefix_end(orphan_prefix()));
    for (; it.valid() && found.size() < count; it.next()) {
        TRY(const auto number, decode_orphan_key(it.key()));
        found.push_back(number);
    }
    TRY_VOID(it.status());
    return found;
}

result<bool> name_space::forget_orphan(inode_number number, std::size_t extent_budget) {
    const auto& store = impl_->store;
    transaction tx(impl_->store);
    TRY(auto orphan, tx.get_inode(number));
    if (orphan.link_count != 0) return fail(errc::bad_argument, "an inode with a name is no orphan");
    piece_ledger pieces;
    const auto begun = impl_->forgotten_up_to.find(number);
    std::uint64_t reached = begun == impl_->forgotten_up_to.end() ? 0 : begun->second;
    std::uint64_t bytes = 0;
    cursor it(store, extent_key(number, reached), prefix_end(extent_prefix(number)));
    for (std::size_t budget = extent_budget; it.valid() && budget > 0; it.next(), --budget) {
        TRY(const auto e, read_extent(store, it));
        tx.erase(std::string(it.key()));
        pieces.remove(e);
        bytes += e.value.size;
        reached = e.value.end();
    }
    TRY_VOID(it.status());
    const bool gone = !it.valid();
    TRY_VOID(pieces.settle(tx));
    tx.counters.stored_bytes -= bytes;
    if (gone) {
        TRY_VOID(erase_all(tx, attribute_prefix(number)));
        if (S_ISLNK(orphan.mode)) tx.erase(symlink_key(number));
        tx.erase(orphan_key(number));
        tx.erase(inode_key(number));
        --tx.counters.inodes;
    } else {
        orphan.stored_size -= bytes;
        tx.put_inode(orphan);
    }
    TRY_VOID(tx.commit());
    if (gone)
        impl_->forgotten_up_to.erase(number);
    else
        impl_->forgotten_up_to[number] = reached;
    return gone;
}

result<std::vector<freed_piece>> name_space::freed(std::uint64_t after_ticket, std::size_t count) const {
    std::vector<freed_piece> found;
    if (after_ticket == ~std::uint64_t{0}) return found;
    std::optional<chunk_key> last_chunk;
    bool last_dead = false;
    cursor it(impl_->store, freed_key(after_ticket + 1), prefix_end(freed_prefix()));
    for (; it.valid() && found.size() < count; it.next()) {
        TRY(const auto ticket, decode_freed_ticket(it.key()));
        TRY(const auto record, decode_freed(it.value()));
        TRY(const auto epoch, impl_->store.epoch_of(record.chunk.epoch));
        if (last_chunk != record.chunk) {
            TRY(last_dead, chunk_is_dead(impl_->store, record.chunk));
            last_chunk = record.chunk;
        }
        found.push_back({ticket,
                         {epoch, record.chunk.sequence},
                         record.piece,
                         record.placement,
                         record.piece_size,
                         record.first_unit,
                         last_dead});
    }
    TRY_VOID(it.status());
    return found;
}

result<std::vector<chunk_id>> name_space::freed_chunks(std::uint64_t after_ticket) const {
    std::vector<chunk_id> found;
    std::optional<chunk_key> last_chunk;
    if (after_ticket == ~std::uint64_t{0}) return found;
    cursor it(impl_->store, freed_key(after_ticket + 1), prefix_end(freed_prefix()));
    for (; it.valid(); it.next()) {
        TRY(const auto record, decode_freed(it.value()));
        if (last_chunk == record.chunk) continue;
        last_chunk = record.chunk;
        TRY(const auto epoch, impl_->store.epoch_of(record.chunk.epoch));
        found.push_back({epoch, record.chunk.sequence});
    }
    TRY_VOID(it.status());
    return found;
}

std::uint64_t name_space::last_freed_ticket() const {
    return impl_->store.counters().next_ticket - 1;
}

result<void> name_space::acknowledge_removed(const std::vector<std::uint64_t>& tickets) {
    transaction tx(impl_->store);
    for (const auto ticket : tickets) tx.erase(freed_key(ticket));
    return tx.commit();
}

result<std::vector<live_piece>> name_space::live_pieces(chunk_id after_chunk, std::uint16_t after_piece,
                                                        std::size_t count) const {
    std::vector<live_piece> found;
    for (const auto& [epoch, number] : impl_->store.epochs()) {
        if (found.size() >= count) break;
        if (epoch < after_chunk.epoch) continue;
        const bool resumed = epoch == after_chunk.epoch;
        const std::string after = piece_key({number, after_chunk.sequence}, after_piece);
        cursor it(impl_->store, resumed ? after : piece_prefix(number), prefix_end(piece_prefix(number)));
        if (resumed && it.valid() && it.key() == after) it.next();
        for (; it.valid() && found.size() < count; it.next()) {
            TRY(const auto name, decode_piece_key(it.key()));
            TRY(const auto record, decode_piece(it.value()));
            found.push_back({{epoch, name.chunk.sequence},
                             name.piece,
                             record.placement,
                             record.piece_size,
                             record.first_unit,
                             record.references});
        }
        TRY_VOID(it.status());
    }
    return found;
}

}  // namespace warifu
