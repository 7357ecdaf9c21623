#pragma once
// One journal record as n shares and back: AMD codeword, then split (DESIGN section 4, "Integrity").

#include <map>
#include <vector>

#include "fs/base/buffer.h"
#include "fs/base/ids.h"
#include "fs/base/random.h"
#include "fs/sharing/scheme.h"
#include "fs/volume/record.h"

namespace warifu {

/// What stands in clear behind each share of a record: the view that must hold it for the record to be committed. A
/// newcomer that finds the record at fewer than k sites learns from it who else must be asked before the record may be
/// taken for one that was never committed (fs/volume/README.md, "Recovery"). The sites see who takes part anyway. It is
/// not authenticated: a site that changes it could as well hide the record.
struct view_mark {
    struct member {
        share_index site;
        std::uint32_t incarnation = 0;  // the first four bytes of the incarnation of its store
        bool operator==(const member&) const = default;
    };
    std::vector<member> members;  // ascending by site
    std::size_t size() const { return 2 + 5 * members.size(); }
    bool operator==(const view_mark&) const = default;
};
view_mark mark_of(const view& v);
std::uint32_t incarnation_mark(const incarnation_id& incarnation);
/// The mark behind a share. Errors: bad_format, bad_version.
result<view_mark> decode_view_mark(bytes_view share);

/// Immutable; thread-safe.
class record_codec {
  public:
    record_codec(const scheme& shape, const volume_id& volume) : shape_(shape), volume_(volume) {}

    unsigned threshold() const { return shape_.k(); }
    unsigned site_count() const { return shape_.n(); }

    /// The n shares of the record (epoch, sequence) with this payload (at most codeword_payload_size_max bytes), each
    /// with the mark of the view that is to hold it.
    result<std::vector<slice>> seal(const ballot& epoch, std::uint64_t sequence, const view& holders,
                                    bytes_view payload, random_source& random) const;

    struct opened {
        byte_vector payload;
        view_mark mark;
        std::vector<share_index> liars;  // sites whose share differs from what the verified ones imply
    };
    /// Opens from k or more shares: tries subsets of k (a bounded number of them) until one verifies. Errors:
    /// missing_shares, bad_tag.
    result<opened> open_any(const ballot& epoch, std::uint64_t sequence,
                            const std::map<share_index, bytes_view>& shares) const;

    /// The share of `target` with its mark, bit for bit as it was, from k good others.
    result<slice> rebuild(share_index target, const std::map<share_index, bytes_view>& shares) const;

  private:
    scheme shape_;
    volume_id volume_;
};

}  // namespace warifu
