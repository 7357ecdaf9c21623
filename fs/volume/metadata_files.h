#pragma once
// RocksDB's files over shares, as BlueFS is for BlueStore: a rocksdb::FileSystem whose immutable table files (*.sst)
// are metadata chunks and whose other files (log, MANIFEST, CURRENT, OPTIONS, IDENTITY) are bytes carried by journal
// records.
//
// Every change of a file becomes an *edit* in one ordered stream. take_edits() hands over what came since the last
// call; the volume puts it into a journal record. load_edits() replays records at open. A table file's chunks are put
// at the sites before its edit enters the stream, so a record with MANIFEST bytes never comes before its tables.
//
// Thread safety: all methods, any thread; RocksDB calls from its own. No method is called on the core thread except
// take_edits, snapshot and the counters (they never block on the sites).

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/base/buffer.h"
#include "fs/base/error.h"
#include "fs/base/ids.h"

namespace rocksdb {
class Cache;
class Env;
class FileSystem;
}  // namespace rocksdb

namespace warifu {

/// A metadata chunk of a table file: `payload_size` file bytes, cut into pieces of `metadata_piece_payload_size` bytes
/// (the last one shorter); each piece is one AMD codeword.
struct table_chunk {
    chunk_id chunk;
    std::uint16_t placement = 0;
    std::uint32_t payload_size = 0;
    bool operator==(const table_chunk&) const = default;
};

/// What metadata_files needs of the volume. Called from RocksDB's threads; each call blocks until done.
class table_chunk_io {
  public:
    virtual ~table_chunk_io() = default;
    /// Puts the bytes as one metadata chunk at every member (not yet durable: the record that names it makes it so).
    virtual result<table_chunk> put_table_chunk(bytes_view payload) = 0;
    /// The payload of piece `piece` of the chunk.
    virtual result<buffer> get_table_piece(const table_chunk& chunk, std::uint32_t piece) = 0;
    /// The payloads of `count` pieces from `first` on, in order: what compaction and scans ask for. One round trip
    /// where the implementation can; here one call each.
    virtual result<std::vector<buffer>> get_table_pieces(const table_chunk& chunk, std::uint32_t first,
                                                         std::uint32_t count);
};

struct edit_batch {
    byte_vector bytes;             // encoded edits (fs/volume/FORMAT.md)
    std::vector<chunk_id> chunks;  // table chunks that these edits bring into being
    std::vector<table_chunk>
        dead;  // table chunks that these edits let go (to be removed after the commit); among them chunks
               // of tables that were never finished, and maybe some that stand in `chunks` too
};

struct metadata_files_options {
    std::uint32_t piece_payload_size = 0;  // payload bytes of one metadata piece, given by the volume's scheme
    std::size_t cache_size = 32U << 20U;   // recently written and read table pieces kept in memory, bytes
};

struct metadata_files_counters {
    std::uint64_t chunks_put = 0, bytes_put = 0;       // table chunks put at the sites
    std::uint64_t pieces_fetched = 0, pieces_hit = 0;  // pieces read from the sites, and from memory
    std::uint64_t put_errors = 0, fetch_errors = 0;
    std::size_t cached_size = 0;  // bytes of pieces in memory now; <= cache_size
    std::size_t file_size = 0;    // bytes of the files in memory now
};

class metadata_files {
  public:
    metadata_files(table_chunk_io& io, metadata_files_options options);
    ~metadata_files();

    /// The file system to open RocksDB on; paths are below `root_directory()`. Close the database before this object
    /// goes.
    std::shared_ptr<rocksdb::FileSystem> file_system();
    /// That file system with the process's threads and clock. Lives as long as this object.
    rocksdb::Env* env();
    /// The block cache of all databases that are opened on these files; `make` makes it at the first call.
    std::shared_ptr<rocksdb::Cache> block_cache(const std::function<std::shared_ptr<rocksdb::Cache>()>& make);
    static std::string root_directory() { return "/volume"; }

    /// The edits since the last call, in order; empty bytes when there are none. `size_max` bounds one batch (a single
    /// edit that is larger is cut into several); call again until empty. REQUIRES: size_max >= edit_batch_size_min.
    edit_batch take_edits(std::size_t size_max);
    bool has_edits() const;

    /// The state as of the last take_edits, as edits: replaying them into an empty metadata_files gives the same files,
    /// and the edits taken later continue it (edits that are pending meanwhile do not matter). For snapshot records.
    byte_vector snapshot() const;
    /// Bytes that snapshot() would have, cheaply.
    std::size_t snapshot_size() const;

    /// Replays edits at open or in a follower. bad_format on anything that is not ours (then some of them may be
    /// applied); bad_version; conflict when this side has changed files itself and nobody took the edits.
    result<void> load_edits(bytes_view edits);

    /// Every live table chunk: what heal walks. Includes chunks whose edits are pending or whose table is not finished.
    std::vector<table_chunk> live_table_chunks() const;

    metadata_files_counters counters() const;

  private:
    class impl;
    std::shared_ptr<impl> impl_;
    std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace warifu
