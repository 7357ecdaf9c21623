#include "fs/volume/record_codec.h"

#include <algorithm>

#include "fs/sharing/amd.h"
#include "fs/sharing/split.h"

namespace warifu {
namespace {

constexpr int subset_tries_max = 256;

struct share_set {
    std::vector<share_index> which;
    std::vector<bytes_view> shares;
};

/// The next combination of `k` positions below `count`; false after the last one.
bool next_combination(std::vector<std::size_t>& positions, std::size_t count) {
    const std::size_t k = positions.size();
    for (std::size_t i = k; i-- > 0;) {
        if (positions[i] == count - k + i) continue;
        ++positions[i];
        for (std::size_t j = i + 1; j < k; ++j) positions[j] = positions[j - 1] + 1;
        return true;
    }
    return false;
}

}  // namespace

static codeword_name name_of(const volume_id& volume, const ballot& epoch, std::uint64_t sequence) {
    codeword_name name;
    name.volume = volume;
    name.type = codeword_type::journal_record;
    name.epoch = epoch;
    name.sequence = sequence;
    return name;
}

result<std::vector<slice>> record_codec::seal(const ballot& epoch, std::uint64_t sequence, bytes_view payload,
                                              random_source& random) const {
    TRY_VOID(random.begin_chunk());
    TRY(const buffer codeword, encode_codeword(shape_, name_of(volume_, epoch, sequence), payload, random));
    std::vector<buffer> shares;
    std::vector<bytes_span> outputs;
    for (unsigned i = 0; i < shape_.n(); ++i) shares.emplace_back(codeword.size());
    for (buffer& share : shares) outputs.push_back(share.span());
    TRY_VOID(split(shape_, codeword.view(), random, outputs));
    std::vector<slice> sealed;
    for (buffer& share : shares) sealed.emplace_back(std::move(share));
    return sealed;
}

result<record_codec::opened> record_codec::open_any(const ballot& epoch, std::uint64_t sequence,
                                                    const std::map<share_index, bytes_view>& shares) const {
    if (shares.size() < shape_.k()) return fail(errc::missing_shares, "fewer than k shares of a record");
    // Shares of the size that most sites give; others cannot be of this record.
    std::map<std::size_t, unsigned> sizes;
    for (const auto& [site, share] : shares) ++sizes[share.size()];
    const auto usual = std::ranges::max_element(sizes, {}, [](const auto& entry) { return entry.second; });
    share_set all;
    opened out;
    for (const auto& [site, share] : shares) {
        if (share.size() != usual->first || share.empty()) {
            out.liars.push_back(site);
            continue;
        }
        all.which.push_back(site);
        all.shares.push_back(share);
    }
    if (all.which.size() < shape_.k()) return fail(errc::bad_tag, "the shares of a record differ in size");
    std::vector<std::size_t> positions(shape_.k());
    for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = i;
    buffer codeword(usual->first);
    for (int tries = 0; tries < subset_tries_max; ++tries) {
        share_set some;
        for (const std::size_t position : positions) {
            some.which.push_back(all.which[position]);
            some.shares.push_back(all.shares[position]);
        }
        if (reconstruct(shape_, some.which, some.shares, codeword.span())) {
            const auto payload = open_codeword(shape_, name_of(volume_, epoch, sequence), codeword.view());
            if (payload) {
                out.payload.assign(payload->begin(), payload->end());
                buffer expected(codeword.size());
                for (std::size_t i = 0; i < all.which.size(); ++i) {
                    if (std::ranges::find(some.which, all.which[i]) != some.which.end()) continue;
                    TRY_VOID(repair(shape_, all.which[i], some.which, some.shares, expected.span()));
                    if (!equal_constant_time(expected.view(), all.shares[i])) out.liars.push_back(all.which[i]);
                }
                return out;
            }
        }
        if (!next_combination(positions, all.which.size())) break;
    }
    return fail(errc::bad_tag, "no k shares of a record verify");
}

result<slice> record_codec::rebuild(share_index target, const std::map<share_index, bytes_view>& shares) const {
    share_set some;
    for (const auto& [site, share] : shares) {
        if (some.which.size() == shape_.k()) break;
        some.which.push_back(site);
        some.shares.push_back(share);
    }
    if (some.which.size() < shape_.k()) return fail(errc::missing_shares, "fewer than k shares of a record");
    buffer share(some.shares[0].size());
    TRY_VOID(repair(shape_, target, some.which, some.shares, share.span()));
    return slice(std::move(share));
}

}  // namespace warifu
