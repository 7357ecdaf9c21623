#pragma once
// Reads: finds where each byte is (dirty, in a chunk on its way, in the read cache, at the sites, nowhere: a hole) and
// fetches what is not in memory. Sequential readers are fetched ahead of; a random read fetches what it asks for and
// nothing more.

#include "fs/files/chunk_writer.h"
#include "fs/files/file_system.h"
#include "fs/files/read_cache.h"

namespace warifu {

class file_reader {
  public:
    file_reader(asio::io_context& core, volume& v, const chunk_writer& writer, const file_system_options& options);

    /// Any thread but the core thread. No lock is held while RocksDB is asked.
    result<read_plan> plan(open_file& file, std::uint64_t offset, std::uint64_t size);
    /// Core thread.
    task<std::vector<slice>> fetch(read_plan plan);
    std::size_t cached_bytes() const { return cache_.size(); }
    bool is_idle() const { return cache_.is_idle(); }

  private:
    struct access {
        bool sequential = false;       // go through the read cache
        std::uint64_t ahead_from = 0;  // fetch [ahead_from, ahead_end) ahead of need; empty when equal
        std::uint64_t ahead_end = 0;
    };
    access guess(open_file& file, std::uint64_t offset, std::uint64_t end) const;
    result<void> plan_stored(read_plan& plan, inode_number number, std::uint64_t from, std::uint64_t to,
                             bool sequential);
    void plan_extent(read_plan& plan, const extent& where, std::uint32_t piece_offset, std::uint32_t size,
                     bool sequential);
    void plan_hole(read_plan& plan, std::uint64_t size);
    void fetch_ahead(inode_number number, std::uint64_t from, std::uint64_t to);
    void fetch_neighbours(const extent& where);
    task<slice> fetch_part(read_part part);

    asio::io_context& core_;
    volume& volume_;
    const chunk_writer& writer_;
    const std::uint64_t window_max_;
    read_cache cache_;
    const slice zeros_;

    // Small files read in the order in which they were packed.
    std::mutex packed_mutex_;
    chunk_id packed_chunk_;                                                 // guarded by packed_mutex_
    std::uint32_t packed_last_ = 0, packed_streak_ = 0, packed_ahead_ = 0;  // guarded by packed_mutex_
};

}  // namespace warifu
