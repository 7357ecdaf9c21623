#pragma once
// One journal record as n shares and back: AMD codeword, then split (DESIGN section 4, "Integrity").

#include <map>
#include <vector>

#include "fs/base/buffer.h"
#include "fs/base/ids.h"
#include "fs/base/random.h"
#include "fs/sharing/scheme.h"

namespace warifu {

/// Immutable; thread-safe.
class record_codec {
  public:
    record_codec(const scheme& shape, const volume_id& volume) : shape_(shape), volume_(volume) {}

    unsigned threshold() const { return shape_.k(); }
    unsigned site_count() const { return shape_.n(); }

    /// The n shares of the record (epoch, sequence) with this payload (at most codeword_payload_size_max bytes).
    result<std::vector<slice>> seal(const ballot& epoch, std::uint64_t sequence, bytes_view payload,
                                    random_source& random) const;

    struct opened {
        byte_vector payload;
        std::vector<share_index> liars;  // sites whose share differs from what the verified ones imply
    };
    /// Opens from k or more shares: tries subsets of k (a bounded number of them) until one verifies. Errors:
    /// missing_shares, bad_tag.
    result<opened> open_any(const ballot& epoch, std::uint64_t sequence,
                            const std::map<share_index, bytes_view>& shares) const;

    /// The share of `target`, bit for bit as it was, from k good others.
    result<slice> rebuild(share_index target, const std::map<share_index, bytes_view>& shares) const;

  private:
    scheme shape_;
    volume_id volume_;
};

}  // namespace warifu
