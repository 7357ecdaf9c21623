#include "fs/volume/record.h"

#include <algorithm>

#include "fs/base/codec.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

enum section : std::uint8_t {
    has_view = 1,
    has_epochs = 2,
    has_description = 4,
    has_snapshot = 8,
    has_edits = 16,
    all_sections = 31,
};

constexpr std::size_t site_name_size_max = 255;

void encode_view(writer& out, const view& v) {
    out.put_be(v.number).put_be(static_cast<std::uint8_t>(v.members.size()));
    for (const view_member& member : v.members) out.put_be(member.site.value).put(member.incarnation);
}

result<view> decode_view(reader& in) {
    view v;
    TRY(v.number, in.take_be<std::uint64_t>());
    TRY(const auto count, in.take_be<std::uint8_t>());
    if (count == 0 || count > site_count_max) return fail(errc::bad_format, "a view has 1 to 16 members");
    for (unsigned i = 0; i < count; ++i) {
        view_member member;
        TRY(member.site.value, in.take_be<std::uint8_t>());
        TRY_VOID(in.take(member.incarnation));
        if (member.site.value >= site_count_max || (i > 0 && member.site <= v.members.back().site))
            return fail(errc::bad_format, "view members are not ascending");
        v.members.push_back(member);
    }
    return v;
}

void encode_epochs(writer& out, const std::vector<epoch_keys>& epochs) {
    out.put_be(static_cast<std::uint32_t>(epochs.size()));
    for (const epoch_keys& keys : epochs) out.put(keys.epoch).put_bytes(keys.tag_point).put_bytes(keys.hash_point);
}

result<std::vector<epoch_keys>> decode_epochs(reader& in) {
    TRY(const auto count, in.take_count(48, epoch_count_max));
    std::vector<epoch_keys> epochs(count);
    for (epoch_keys& keys : epochs) {
        TRY(keys.epoch, in.take<ballot>());
        TRY(const auto tag_point, in.take_bytes(16));
        TRY(const auto hash_point, in.take_bytes(16));
        std::ranges::copy(tag_point, keys.tag_point.begin());
        std::ranges::copy(hash_point, keys.hash_point.begin());
    }
    return epochs;
}

void encode_description(writer& out, const volume_description& description) {
    out.put(description.id).put_be(description.threshold);
    out.put_be(static_cast<std::uint8_t>(description.sites.size()));
    for (const std::string& site : description.sites) out.put_sized(as_bytes_view(site));
}

result<volume_description> decode_description(reader& in) {
    volume_description description;
    TRY_VOID(in.take(description.id));
    TRY(description.threshold, in.take_be<std::uint8_t>());
    TRY(const auto count, in.take_be<std::uint8_t>());
    if (count > site_count_max || description.threshold < 2 || description.threshold > count)
        return fail(errc::bad_format, "a volume has 2 <= k <= n <= 16");
    for (unsigned i = 0; i < count; ++i) {
        TRY(const auto name, in.take_sized(site_name_size_max));
        description.sites.emplace_back(as_text(name));
    }
    return description;
}

result<snapshot_part> decode_snapshot(reader& in) {
    snapshot_part snapshot;
    TRY(snapshot.part, in.take_be<std::uint32_t>());
    TRY(snapshot.parts, in.take_be<std::uint32_t>());
    if (snapshot.part >= snapshot.parts || snapshot.parts > snapshot_part_count_max)
        return fail(errc::bad_format, "a snapshot part is out of range");
    return snapshot;
}

}  // namespace

bool view::has(share_index site) const {
    return std::ranges::any_of(members, [&](const view_member& m) { return m.site == site; });
}

bool view::has(share_index site, const incarnation_id& incarnation) const {
    return std::ranges::any_of(members,
                               [&](const view_member& m) { return m.site == site && m.incarnation == incarnation; });
}

byte_vector encode_journal_record(const journal_record& record) {
    unsigned sections = 0;
    if (record.new_view) sections |= has_view;
    if (!record.epochs.empty()) sections |= has_epochs;
    if (record.description) sections |= has_description;
    if (record.snapshot) sections |= has_snapshot;
    if (!record.edits.empty()) sections |= has_edits;
    writer out(64 + record.epochs.size() * 48 + record.edits.size());
    out.put_be(record_version).put_be(static_cast<std::uint8_t>(sections)).put_be(record.committed);
    if (record.new_view) encode_view(out, *record.new_view);
    if (!record.epochs.empty()) encode_epochs(out, record.epochs);
    if (record.description) encode_description(out, *record.description);
    if (record.snapshot) out.put_be(record.snapshot->part).put_be(record.snapshot->parts);
    if (!record.edits.empty()) out.put_sized(record.edits);
    return out.take();
}

result<journal_record> decode_journal_record(bytes_view payload) {
    reader in(payload);
    journal_record record;
    TRY(const auto version, in.take_be<std::uint8_t>());
    if (version != record_version) return fail(errc::bad_version, "a journal record of another version");
    TRY(const unsigned sections, in.take_be<std::uint8_t>());
    if ((sections & ~static_cast<unsigned>(all_sections)) != 0)
        return fail(errc::bad_format, "an unknown record section");
    TRY(record.committed, in.take_be<std::uint64_t>());
    if ((sections & has_view) != 0) {
        TRY(record.new_view, decode_view(in));
    }
    if ((sections & has_epochs) != 0) {
        TRY(record.epochs, decode_epochs(in));
    }
    if ((sections & has_description) != 0) {
        TRY(record.description, decode_description(in));
    }
    if ((sections & has_snapshot) != 0) {
        TRY(record.snapshot, decode_snapshot(in));
    }
    if ((sections & has_edits) != 0) {
        TRY(const auto edits, in.take_sized(codeword_payload_size_max));
        record.edits.assign(edits.begin(), edits.end());
    }
    TRY_VOID(in.done());
    return record;
}

}  // namespace warifu
