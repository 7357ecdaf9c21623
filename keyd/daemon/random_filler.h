#pragma once
// Fills the random pool from a device or file (a QRNG, /dev/hwrng): blocks of kind random, written as pad files where
// deliveries arrive. Every byte passes the health tests of health_tests.h first; a block in which one fails is
// overwritten and never delivered.

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "keyd/health_tests.h"
#include "keyd/pad_source.h"
#include "keyd/pool/files.h"

namespace warifu {

struct random_options {
    /// A character device or FIFO; or a file of random bytes, which are taken from its end and erased there before they
    /// count, so that no run of keyd takes them twice.
    std::string device;
    claim strength = claim::computational;  // of its bytes, at best
    /// Bits per byte that the source promises. The pool takes its bytes as they are: sharing wants them uniform, so the
    /// claim information_theoretic needs a source that does its own conditioning, and 8 here.
    double min_entropy = 8;
    std::uint64_t target = 64U << 20U;      // unspent bytes to keep; filling begins at half of them
    std::uint64_t block_size = 4U << 20U;   // of each block, a multiple of 4096
    std::uint32_t retry_ms = 60'000;        // pause after a health test failed
    std::uint32_t reopen_ms = 2'000;        // pause when the source brings nothing
};

/// Used by one worker thread at a time.
class random_filler {
  public:
    /// Samples that are tested and thrown away after a start and after each failure (SP 800-90B 4.3: at least 1024).
    static constexpr std::size_t startup_sample_count = 4096;

    random_filler(random_options options, std::string site, std::string incoming)
        : options_(std::move(options)), site_(std::move(site)), incoming_(std::move(incoming)) {}

    /// Reads one block's bytes and delivers the block at `offset`. Errors name the device: bad_tag (a health test
    /// failed), no_key (a file has no bytes left), cancelled (*stop became true), not_found, denied, io_error.
    result<void> make_block(std::uint64_t offset, std::shared_ptr<const std::atomic<bool>> stop);

    const random_options& options() const { return options_; }

  private:
    result<void> open();
    result<void> fill(bytes_span out, const std::atomic<bool>& stop);
    result<void> read_device(bytes_span out, const std::atomic<bool>& stop);
    result<void> take_from_file(bytes_span out);
    result<void> write_block(std::uint64_t offset, const std::atomic<bool>& stop);

    random_options options_;
    std::string site_, incoming_;
    unique_fd source_;
    bool is_file_ = false;
    std::optional<health_tests> tests_;  // none: a startup is due
};

}  // namespace warifu
