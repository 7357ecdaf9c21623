#pragma once
// Each keyd of a link is a witness for the other: it remembers durably how far the other's ledger had come, in a place
// that is not restored together with it. A ledger that opens behind what its witness remembers is an older copy, and
// what it calls unspent may have been used.

#include <optional>
#include <string>
#include <vector>

#include "fs/base/bytes.h"
#include "fs/base/clock.h"
#include "fs/base/error.h"
#include "fs/base/ids.h"

namespace warifu {

using ledger_id = uuid_of<struct ledger_tag>;

/// How far a ledger has come in one run of its keyd.
struct ledger_mark {
    ledger_id id;
    std::uint64_t run = 0;       // drawn when keyd opened it
    std::uint64_t sequence = 0;  // records below this number have been flushed
    bool operator==(const ledger_mark&) const = default;
};

/// What a witness remembers of one ledger.
struct witnessed_ledger {
    ledger_id id;
    std::uint64_t run = 0;     // the last that it heard of
    std::uint64_t before = 0;  // how far all earlier runs had come
    std::uint64_t sequence = 0;
    bool operator==(const witnessed_ledger&) const = default;
};
inline constexpr std::size_t witnessed_ledgers_max = 8;  // of one site: those that it had before
inline constexpr std::uint32_t witness_interval_ms = 2'000;  // between two writings in the middle of a run

byte_vector encode_witness(const std::vector<witnessed_ledger>& ledgers);
/// bad_format, bad_version, bad_checksum.
result<std::vector<witnessed_ledger>> decode_witness(bytes_view in);

/// What this site remembers of one peer's ledgers. Core thread; writing blocks it for a flush.
class link_witness {
  public:
    /// Reads the file if there is one. A damaged file is as none (a witness that forgot is no danger, only less help);
    /// its error is returned by last_error().
    static link_witness open(std::string file);

    /// The peer told its mark. The end of a run that came before is remembered first, so that nothing which a restored
    /// ledger tells can cover it.
    result<void> heard(const ledger_mark& mark, deadline now);
    /// How far the ledger had come before the run that was heard last; 0: not known.
    std::uint64_t before(const ledger_id& id) const;
    /// The ledger heard of last.
    ledger_id last() const { return ledgers_.empty() ? ledger_id{} : ledgers_.back().id; }
    const std::vector<witnessed_ledger>& ledgers() const { return ledgers_; }
    const std::string& last_error() const { return last_error_; }

  private:
    std::string file_;
    std::vector<witnessed_ledger> ledgers_;  // the one heard of last stands last
    deadline written_{};
    std::string last_error_;
};

}  // namespace warifu
