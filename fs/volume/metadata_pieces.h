#pragma once
// Pieces of table chunks in memory: a bounded LRU of what was written or read last, over table_chunk_io.

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "fs/base/buffer.h"
#include "fs/volume/metadata_files.h"

namespace warifu {

/// Thread safety: all methods, any thread. The mutex is never held while the sites are asked; of several threads that
/// miss one piece one asks and the others wait for it. An error is given to all who wait and is not kept.
class metadata_pieces {
  public:
    using piece = std::shared_ptr<const buffer>;

    metadata_pieces(table_chunk_io& io, metadata_files_options options);

    std::uint32_t piece_payload_size() const { return options_.piece_payload_size; }
    std::size_t cache_size() const { return options_.cache_size; }
    /// The most bytes of one table chunk: whole pieces, but for the last of a file.
    std::size_t chunk_payload_size() const { return chunk_payload_size_; }

    /// Puts the bytes as a chunk and keeps its pieces. Blocks.
    result<table_chunk> put(bytes_view payload);
    /// Pieces [first, first + count) of the chunk. Blocks when they are not in memory.
    result<std::vector<piece>> get(const table_chunk& chunk, std::uint32_t first, std::uint32_t count);
    /// The chunk is dead: its pieces make room.
    void forget(const table_chunk& chunk);

    metadata_files_counters counters() const;

  private:
    struct key {
        chunk_id chunk;
        std::uint32_t piece = 0;
        bool operator==(const key&) const = default;
    };
    struct key_hash {
        std::size_t operator()(const key& k) const noexcept {
            return std::hash<chunk_id>{}(k.chunk) + k.piece * 0x9e3779b97f4a7c15ULL;
        }
    };
    struct fetch {
        bool done = false;
        result<piece> outcome = piece{};
    };
    struct cached {
        key k;
        piece bytes;
    };
    struct wanted;

    std::uint32_t piece_count(const table_chunk& chunk) const;
    std::size_t piece_size(const table_chunk& chunk, std::uint32_t piece) const;
    void claim(const table_chunk& chunk, std::vector<wanted>& pieces);
    void fetch_claimed(const table_chunk& chunk, std::vector<wanted>& pieces);
    result<std::vector<buffer>> fetch_run(const table_chunk& chunk, std::uint32_t first, std::uint32_t count);
    void insert(const key& k, piece bytes);

    table_chunk_io& io_;
    const metadata_files_options options_;
    const std::size_t chunk_payload_size_;

    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable fetched_;
    std::list<cached> recent_;  // front: used last
    std::unordered_map<key, std::list<cached>::iterator, key_hash> index_;
    std::unordered_map<key, std::shared_ptr<fetch>, key_hash> in_flight_;
    metadata_files_counters counters_;
};

}  // namespace warifu
