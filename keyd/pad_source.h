#pragma once
// Where blocks of pad or random bytes come from: pad files (a courier, the dealer), later KMEs (ETSI GS QKD 014). keyd
// polls its sources and adds what they deliver to its pool.

#include <optional>

#include "fs/base/buffer.h"
#include "keyd/pad_broker.h"

namespace warifu {

/// A block's kind is fixed at birth: what a peer or a relay ever held never becomes sharing randomness.
enum class block_kind : std::uint8_t { pad = 1, random = 2 };

struct block_header {
    block_id id;
    block_kind kind = block_kind::pad;
    claim strength = claim::simulated;
    stream_name stream;            // for pads; sender == receiver == the site for random blocks
    pad_range range;               // absolute place in the stream, identical at both ends
    std::uint32_t hello_size = 0;  // the first bytes of the range: hello slots only; 0 for random blocks
    std::uint64_t data_begin() const { return range.offset + hello_size; }
    bool operator==(const block_header&) const = default;
};

/// One block waiting to be taken. The pool moves or copies its bytes and then calls `consumed`.
class pad_source {
  public:
    virtual ~pad_source() = default;
    struct delivery {
        block_header header;
        std::string path;               // a file that holds the bytes
        std::uint64_t data_offset = 0;  // where in that file
        bool movable = false;           // a file in the pad file format that the pool may take by renaming it
    };
    /// The next block that has not been consumed, nullopt when there is none now. Errors name the file.
    virtual result<std::optional<delivery>> next() = 0;
    /// The last delivery is durably in the pool: the source may forget it.
    virtual result<void> consumed(const block_id& id) = 0;
    /// The last delivery will never be taken (imported before, not for this site, damaged): the source sets it aside.
    virtual result<void> refused(const block_id& id) = 0;
    /// Bytes per second that this source brings for a stream, where it knows; then no more is out at once than a crash
    /// may burn.
    virtual std::optional<std::uint64_t> key_rate(const stream_name&) const { return std::nullopt; }
    /// The last delivery cannot be taken now (the store is full): it comes again later.
    virtual void postpone() = 0;
};

}  // namespace warifu
