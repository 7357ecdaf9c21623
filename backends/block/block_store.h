#pragma once
// The sector store: shares of any number of volumes on one raw block device or in one file. See README.md and
// FORMAT.md.

#include <memory>
#include <string>
#include <vector>

#include "backends/share_store.h"

namespace warifu {

class block_core;
class device;

struct block_store_options {
    std::string path;  // a block device or a regular file
    std::uint64_t size =
        0;                 // bytes; format() only: of the file to make, or less than the block device; 0: the device's
    bool force = false;    // format() only: over an existing store
    bool rebuild = false;  // open() only: ignore a damaged log and find the shares by scanning (new incarnation)
    std::uint64_t zero_ahead = 1ULL << 30U;  // bytes of fresh space kept zero-written ahead of use
    std::uint64_t checkpoint_after = 0;      // log bytes that bring on a checkpoint; 0: chosen by size (tests set it)
};

/// What `warifu status` shows of a store. Sizes are bytes.
struct block_store_status {
    std::uint64_t capacity = 0;
    std::uint64_t free = 0;
    std::uint64_t reserved = 0;
    std::uint64_t to_erase = 0;  // freed, not yet overwritten
    std::uint64_t chunk_count = 0;
    std::uint64_t volume_count = 0;
    std::uint64_t log_size = 0;
    std::uint64_t flush_count = 0;
    std::uint64_t commit_count = 0;
    std::uint64_t checkpoint_count = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t bytes_read = 0;
    std::uint64_t media_errors = 0;     // checksums that did not match and reads that failed
    std::uint64_t dropped_records = 0;  // journal records of a torn last commit, at open
    bool failed = false;                // a write or flush failed: no changes until it is opened again
};

/// Thread: the io_context's one thread, open() included. Destroying it without close() is a crash: what was not flushed
/// may be lost. It and its volumes must go before the io_context is gone for good.
class block_store {
  public:
    /// Makes an empty store with a fresh incarnation. Blocks. Errors: exists (a store is there, and no force),
    /// bad_argument, too_large, busy, denied, no_space, io_error.
    static result<void> format(const block_store_options& options);

    /// Errors, each one clear line: not_found, bad_format (no store), bad_version, bad_checksum (superblock or log
    /// damaged), busy (open elsewhere), denied, io_error.
    static task<std::unique_ptr<block_store>> open(asio::io_context& core, block_store_options options);
    /// Formats and opens a device of the caller's: tests put faulty ones below the store.
    static task<> format_device(device& disk, block_store_options options);
    static task<std::unique_ptr<block_store>> open_device(asio::io_context& core, std::unique_ptr<device> disk,
                                                          block_store_options options);

    ~block_store();

    /// The store of one volume; made on its first change when it is new. Each call gives an instance with its own
    /// reservations. Errors: busy (too many volumes).
    result<std::shared_ptr<share_store>> open_volume(volume_id volume);
    std::vector<volume_id> volumes() const;
    incarnation_id incarnation() const;
    block_store_status status() const;

    /// Makes everything durable, finishes erasing (up to a time-out) and writes a checkpoint. No request may follow.
    task<> close();

  private:
    explicit block_store(std::shared_ptr<block_core> core);
    std::shared_ptr<block_core> core_;
};

}  // namespace warifu
