#pragma once
// Open files of the metadata file system. A handle keeps its contents alive when the name goes, as POSIX does.

#include <rocksdb/file_system.h>

#include "fs/volume/metadata_file_system.h"

namespace warifu {

/// The status of an error: an IOError with its text, retryable where waiting may help (RocksDB then retries by itself).
rocksdb::IOStatus to_io_status(const error& e);

/// Reads a file in memory.
class memory_reader final : public rocksdb::FSRandomAccessFile {
  public:
    memory_reader(std::shared_ptr<metadata_state> state, std::shared_ptr<file_bytes> bytes)
        : state_(std::move(state)), bytes_(std::move(bytes)) {}

    rocksdb::IOStatus Read(std::uint64_t offset, std::size_t n, const rocksdb::IOOptions& options,
                           rocksdb::Slice* result, char* scratch, rocksdb::IODebugContext* debug) const override;

  private:
    std::shared_ptr<metadata_state> state_;
    std::shared_ptr<file_bytes> bytes_;
};

/// Reads a table file through the pieces in memory.
class table_reader final : public rocksdb::FSRandomAccessFile {
  public:
    table_reader(std::shared_ptr<metadata_state> state, std::shared_ptr<const table_layout> table)
        : state_(std::move(state)), table_(std::move(table)) {}

    rocksdb::IOStatus Read(std::uint64_t offset, std::size_t n, const rocksdb::IOOptions& options,
                           rocksdb::Slice* result, char* scratch, rocksdb::IODebugContext* debug) const override;
    rocksdb::IOStatus Prefetch(std::uint64_t offset, std::size_t n, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

  private:
    /// Gets the pieces under [offset, offset + size) of the file; copies them to `out` unless that is null.
    result<void> visit(std::uint64_t offset, std::size_t size, std::byte* out) const;

    std::shared_ptr<metadata_state> state_;
    std::shared_ptr<const table_layout> table_;
};

/// Reads any file from its start on. A file in memory may have grown at the next read (followers read a MANIFEST so).
class sequential_reader final : public rocksdb::FSSequentialFile {
  public:
    explicit sequential_reader(std::unique_ptr<rocksdb::FSRandomAccessFile> file) : file_(std::move(file)) {}

    rocksdb::IOStatus Read(std::size_t n, const rocksdb::IOOptions& options, rocksdb::Slice* result, char* scratch,
                           rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus Skip(std::uint64_t n) override;

  private:
    std::unique_ptr<rocksdb::FSRandomAccessFile> file_;
    std::uint64_t offset_ = 0;
};

/// Writes a file in memory: every append is an edit.
class memory_writer final : public rocksdb::FSWritableFile {
  public:
    memory_writer(std::shared_ptr<metadata_state> state, std::shared_ptr<file_bytes> bytes)
        : state_(std::move(state)), bytes_(std::move(bytes)) {}

    using FSWritableFile::Append;
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus Truncate(std::uint64_t size, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus Close(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus Flush(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
    bool IsSyncThreadSafe() const override { return true; }
    std::uint64_t GetFileSize(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;

  private:
    std::shared_ptr<metadata_state> state_;
    std::shared_ptr<file_bytes> bytes_;
};

/// Writes a table file: bytes are collected into chunks and put; the file comes into being when it is closed. One that
/// is dropped before, or whose put failed, never was; its chunks are abandoned.
class table_writer final : public rocksdb::FSWritableFile {
  public:
    table_writer(std::shared_ptr<metadata_state> state, std::string name);
    ~table_writer() override;

    using FSWritableFile::Append;
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus Close(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus Flush(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
    rocksdb::IOStatus Sync(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;
    std::uint64_t GetFileSize(const rocksdb::IOOptions& options, rocksdb::IODebugContext* debug) override;

  private:
    result<void> put_collected();

    std::shared_ptr<metadata_state> state_;
    const std::string name_;
    buffer collected_;
    std::size_t collected_size_ = 0;
    std::vector<table_chunk> chunks_;
    std::uint64_t put_size_ = 0;
    bool closed_ = false;
};

}  // namespace warifu
