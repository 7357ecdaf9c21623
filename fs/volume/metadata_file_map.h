#pragma once
// The names and contents of RocksDB's files, and the stream of their changes. Knows neither RocksDB nor the sites.
//
// Two views of the same files: *live* is what RocksDB sees; *taken* is what the edits that were taken so far say.
// Contents are append-only and shared by both, so a pending append is no more than a range, and a snapshot of the taken
// view is right at any moment, whatever background threads do meanwhile.
//
// Thread safety: none; metadata_files guards an instance with a mutex.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fs/base/buffer.h"
#include "fs/base/error.h"
#include "fs/volume/metadata_edits.h"
#include "fs/volume/metadata_files.h"

namespace warifu {

/// The bytes of a file that lives in memory: plaintext, so in wiped blocks. Grows at its end only.
class file_bytes {
  public:
    std::uint64_t size() const { return size_; }
    void append(bytes_view data);
    /// Copies what there is of [offset, offset + out.size()); returns how many bytes.
    std::size_t read(std::uint64_t offset, bytes_span out) const;
    /// Calls `sink` with the parts of [offset, offset + size) in order. REQUIRES: offset + size <= size().
    template <typename Sink>
    void for_each_part(std::uint64_t offset, std::uint64_t size, Sink sink) const {
        while (size > 0) {
            const std::size_t at = offset % block_size;
            const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(size, block_size - at));
            sink(blocks_[offset / block_size].view(at, part));
            offset += part;
            size -= part;
        }
    }

    /// The live name, empty once the file is removed or replaced (then its writer's appends are no edits any more).
    std::string name;

  private:
    static constexpr std::size_t block_size = 64U << 10U;
    std::vector<buffer> blocks_;
    std::uint64_t size_ = 0;
};

/// The chunks of a table file; `ends[i]` is the file offset after chunk i.
struct table_layout {
    std::vector<table_chunk> chunks;
    std::vector<std::uint64_t> ends;

    explicit table_layout(std::vector<table_chunk> list);
    std::uint64_t size() const { return ends.empty() ? 0 : ends.back(); }
};

struct file_entry {
    std::shared_ptr<file_bytes> bytes;          // a file in memory, or
    std::shared_ptr<const table_layout> table;  // a table file
    std::uint64_t size = 0;
    std::int64_t modify_time = 0;  // seconds; not carried by edits
};

struct file_view {
    std::map<std::string, file_entry, std::less<>> files;
    std::set<std::string, std::less<>> directories;  // the root is not among them
};

class file_map {
  public:
    const file_view& live() const { return live_; }
    const file_view& taken() const { return taken_; }

    // Changes of the live view; each is one pending edit. REQUIRES: is_edit_name of the names.
    std::shared_ptr<file_bytes> create(const std::string& name);
    void append(const std::shared_ptr<file_bytes>& file, bytes_view data);
    /// Cuts the file to `size`; the content object is replaced (pending appends still need the old one).
    std::shared_ptr<file_bytes> truncate(const std::shared_ptr<file_bytes>& file, std::uint64_t size);
    bool rename(const std::string& name, const std::string& new_name);
    bool remove(const std::string& name);
    void put_table(const std::string& name, std::shared_ptr<const table_layout> table);
    bool make_directory(const std::string& name);
    bool remove_directory(const std::string& name);
    void abandon(std::vector<table_chunk> chunks);

    bool has_edits() const { return !pending_.empty(); }
    edit_batch take(std::size_t size_max);
    byte_vector snapshot() const;
    std::size_t snapshot_size() const;
    result<void> load(bytes_view edits);

  private:
    struct change {
        edit_kind kind = edit_kind::create;
        std::string name;
        std::string new_name;
        std::shared_ptr<file_bytes> bytes;          // create, append, truncate
        std::uint64_t offset = 0;                   // append
        std::uint64_t size = 0;                     // append: of the data; truncate: of the file
        std::shared_ptr<const table_layout> table;  // table
        std::vector<table_chunk> chunks;            // abandon
    };

    void record(change c);
    void displace_live(const std::string& name);
    static std::size_t encoded_size(const change& c);
    static void encode(writer& out, const change& c, std::uint64_t append_size);
    static void apply(file_view& view, const change& c, std::vector<table_chunk>* dead);
    static void drop(file_view& view, const std::string& name, std::vector<table_chunk>* dead);
    result<change> change_of(edit e);
    result<change> change_of_append(edit e);
    result<change> change_of_truncate(edit e);

    file_view live_;
    file_view taken_;
    std::deque<change> pending_;
};

}  // namespace warifu
