#include "fs/volume/record_codec.h"

#include <algorithm>

#include "fs/base/codec.h"
#include "fs/base/limits.h"
#include "fs/sharing/amd.h"
#include "fs/sharing/split.h"

namespace warifu {
namespace {

constexpr int subset_tries_max = 256;
constexpr std::uint8_t mark_version = 1;

struct share_set {
    std::vector<share_index> which;
    std::vector<bytes_view> shares;
};
struct agreement {
    share_set all;
    view_mark mark;
    std::vector<share_index> others;  // whose share is of another size or mark
};

/// Behind the share, so that the share stays aligned; read from its end.
byte_vector encode_view_mark(const view_mark& mark) {
    writer out;
    for (const auto& member : mark.members) out.put_be(member.site.value).put_be(member.incarnation);
    out.put_be(static_cast<std::uint8_t>(mark.members.size())).put_be(mark_version);
    return out.take();
}

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

std::uint32_t incarnation_mark(const incarnation_id& incarnation) {
    std::uint32_t mark = 0;
    for (std::size_t i = 0; i < sizeof mark; ++i)
        mark = (mark << 8U) | std::to_integer<std::uint32_t>(incarnation.bytes[i]);
    return mark;
}

view_mark mark_of(const view& v) {
    view_mark mark;
    for (const view_member& member : v.members) {
        view_mark::member& m = mark.members.emplace_back();
        m.site = member.site;
        m.incarnation = incarnation_mark(member.incarnation);
    }
    return mark;
}

result<view_mark> decode_view_mark(bytes_view share) {
    if (share.size() < 2) return fail(errc::bad_format, "a share without a mark");
    if (std::to_integer<std::uint8_t>(share.back()) != mark_version)
        return fail(errc::bad_version, "a record's share of another format");
    const auto count = std::to_integer<std::size_t>(share[share.size() - 2]);
    view_mark mark;
    mark.members.resize(count);
    if (count == 0 || count > site_count_max || mark.size() > share.size())
        return fail(errc::bad_format, "a mark names 1 to 16 sites");
    reader in(share.last(mark.size()));
    for (std::size_t i = 0; i < count; ++i) {
        TRY(mark.members[i].site.value, in.take_be<std::uint8_t>());
        TRY(mark.members[i].incarnation, in.take_be<std::uint32_t>());
        if (mark.members[i].site.value >= site_count_max || (i > 0 && mark.members[i].site <= mark.members[i - 1].site))
            return fail(errc::bad_format, "a mark's sites are not ascending");
    }
    return mark;
}

result<std::vector<slice>> record_codec::seal(const ballot& epoch, std::uint64_t sequence, const view& holders,
                                              bytes_view payload, random_source& random) const {
    TRY_VOID(random.begin_chunk());
    TRY(const buffer codeword, encode_codeword(shape_, name_of(volume_, epoch, sequence), payload, random));
    const byte_vector mark = encode_view_mark(mark_of(holders));
    std::vector<buffer> shares;
    std::vector<bytes_span> outputs;
    for (unsigned i = 0; i < shape_.n(); ++i) shares.emplace_back(codeword.size() + mark.size());
    for (buffer& share : shares) {
        outputs.push_back(share.span(0, codeword.size()));
        std::ranges::copy(mark, share.span(codeword.size(), mark.size()).begin());
    }
    TRY_VOID(split(shape_, codeword.view(), random, outputs));
    std::vector<slice> sealed;
    for (buffer& share : shares) sealed.emplace_back(std::move(share));
    return sealed;
}

/// Shares without their marks, of the size and mark that most sites give; others cannot be of this record.
static agreement agreeing(const std::map<share_index, bytes_view>& shares) {
    struct seen {
        std::size_t size = 0;
        view_mark mark;
        std::vector<share_index> sites;
    };
    agreement out;
    std::vector<seen> kinds;
    for (const auto& [site, share] : shares) {
        const auto found = decode_view_mark(share);
        if (!found || share.size() == found->size()) {
            out.others.push_back(site);
            continue;
        }
        const auto same = [&](const seen& s) { return s.size == share.size() && s.mark == *found; };
        auto kind = std::ranges::find_if(kinds, same);
        if (kind == kinds.end()) {
            kinds.emplace_back();
            kind = kinds.end() - 1;
            kind->size = share.size();
            kind->mark = *found;
        }
        kind->sites.push_back(site);
    }
    if (kinds.empty()) return out;
    const auto usual = std::ranges::max_element(kinds, {}, [](const seen& s) { return s.sites.size(); });
    out.mark = usual->mark;
    for (const seen& kind : kinds)
        if (&kind != &*usual) out.others.insert(out.others.end(), kind.sites.begin(), kind.sites.end());
    for (const share_index site : usual->sites) {
        out.all.which.push_back(site);
        out.all.shares.push_back(shares.at(site).first(usual->size - out.mark.size()));
    }
    return out;
}

result<record_codec::opened> record_codec::open_any(const ballot& epoch, std::uint64_t sequence,
                                                    const std::map<share_index, bytes_view>& shares) const {
    if (shares.size() < shape_.k()) return fail(errc::missing_shares, "fewer than k shares of a record");
    opened out;
    const agreement usual = agreeing(shares);
    const share_set& all = usual.all;
    out.mark = usual.mark;
    out.liars = usual.others;
    if (all.which.size() < shape_.k()) return fail(errc::bad_tag, "the shares of a record differ in size or mark");
    std::vector<std::size_t> positions(shape_.k());
    for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = i;
    buffer codeword(all.shares.front().size());
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
    const agreement usual = agreeing(shares);
    share_set some = usual.all;
    if (some.which.size() < shape_.k()) return fail(errc::missing_shares, "fewer than k shares of a record");
    some.which.resize(shape_.k());
    some.shares.resize(shape_.k());
    const std::size_t size = some.shares[0].size();
    const byte_vector tail = encode_view_mark(usual.mark);
    buffer share(size + tail.size());
    TRY_VOID(repair(shape_, target, some.which, some.shares, share.span(0, size)));
    std::ranges::copy(tail, share.span(size, tail.size()).begin());
    return slice(std::move(share));
}

}  // namespace warifu
