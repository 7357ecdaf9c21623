// The files themselves: the calls of the file system, the stream of edits, the pieces in memory.

#include "fs/volume/metadata_files.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <rocksdb/file_system.h>
#include <thread>

#include "fs/base/limits.h"
#include "fs/volume/metadata_edits.h"
#include "fs/volume/metadata_files_test_util.h"

namespace warifu {
namespace {

constexpr std::uint32_t piece_bytes = 1000;
constexpr std::size_t cache_size = 1U << 20U;
const rocksdb::FileOptions file_options;
const rocksdb::IOOptions io_options;

std::string path(const std::string& name) {
    return metadata_files::root_directory() + "/" + name;
}

/// metadata_files on a store in memory, with the file system's calls in short.
struct fixture {
    explicit fixture(std::size_t cache = cache_size) : io(piece_bytes), files(io, {piece_bytes, cache}) {}

    std::unique_ptr<rocksdb::FSWritableFile> writer_of(const std::string& name) {
        std::unique_ptr<rocksdb::FSWritableFile> file;
        EXPECT_TRUE(fs()->NewWritableFile(path(name), file_options, &file, nullptr).ok());
        return file;
    }
    static rocksdb::IOStatus append(rocksdb::FSWritableFile& file, const std::string& data) {
        return file.Append(data, io_options, nullptr);
    }
    rocksdb::IOStatus write(const std::string& name, const std::string& data) {
        auto file = writer_of(name);
        if (auto s = append(*file, data); !s.ok()) return s;
        return file->Close(io_options, nullptr);
    }
    std::optional<std::string> read(const std::string& name, std::uint64_t offset = 0, std::size_t size = 1U << 24U) {
        std::unique_ptr<rocksdb::FSRandomAccessFile> file;
        if (!fs()->NewRandomAccessFile(path(name), file_options, &file, nullptr).ok()) return std::nullopt;
        std::string scratch(size, '\0');
        rocksdb::Slice found;
        if (!file->Read(offset, size, io_options, &found, scratch.data(), nullptr).ok()) return std::nullopt;
        return found.ToString();
    }
    bool rename(const std::string& from, const std::string& to) {
        return fs()->RenameFile(path(from), path(to), io_options, nullptr).ok();
    }
    bool remove(const std::string& name) { return fs()->DeleteFile(path(name), io_options, nullptr).ok(); }
    bool exists(const std::string& name) { return fs()->FileExists(path(name), io_options, nullptr).ok(); }
    std::vector<std::string> children(const std::string& name) {
        std::vector<std::string> found;
        EXPECT_TRUE(fs()->GetChildren(name, io_options, &found, nullptr).ok());
        std::ranges::sort(found);
        return found;
    }
    std::vector<edit_batch> take_all(std::size_t size_max = edit_batch_size_min) {
        std::vector<edit_batch> batches;
        while (files.has_edits()) batches.push_back(files.take_edits(size_max));
        EXPECT_TRUE(files.take_edits(size_max).bytes.empty());
        return batches;
    }
    rocksdb::FileSystem* fs() { return files.file_system().get(); }

    memory_table_io io;
    metadata_files files;
};

std::string pattern(std::size_t size, unsigned seed = 1) {
    std::mt19937 random(seed);
    std::string bytes(size, '\0');
    for (auto& c : bytes) c = static_cast<char>(random());
    return bytes;
}

TEST(metadata_edits, worked_example) {
    fixture f;
    ASSERT_TRUE(f.write("CURRENT.tmp", "MANIFEST-1\n").ok());
    ASSERT_TRUE(f.rename("CURRENT.tmp", "CURRENT"));
    ASSERT_TRUE(f.write("7.sst", pattern(1500)).ok());
    ASSERT_TRUE(f.remove("CURRENT"));
    EXPECT_EQ(to_hex(f.files.take_edits(1U << 20U).bytes),
              "01"
              "010b43555252454e542e746d70"
              "020b43555252454e542e746d7000000000000000000000000b4d414e49464553542d310a"
              "040b43555252454e542e746d700743555252454e54"
              "0605372e737374"
              "00000000000005dc00000001"
              "0000000000000001000000000000000200000000000000010007000005dc"
              "050743555252454e54");
}

TEST(metadata_file_system, files_and_directories) {
    fixture f;
    auto* fs = f.fs();
    EXPECT_TRUE(fs->CreateDirIfMissing("/volume", io_options, nullptr).ok());
    EXPECT_FALSE(fs->CreateDir("/volume", io_options, nullptr).ok());
    EXPECT_TRUE(fs->CreateDir("/volume/archive", io_options, nullptr).ok());
    ASSERT_TRUE(f.write("a.log", "hello").ok());
    ASSERT_TRUE(f.write("archive/b.log", "there").ok());
    EXPECT_EQ(f.children("/volume"), (std::vector<std::string>{"a.log", "archive"}));
    EXPECT_EQ(f.children("/volume/archive/"), std::vector<std::string>{"b.log"});
    EXPECT_FALSE(fs->DeleteDir("/volume/archive", io_options, nullptr).ok());
    EXPECT_EQ(f.read("archive//b.log"), "there");
    EXPECT_EQ(f.read("a.log", 2, 2), "ll");
    EXPECT_EQ(f.read("a.log", 5), "");
    EXPECT_EQ(f.read("a.log", 500), "");
    EXPECT_EQ(f.read("none"), std::nullopt);
    std::uint64_t size = 0, seconds = 0;
    EXPECT_TRUE(fs->GetFileSize(path("a.log"), io_options, &size, nullptr).ok());
    EXPECT_EQ(size, 5U);
    EXPECT_TRUE(fs->GetFileModificationTime(path("a.log"), io_options, &seconds, nullptr).ok());
    EXPECT_GT(seconds, 1'600'000'000U);
    EXPECT_TRUE(fs->GetFileSize(path("none"), io_options, &size, nullptr).IsPathNotFound());
    bool is_directory = false;
    EXPECT_TRUE(fs->IsDirectory("/volume/archive", io_options, &is_directory, nullptr).ok());
    EXPECT_TRUE(is_directory);
    EXPECT_TRUE(fs->IsDirectory(path("a.log"), io_options, &is_directory, nullptr).ok());
    EXPECT_FALSE(is_directory);
    EXPECT_TRUE(fs->IsDirectory(path("none"), io_options, &is_directory, nullptr).IsPathNotFound());
    EXPECT_TRUE(f.rename("a.log", "archive/b.log"));
    EXPECT_FALSE(f.exists("a.log"));
    EXPECT_EQ(f.read("archive/b.log"), "hello");
    EXPECT_FALSE(f.rename("a.log", "c.log"));
    EXPECT_TRUE(f.remove("archive/b.log"));
    EXPECT_FALSE(f.remove("archive/b.log"));
    EXPECT_TRUE(fs->DeleteDir("/volume/archive", io_options, nullptr).ok());
    EXPECT_FALSE(f.exists("archive"));
    std::vector<std::string> none;
    EXPECT_TRUE(fs->GetChildren("/volume/archive", io_options, &none, nullptr).IsPathNotFound());
    EXPECT_FALSE(fs->LinkFile(path("a"), path("b"), io_options, nullptr).ok());
    std::unique_ptr<rocksdb::FSWritableFile> file;
    EXPECT_FALSE(fs->NewWritableFile("/elsewhere/a", file_options, &file, nullptr).ok());
    EXPECT_FALSE(fs->NewWritableFile(path("../a"), file_options, &file, nullptr).ok());
    EXPECT_FALSE(fs->NewWritableFile("/volumes/a", file_options, &file, nullptr).ok());
}

TEST(metadata_file_system, locks_exclude_each_other) {
    fixture f;
    rocksdb::FileLock *first = nullptr, *second = nullptr;
    ASSERT_TRUE(f.fs()->LockFile(path("LOCK"), io_options, &first, nullptr).ok());
    EXPECT_FALSE(f.fs()->LockFile(path("LOCK"), io_options, &second, nullptr).ok());
    EXPECT_EQ(second, nullptr);
    ASSERT_TRUE(f.fs()->UnlockFile(first, io_options, nullptr).ok());
    ASSERT_TRUE(f.fs()->LockFile(path("LOCK"), io_options, &second, nullptr).ok());
    ASSERT_TRUE(f.fs()->UnlockFile(second, io_options, nullptr).ok());
    EXPECT_FALSE(f.files.has_edits());
}

TEST(metadata_file_system, a_reader_keeps_what_it_opened_and_sees_it_grow) {
    fixture f;
    auto file = f.writer_of("a.log");
    ASSERT_TRUE(fixture::append(*file, "one").ok());
    std::unique_ptr<rocksdb::FSSequentialFile> reader;
    ASSERT_TRUE(f.fs()->NewSequentialFile(path("a.log"), file_options, &reader, nullptr).ok());
    char scratch[16];
    rocksdb::Slice found;
    ASSERT_TRUE(reader->Read(16, io_options, &found, scratch, nullptr).ok());
    EXPECT_EQ(found.ToString(), "one");
    ASSERT_TRUE(reader->Read(16, io_options, &found, scratch, nullptr).ok());
    EXPECT_TRUE(found.empty());
    ASSERT_TRUE(f.remove("a.log"));
    ASSERT_TRUE(fixture::append(*file, "two").ok());
    ASSERT_TRUE(reader->Skip(1).ok());
    ASSERT_TRUE(reader->Read(16, io_options, &found, scratch, nullptr).ok());
    EXPECT_EQ(found.ToString(), "wo");
    // What came after the removal is no edit.
    metadata_files again(f.io, {piece_bytes, cache_size});
    for (const auto& batch : f.take_all()) ASSERT_TRUE(again.load_edits(batch.bytes));
    EXPECT_EQ(again.snapshot(), f.files.snapshot());
    EXPECT_FALSE(again.file_system()->FileExists(path("a.log"), io_options, nullptr).ok());
}

TEST(metadata_file_system, truncate_reopen_and_reuse) {
    fixture f;
    auto file = f.writer_of("a.log");
    ASSERT_TRUE(fixture::append(*file, pattern(200'000)).ok());
    ASSERT_TRUE(file->Truncate(70'000, io_options, nullptr).ok());
    EXPECT_FALSE(file->Truncate(70'001, io_options, nullptr).ok());
    EXPECT_EQ(file->GetFileSize(io_options, nullptr), 70'000U);
    ASSERT_TRUE(fixture::append(*file, "more").ok());
    ASSERT_TRUE(f.rename("a.log", "b.log"));
    ASSERT_TRUE(fixture::append(*file, "!").ok());
    EXPECT_EQ(f.read("b.log"), pattern(200'000).substr(0, 70'000) + "more!");
    std::unique_ptr<rocksdb::FSWritableFile> reopened;
    ASSERT_TRUE(f.fs()->ReopenWritableFile(path("b.log"), file_options, &reopened, nullptr).ok());
    ASSERT_TRUE(fixture::append(*reopened, "?").ok());
    ASSERT_TRUE(f.fs()->Truncate(path("b.log"), 70'003, io_options, nullptr).ok());
    EXPECT_EQ(f.read("b.log", 69'999), pattern(200'000).substr(69'999, 1) + "mor");
    ASSERT_TRUE(f.fs()->ReopenWritableFile(path("new.log"), file_options, &reopened, nullptr).ok());
    ASSERT_TRUE(f.fs()->ReuseWritableFile(path("c.log"), path("b.log"), file_options, &reopened, nullptr).ok());
    ASSERT_TRUE(fixture::append(*reopened, "fresh").ok());
    EXPECT_EQ(f.read("c.log"), "fresh");
    // Cut in the middle of everything: each prefix loads, the whole equals the snapshot.
    metadata_files again(f.io, {piece_bytes, cache_size});
    const auto batches = f.take_all();
    EXPECT_GT(batches.size(), 3U);
    for (const auto& batch : batches) ASSERT_TRUE(again.load_edits(batch.bytes));
    EXPECT_EQ(again.snapshot(), f.files.snapshot());
    EXPECT_EQ(f.files.snapshot().size(), f.files.snapshot_size());
}

TEST(metadata_file_system, table_files_of_any_size_and_any_appends) {
    std::mt19937 random(3);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{999}, std::size_t{1000},
                                   std::size_t{1001}, std::size_t{5'000'000}}) {
        SCOPED_TRACE(size);
        fixture f;
        const std::string bytes = pattern(size);
        auto file = f.writer_of("1.sst");
        for (std::size_t done = 0; done < size;) {
            const auto part = std::min<std::size_t>(size - done, random() % 300'000);
            ASSERT_TRUE(fixture::append(*file, bytes.substr(done, part)).ok());
            done += part;
            EXPECT_EQ(file->GetFileSize(io_options, nullptr), done);
        }
        EXPECT_FALSE(f.exists("1.sst")) << "it comes into being when it is closed";
        if (size % 2 == 0) ASSERT_TRUE(file->Sync(io_options, nullptr).ok());
        ASSERT_TRUE(file->Close(io_options, nullptr).ok());
        ASSERT_TRUE(file->Close(io_options, nullptr).ok());
        EXPECT_FALSE(fixture::append(*file, "x").ok());
        EXPECT_EQ(f.read("1.sst"), bytes);
        for (int i = 0; i < 50; ++i) {
            const auto offset = random() % (size + 10), part = random() % 5000;
            EXPECT_EQ(f.read("1.sst", offset, part), offset < size ? bytes.substr(offset, part) : "");
        }
        const auto batches = f.take_all();
        ASSERT_EQ(batches.size(), 1U);
        EXPECT_EQ(batches[0].chunks.size(), f.io.chunk_count());
        EXPECT_EQ(f.files.live_table_chunks().size(), f.io.chunk_count());
        // Cold, from the edits alone.
        fixture cold;
        metadata_files again(f.io, {piece_bytes, cache_size});
        ASSERT_TRUE(again.load_edits(batches[0].bytes));
        std::unique_ptr<rocksdb::FSRandomAccessFile> reader;
        ASSERT_TRUE(again.file_system()->NewRandomAccessFile(path("1.sst"), file_options, &reader, nullptr).ok());
        std::string scratch(size + 1, '\0');
        rocksdb::Slice found;
        ASSERT_TRUE(reader->Read(0, size + 1, io_options, &found, scratch.data(), nullptr).ok());
        EXPECT_EQ(found.ToString(), bytes);
    }
}

TEST(metadata_file_system, an_unfinished_table_never_was_and_its_chunks_are_dead) {
    fixture f;
    {
        auto file = f.writer_of("1.sst");
        ASSERT_TRUE(fixture::append(*file, pattern(4'500'000)).ok());
        EXPECT_GE(f.files.live_table_chunks().size(), 2U) << "heal walks what is under way";
        EXPECT_FALSE(f.files.has_edits());
    }
    EXPECT_FALSE(f.exists("1.sst"));
    EXPECT_TRUE(f.files.live_table_chunks().empty());
    const auto batches = f.take_all();
    ASSERT_EQ(batches.size(), 1U);
    EXPECT_TRUE(batches[0].chunks.empty());
    EXPECT_EQ(batches[0].dead.size(), f.io.chunk_count());
    metadata_files again(f.io, {piece_bytes, cache_size});
    EXPECT_TRUE(again.load_edits(batches[0].bytes));
    EXPECT_EQ(again.snapshot(), f.files.snapshot());
}

TEST(metadata_file_system, a_failed_put_is_an_error_with_its_text_and_may_be_repeated) {
    fixture f;
    auto file = f.writer_of("1.sst");
    ASSERT_TRUE(fixture::append(*file, pattern(1000)).ok());
    f.io.set_put_error(errc::unreachable);
    const auto status = file->Close(io_options, nullptr);
    EXPECT_TRUE(status.IsIOError());
    EXPECT_TRUE(status.GetRetryable());
    EXPECT_NE(status.ToString().find("unreachable: put refused by the test"), std::string::npos) << status.ToString();
    f.io.set_put_error(errc::stale_epoch);
    EXPECT_FALSE(file->Close(io_options, nullptr).GetRetryable());
    f.io.set_put_error(std::nullopt);
    EXPECT_TRUE(file->Close(io_options, nullptr).ok());
    EXPECT_EQ(f.read("1.sst"), pattern(1000));
    EXPECT_EQ(f.files.counters().put_errors, 2U);
}

TEST(metadata_files, a_replaced_or_removed_table_is_dead_when_its_edit_is_taken) {
    fixture f;
    ASSERT_TRUE(f.write("1.sst", pattern(100)).ok());
    ASSERT_TRUE(f.write("2.sst", pattern(100)).ok());
    ASSERT_TRUE(f.write("3.sst", pattern(100)).ok());
    EXPECT_EQ(f.take_all().size(), 1U);
    ASSERT_TRUE(f.remove("1.sst"));
    ASSERT_TRUE(f.rename("2.sst", "3.sst"));
    EXPECT_EQ(f.files.live_table_chunks().size(), 3U) << "until the edits are taken they are needed after a crash";
    const auto batches = f.take_all();
    ASSERT_EQ(batches.size(), 1U);
    ASSERT_EQ(batches[0].dead.size(), 2U);
    EXPECT_EQ(batches[0].dead[0].chunk.sequence, 1U);
    EXPECT_EQ(batches[0].dead[1].chunk.sequence, 3U);
    EXPECT_EQ(f.files.live_table_chunks().size(), 1U);
}

TEST(metadata_files, a_batch_is_bounded_in_bytes_and_cuts_only_appends) {
    fixture f;
    const std::string bytes = pattern(1'000'000);
    auto file = f.writer_of("a.log");
    for (std::size_t i = 0; i < bytes.size(); i += 10'000)
        ASSERT_TRUE(fixture::append(*file, bytes.substr(i, 10'000)).ok());
    for (int i = 0; i < 3000; ++i) ASSERT_TRUE(f.write(std::to_string(i) + ".sst", "x").ok());
    std::size_t total = 0;
    metadata_files again(f.io, {piece_bytes, cache_size});
    for (const auto& batch : f.take_all()) {
        EXPECT_LE(batch.bytes.size(), edit_batch_size_min);
        total += batch.bytes.size();
        ASSERT_TRUE(again.load_edits(batch.bytes));
        EXPECT_FALSE(again.has_edits());
    }
    EXPECT_LT(total, bytes.size() + 3000 * 60) << "many small appends are one edit";
    EXPECT_EQ(again.snapshot(), f.files.snapshot());
}

const struct {
    std::string_view hexadecimal;
    errc code;
    const char* what;
} bad_edits[] = {
    {"02", errc::bad_version, "another version"},
    {"0100", errc::bad_format, "unknown kind"},
    {"010a0161", errc::bad_format, "unknown kind"},
    {"0101", errc::bad_format, "no name"},
    {"010100", errc::bad_format, "an empty name"},
    {"01010200", errc::bad_format, "a name that ends early"},
    {"0101022e2e", errc::bad_format, ".."},
    {"0101022f61", errc::bad_format, "/a"},
    {"0101016102016100000000000000010000000178", errc::bad_format, "an append after a gap"},
    {"0102016100000000000000000000000178", errc::bad_format, "an append to nothing"},
    {"0101016102016100000000000000000000000278", errc::bad_format, "an append that ends early"},
    {"010101610201610000000000000000ffffffff", errc::too_large, "a lying size"},
    {"010101610301610000000000000001", errc::bad_format, "a cut beyond the end"},
    {"010401610162", errc::bad_format, "a renaming of nothing"},
    {"01050161", errc::bad_format, "a removal of nothing"},
    {"01060161000000000000000100000000", errc::bad_format, "a size without chunks"},
    {"010601610000000000000001ffffffff", errc::too_large, "too many chunks"},
    {"01060161000000000000000100000002", errc::bad_format, "chunks that are not there"},
    {"01070161070161", errc::bad_format, "a directory twice"},
    {"01080161", errc::bad_format, "a removal of no directory"},
};

TEST(metadata_files, load_refuses_what_does_not_fit) {
    fixture f;
    for (const auto& c : bad_edits) {
        SCOPED_TRACE(c.what);
        byte_vector bytes;
        for (std::size_t i = 0; i < c.hexadecimal.size(); i += 2)
            bytes.push_back(static_cast<std::byte>(std::stoul(std::string(c.hexadecimal.substr(i, 2)), nullptr, 16)));
        metadata_files files(f.io, {piece_bytes, cache_size});
        const auto loaded = files.load_edits(bytes);
        ASSERT_FALSE(loaded);
        EXPECT_EQ(loaded.error().code, c.code) << loaded.error().message();
    }
    // Edits of one's own come first.
    ASSERT_TRUE(f.write("a.log", "x").ok());
    EXPECT_EQ(f.files.load_edits(as_bytes_view("\x01")).error().code, errc::conflict);
}

TEST(metadata_pieces, memory_is_bounded_and_old_pieces_are_fetched_again) {
    fixture f(40 * 4096);  // a piece of 1,000 bytes takes 4 KiB of memory
    const std::string bytes = pattern(200'000);
    ASSERT_TRUE(f.write("1.sst", bytes).ok());
    EXPECT_EQ(f.files.counters().cached_size, 40U * 4096);
    EXPECT_EQ(f.read("1.sst", 199'000, 1000), bytes.substr(199'000));
    EXPECT_EQ(f.io.gets, 0) << "written last, still there";
    EXPECT_EQ(f.read("1.sst", 0, 1000), bytes.substr(0, 1000));
    EXPECT_EQ(f.io.gets, 1);
    EXPECT_EQ(f.read("1.sst", 500, 100), bytes.substr(500, 100));
    EXPECT_EQ(f.io.gets, 1);
    EXPECT_EQ(f.read("1.sst"), bytes);
    EXPECT_LE(f.files.counters().cached_size, 40U * 4096);
    ASSERT_TRUE(f.remove("1.sst"));
    EXPECT_EQ(f.files.counters().cached_size, 0U);
}

TEST(metadata_pieces, prefetch_fills_and_a_cache_of_nothing_works) {
    fixture f;
    const std::string bytes = pattern(20'000);
    ASSERT_TRUE(f.write("1.sst", bytes).ok());
    for (const std::size_t cache : {std::size_t{0}, cache_size}) {
        metadata_files cold(f.io, {piece_bytes, cache});
        if (cache == 0) {
            ASSERT_TRUE(cold.load_edits(f.files.take_edits(1U << 20U).bytes));
        } else {
            ASSERT_TRUE(cold.load_edits(f.files.snapshot()));
        }
        std::unique_ptr<rocksdb::FSRandomAccessFile> file;
        ASSERT_TRUE(cold.file_system()->NewRandomAccessFile(path("1.sst"), file_options, &file, nullptr).ok());
        EXPECT_EQ(file->Prefetch(0, 5000, io_options, nullptr).ok(), cache != 0);
        EXPECT_TRUE(file->Prefetch(20'000, 5000, io_options, nullptr).ok());
        const int before = f.io.gets;
        std::string scratch(5000, '\0');
        rocksdb::Slice found;
        ASSERT_TRUE(file->Read(0, 5000, io_options, &found, scratch.data(), nullptr).ok());
        EXPECT_EQ(found.ToString(), bytes.substr(0, 5000));
        EXPECT_EQ(f.io.gets - before, cache == 0 ? 5 : 0);
    }
}

TEST(metadata_pieces, readers_that_miss_one_piece_share_one_fetch) {
    fixture f;
    const std::string bytes = pattern(3000);
    ASSERT_TRUE(f.write("1.sst", bytes).ok());
    (void)f.take_all();
    for (const bool fails : {true, false}) {
        metadata_files cold(f.io, {piece_bytes, cache_size});
        ASSERT_TRUE(cold.load_edits(f.files.snapshot()));
        f.io.gets = 0;
        f.io.hold_gets = true;
        f.io.set_get_error(fails ? std::optional(errc::timed_out) : std::nullopt);
        std::atomic<int> good = 0, bad = 0;
        std::vector<std::thread> readers;
        for (int i = 0; i < 6; ++i) {
            readers.emplace_back([&cold, &good, &bad, &bytes] {
                std::unique_ptr<rocksdb::FSRandomAccessFile> file;
                (void)cold.file_system()->NewRandomAccessFile(path("1.sst"), file_options, &file, nullptr);
                char scratch[100];
                rocksdb::Slice found;
                const auto status = file->Read(1500, 100, io_options, &found, scratch, nullptr);
                (status.ok() && found.ToString() == bytes.substr(1500, 100) ? good : bad)++;
            });
        }
        while (f.io.gets == 0) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        f.io.hold_gets = false;
        for (auto& reader : readers) reader.join();
        EXPECT_EQ(good, fails ? 0 : 6);
        if (!fails) {
            EXPECT_EQ(f.io.gets, 1);
            continue;
        }
        EXPECT_EQ(bad, 6);
        f.io.set_get_error(std::nullopt);
        std::unique_ptr<rocksdb::FSRandomAccessFile> file;
        ASSERT_TRUE(cold.file_system()->NewRandomAccessFile(path("1.sst"), file_options, &file, nullptr).ok());
        char scratch[10];
        rocksdb::Slice found;
        EXPECT_TRUE(file->Read(1500, 10, io_options, &found, scratch, nullptr).ok()) << "an error is not kept";
    }
}

/// A store that answers with pieces of another size, or too few.
class lying_io : public memory_table_io {
  public:
    using memory_table_io::memory_table_io;
    result<buffer> get_table_piece(const table_chunk& chunk, std::uint32_t piece) override {
        TRY(auto bytes, memory_table_io::get_table_piece(chunk, piece));
        bytes.shrink(bytes.size() - 1);
        return bytes;
    }
};

TEST(metadata_pieces, a_piece_of_another_size_is_refused) {
    lying_io io(piece_bytes);
    metadata_files files(io, {piece_bytes, 0});
    std::unique_ptr<rocksdb::FSWritableFile> file;
    ASSERT_TRUE(files.file_system()->NewWritableFile(path("1.sst"), file_options, &file, nullptr).ok());
    ASSERT_TRUE(file->Append("some bytes", io_options, nullptr).ok());
    ASSERT_TRUE(file->Close(io_options, nullptr).ok());
    std::unique_ptr<rocksdb::FSRandomAccessFile> reader;
    ASSERT_TRUE(files.file_system()->NewRandomAccessFile(path("1.sst"), file_options, &reader, nullptr).ok());
    char scratch[10];
    rocksdb::Slice found;
    const auto status = reader->Read(0, 10, io_options, &found, scratch, nullptr);
    EXPECT_NE(status.ToString().find("bad_format"), std::string::npos) << status.ToString();
    EXPECT_EQ(files.counters().fetch_errors, 1U);
}

}  // namespace
}  // namespace warifu
