#pragma once
// The ledger file: an append-only log of records, each with a sequence number and a CRC32C. A torn tail (records that
// were never flushed) is dropped when the file is opened; damage to a record that was flushed is told apart and
// refused, because forgetting it would offer spent bytes again. Compaction replaces the file by a snapshot: write
// beside, flush, rename, flush the directory. One owner, one thread.

#include <functional>
#include <string>
#include <vector>

#include "keyd/pool/files.h"
#include "keyd/pool/ledger_record.h"

namespace warifu {

/// The first 128 bytes of the file.
struct ledger_header {
    std::string site;
    uuid_of<struct ledger_tag> id;  // drawn when the ledger was made
    std::uint64_t generation = 0;   // counts compactions
    std::int64_t created_ns = 0;
    std::uint64_t first = 1;    // number of the first record; 0: a ledger of version 1 does not tell
    std::uint64_t durable = 1;  // records with a lower number were flushed before the file got its name
};
inline constexpr std::size_t ledger_header_size = 128;
inline constexpr std::size_t ledger_frame_size = 24;  // crc, size, sequence, durable

struct ledger_contents {
    ledger_header header;
    std::vector<ledger_record> records;
    std::uint64_t good_size = 0;  // of the file, up to the torn tail
    std::uint64_t next_sequence = 0;
    bool torn = false;
};

/// Reads a ledger's bytes. Errors: bad_format, bad_version, bad_checksum (a record that had been flushed is damaged).
result<ledger_contents> parse_ledger(bytes_view file);
/// The same for a file, without taking ownership: for the audit. Errors name the file.
result<ledger_contents> read_ledger(const std::string& path);

class ledger {
  public:
    /// Opens DIRECTORY/ledger or makes a new one for `site`. denied: it belongs to another site.
    static result<struct opened_ledger> open(const std::string& directory, const std::string& site);
    ledger(ledger&&) noexcept = default;

    /// Adds a record; durable after the next sync(). A failed append leaves no trace (no_space: try again later), and
    /// neither does a replace() that fails before its file got the ledger's name. After a failed sync() or rename every
    /// later call fails too: what reached the medium is then unknown, and the owner must start again from what it
    /// reads back.
    result<void> append(const ledger_record& record);
    result<void> sync();
    /// Atomically replaces all records by these, durably.
    result<void> replace(const std::vector<ledger_record>& records);

    /// Nothing is taken any more.
    bool has_failed() const { return failed_; }
    std::uint64_t size() const { return size_; }
    /// Records below this number have been flushed.
    std::uint64_t durable() const { return durable_; }
    /// As replace(), and the records' numbers go on behind `sequence`.
    result<void> replace_beyond(std::uint64_t sequence, const std::vector<ledger_record>& records);
    const ledger_header& header() const { return header_; }

  private:
    ledger() = default;
    result<void> write_new(const std::vector<ledger_record>& records);
    byte_vector frame(const ledger_record& record);

    std::string directory_, path_;
    unique_fd fd_;
    ledger_header header_;
    std::uint64_t size_ = 0;
    std::uint64_t next_sequence_ = 1;
    std::uint64_t durable_ = 0;  // records below this sequence number were flushed
    bool failed_ = false;
};

struct opened_ledger {
    ledger log;
    ledger_contents contents;  // what it held when it was opened
};

}  // namespace warifu
