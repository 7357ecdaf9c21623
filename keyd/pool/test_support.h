#pragma once
// Helpers of the key store's tests.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "fs/base/random.h"
#include "keyd/pool/pool.h"

namespace warifu {

/// A directory that goes away with the object.
class temporary_directory {
  public:
    temporary_directory() {
        std::string path = std::filesystem::temp_directory_path() / "warifu-keyd-XXXXXX";
        EXPECT_NE(::mkdtemp(path.data()), nullptr);
        path_ = path;
    }
    ~temporary_directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    temporary_directory(const temporary_directory&) = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;
    const std::string& path() const { return path_; }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

inline byte_vector read_all(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    const auto view = as_bytes_view(text);
    return {view.begin(), view.end()};
}
inline void write_all(const std::string& path, bytes_view bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline block_header make_block(stream_name stream, std::uint64_t offset, std::uint64_t size,
                               block_kind kind = block_kind::pad) {
    block_header block;
    block.id = random_uuid<block_id>();
    block.kind = kind;
    block.stream = std::move(stream);
    block.range = {offset, size};
    block.hello_size = kind == block_kind::pad ? hello_region_size(size) : 0;
    return block;
}

/// Writes the pad file of a block with random bytes into each directory; returns the paths.
inline std::vector<std::string> write_block(const block_header& block, const std::vector<std::string>& directories) {
    byte_vector bytes(block.range.size);
    EXPECT_TRUE(make_drbg()->fill(bytes));
    std::vector<std::string> paths;
    for (const auto& directory : directories) {
        auto writer = pad_file_writer::create(directory, block);
        EXPECT_TRUE(writer) << writer.error().message();
        EXPECT_TRUE(writer->append(bytes));
        auto path = writer->finish();
        EXPECT_TRUE(path) << path.error().message();
        paths.push_back(*path);
    }
    return paths;
}

inline pad_source::delivery delivery_of(const block_header& block, const std::string& path) {
    return pad_source::delivery{block, path, pad_header_size, true};
}

/// Stages and imports, as keyd does.
inline result<void> import_file(pool& store, const block_header& block, const std::string& path) {
    TRY_VOID(store.admits(block));
    TRY(const auto staged, stage_block(delivery_of(block, path), store.blocks_directory()));
    return store.import(staged);
}

inline std::unique_ptr<pool> open_pool(const std::string& directory, const std::string& site,
                                       std::uint64_t control_reserve = 0,
                                       std::uint64_t compact_above = ledger_size_before_compaction_min) {
    pool_options options;
    options.directory = directory;
    options.site = site;
    options.control_reserve = control_reserve;
    options.compact_above = compact_above;
    auto opened = pool::open(std::move(options));
    EXPECT_TRUE(opened) << opened.error().message();
    return opened ? std::move(*opened) : nullptr;
}

/// Two sites, a and b, each with its store.
struct two_ends {
    explicit two_ends(std::uint64_t control_reserve = 0)
        : a(open_pool(directory / "a", "a", control_reserve)), b(open_pool(directory / "b", "b", control_reserve)) {}
    /// One block for both ends.
    block_header deliver(const stream_name& stream, std::uint64_t offset, std::uint64_t size) {
        const auto block = make_block(stream, offset, size);
        const auto paths = write_block(block, {a->incoming_directory(), b->incoming_directory()});
        EXPECT_TRUE(import_file(*a, block, paths[0]));
        EXPECT_TRUE(import_file(*b, block, paths[1]));
        return block;
    }
    void reopen_a(std::uint64_t compact_above = ledger_size_before_compaction_min) {
        const auto reserve = a->options().control_reserve;
        a.reset();
        a = open_pool(directory / "a", "a", reserve, compact_above);
    }
    temporary_directory directory;
    std::unique_ptr<pool> a, b;
};

inline const stream_name ab{"a", "b"};
inline const stream_name ba{"b", "a"};

}  // namespace warifu
