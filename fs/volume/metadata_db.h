#pragma once
// RocksDB on metadata_files: the options that the journal's rules need, and how errors behind the scenes become
// visible.

#include <cstddef>
#include <memory>
#include <optional>
#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include "fs/base/error.h"
#include "fs/volume/metadata_files.h"

namespace warifu {

enum class metadata_db_mode : std::uint8_t {
    create,     // a fresh database; exists when there is one
    write,      // the database that the edits describe
    read_only,  // as it is at this moment; makes no edits. A follower opens anew after load_edits() and drops the old
                // one when its readers are done: the block cache belongs to `files`, so only the log is read again.
                // (RocksDB's secondary mode shows deleted keys again when the log that deleted them was compacted away
                // between two looks.)
};

/// Options for one database on `files`. `memory` (bytes) covers write buffers, their log in memory and the block cache;
/// the cache of pieces is metadata_files_options::cache_size, beside it. At least metadata_memory_min is used. The
/// block cache is made by the first call and shared by later ones.
rocksdb::Options metadata_db_options(metadata_files& files, std::size_t memory, metadata_db_mode mode);

/// Opens it. Errors: exists (create), not_found (no database in the edits), io_error with RocksDB's text (the sites did
/// not answer, among others). Blocks. The database must be closed (destroyed) before `files`. Writes are in the stream
/// of edits only after db->FlushWAL(false).
result<std::unique_ptr<rocksdb::DB>> open_metadata_db(metadata_files& files, std::size_t memory, metadata_db_mode mode);

/// The error that stopped background work (a table could not be put), until RocksDB has recovered from it; nothing when
/// all is well. While there is one, writes fail as soon as the write buffers are full (the log takes them until then).
/// RocksDB is retried every second, but for stale_epoch, after which every write fails until the database is
/// opened anew. REQUIRES: opened by open_metadata_db.
std::optional<error> metadata_db_error(rocksdb::DB& db);

/// Retries at once what failed in the background. Blocks. The error that is still there.
result<void> resume_metadata_db(rocksdb::DB& db);

}  // namespace warifu
