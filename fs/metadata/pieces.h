#pragma once
// References of extents to pieces: counted per transaction, settled at its end.

#include <map>

#include "fs/metadata/store.h"

namespace warifu {

/// The changes that one transaction makes to the reference counts. An overwrite that clips and splits extents of one
/// piece ends as one change of one record.
class piece_ledger {
  public:
    void add(const extent_record& e) { note(e, 1); }
    void remove(const extent_record& e) { note(e, -1); }

    /// Writes the counts; a piece whose last reference went joins the freed list. conflict when an extent and the
    /// piece's record do not agree on what the piece is; bad_format when a count would fall below zero.
    result<void> settle(transaction& tx) const;

  private:
    struct change {
        std::int64_t references = 0;
        bool added = false;
        std::uint16_t placement = 0;
        std::uint32_t piece_size = 0;
        std::uint32_t first_unit = 0;
    };
    void note(const extent_record& e, std::int64_t references);
    static result<void> settle_one(transaction& tx, const stored_piece& name, const change& c);

    std::map<std::pair<chunk_key, std::uint16_t>, change> changes_;
};

/// Decodes the extent under a cursor, with its chunk's whole id.
result<extent_record> read_extent(const metadata_store& store, const cursor& at);

}  // namespace warifu
