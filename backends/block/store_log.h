#pragma once
// The chain of log segments on the device. A writer appends one batch at a time and flushes before the next one, so at
// most the last batch of a log can be torn; a reader that finds good batches behind a bad one reports damage instead of
// losing them.

#include <optional>

#include "backends/block/device.h"
#include "backends/block/log_format.h"

namespace warifu {

/// Where the log goes on.
struct log_position {
    std::vector<std::uint64_t> segments;  // sectors of the chain so far; the last one is written to
    std::uint64_t number = 0;             // of that one
    std::uint64_t next = 0;               // sector set aside for number + 1
    std::uint32_t used = 0;               // sectors used in the last one, its header included
    std::uint64_t batch = 0;              // sequence number of the next batch
};

class log_writer {
  public:
    log_writer(device& disk, store_uuid store, std::uint32_t segment_sectors, log_position position)
        : disk_(disk), store_(store), segment_sectors_(segment_sectors), at_(std::move(position)) {}

    /// The most entry bytes that one batch takes: batches of this size fill a segment.
    static std::size_t batch_size_max(std::uint32_t segment_sectors);
    /// The most segments that so many entry bytes take as batches that are filled as far as entries fit.
    static std::uint64_t segments_for(std::uint64_t entry_bytes, std::uint32_t segment_sectors);

    /// Whether a batch of that many entry bytes begins a new segment: then add_segment first.
    bool needs_segment(std::size_t entry_bytes) const;
    /// Sets `sector` aside for the segment after the next one. REQUIRES: needs_segment.
    void add_segment(std::uint64_t sector) { spare_ = sector; }
    /// Writes a batch; it is durable after the next flush of the device. Errors: io_error.
    task<> write(bytes_view entries);

    const log_position& position() const { return at_; }
    /// Sectors of the chain, with the segment set aside.
    std::uint64_t sectors() const { return (at_.segments.size() + 1) * std::uint64_t{segment_sectors_}; }

  private:
    device& disk_;
    store_uuid store_;
    std::uint32_t segment_sectors_;
    log_position at_;
    std::optional<std::uint64_t> spare_;
    buffer scratch_;
};

class log_reader {
  public:
    log_reader(device& disk, const superblock& block);

    /// The next batch, or nothing at the end. Errors: bad_checksum, bad_format (the log is damaged), io_error.
    task<std::optional<decoded_batch>> next();
    /// After the end.
    const log_position& position() const { return at_; }

  private:
    task<bool> load(std::uint64_t sector, std::uint64_t number);
    result<std::optional<decoded_batch>> parse_here();
    bool is_ours(const batch_header& header, std::uint64_t segment) const;
    bool holds_later_batch(bytes_view sectors, std::uint64_t segment, std::uint32_t from) const;

    device& disk_;
    store_uuid store_;
    std::uint32_t segment_sectors_;
    log_position at_;
    std::uint64_t first_sector_;
    buffer segment_;
};

}  // namespace warifu
