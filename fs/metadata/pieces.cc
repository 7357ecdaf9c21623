#include "fs/metadata/pieces.h"

#include <limits>

namespace warifu {

void piece_ledger::note(const extent_record& e, std::int64_t references) {
    auto& c = changes_[{{e.epoch, e.value.chunk.sequence}, e.value.piece}];
    c.references += references;
    c.added |= references > 0;
    c.placement = e.value.placement;
    c.piece_size = e.value.piece_size;
    c.first_unit = e.value.first_unit;
}

result<void> piece_ledger::settle(transaction& tx) const {
    for (const auto& [name, c] : changes_) {
        if (c.references != 0 || c.added) TRY_VOID(settle_one(tx, {name.first, name.second}, c));
    }
    return {};
}

result<void> piece_ledger::settle_one(transaction& tx, const stored_piece& name, const change& c) {
    const std::string key = piece_key(name.chunk, name.piece);
    TRY(const auto value, tx.get(key));
    piece_record record{.placement = c.placement, .piece_size = c.piece_size, .first_unit = c.first_unit};
    if (value) {
        TRY(record, decode_piece(*value));
        if (record.placement != c.placement || record.piece_size != c.piece_size || record.first_unit != c.first_unit)
            return fail(errc::conflict, "an extent describes its piece otherwise than the piece's record");
    }
    if (c.references == 0) {
        if (!value) return fail(errc::bad_format, "a piece with an extent has no record");
        return {};
    }
    const std::int64_t references = std::int64_t{record.references} + c.references;
    if (references < 0) return fail(errc::bad_format, "a piece has fewer references than extents");
    if (references > std::numeric_limits<std::uint32_t>::max())
        return fail(errc::too_many_links, "a piece has too many references");
    if (references > 0) {
        record.references = static_cast<std::uint32_t>(references);
        tx.put(key, encode(record));
        return {};
    }
    tx.erase(key);
    const freed_record freed{name.chunk, name.piece, record.placement, record.piece_size, record.first_unit};
    tx.put(freed_key(tx.counters.next_ticket++), encode(freed));
    return {};
}

result<extent_record> read_extent(const metadata_store& store, const cursor& at) {
    TRY(auto e, decode_extent(at.key(), at.value()));
    TRY(e.value.chunk.epoch, store.epoch_of(e.epoch));
    return e;
}

}  // namespace warifu
