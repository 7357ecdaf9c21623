#include "keyd/link/protocol.h"

#include <algorithm>
#include <fmt/format.h>

#include "fs/base/codec.h"
#include "fs/base/limits.h"

namespace warifu::link_protocol {
namespace {

constexpr std::string_view link_magic = "WARILINK";

enum class type : std::uint8_t {
    call = 0x01,
    offer_slot = 0x02,
    confirm_slot = 0x03,
    facts = 0x04,
    offer = 0x11,
    have = 0x12,
    block = 0x13,
    stored = 0x14,
    refused = 0x15,
    abandon = 0x16,
    next_slot = 0x17,
    slot_taken = 0x18,
    state = 0x19,
    gone = 0x1a,
};

writer begin(type t) {
    writer out;
    out.put_be(static_cast<std::uint8_t>(t));
    return out;
}
writer begin_greeting(type t) {
    writer out;
    out.put_bytes(as_bytes_view(link_magic)).put_be(link_version).put_be(static_cast<std::uint8_t>(t));
    return out;
}
result<void> take_greeting(reader& in, type wanted) {
    TRY(const auto found, in.take_bytes(link_magic.size()));
    if (as_text(found) != link_magic) return fail(errc::bad_format, "not a greeting of a link");
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != link_version) return fail(errc::bad_version, fmt::format("unknown version {}", version));
    TRY(const auto t, in.take_be<std::uint8_t>());
    if (t != static_cast<std::uint8_t>(wanted)) return fail(errc::bad_format, "another greeting than expected");
    return {};
}

void put_runs(writer& out, const std::vector<slot_run>& runs) {
    out.put_be(static_cast<std::uint32_t>(runs.size()));
    for (const auto& run : runs) out.put_be(run.begin).put_be(run.end);
}
/// Ascending, not touching, none over the end of its shelf.
result<std::vector<slot_run>> take_runs(reader& in) {
    TRY(const auto count, in.take_count(16, control_runs_max));
    std::vector<slot_run> runs;
    for (std::uint32_t i = 0; i < count; ++i) {
        slot_run run;
        TRY(run.begin, in.take_be<std::uint64_t>());
        TRY(run.end, in.take_be<std::uint64_t>());
        if (run.begin >= run.end || shelf_of(run.begin) != shelf_of(run.end - 1) ||
            (!runs.empty() && run.begin <= runs.back().end))
            return fail(errc::bad_format, "runs of slots are out of order");
        runs.push_back(run);
    }
    return runs;
}

void put_text(writer& out, std::string_view text) {
    out.put_sized(as_bytes_view(text));
}
result<std::string> take_site(reader& in) {
    TRY(const auto bytes, in.take_sized(site_name_size_max));
    return std::string(as_text(bytes));
}
void put_path(writer& out, const std::vector<std::string>& path) {
    out.put_be(static_cast<std::uint32_t>(path.size()));
    for (const auto& node : path) put_text(out, node);
}
result<std::vector<std::string>> take_path(reader& in) {
    TRY(const auto count, in.take_count(4, link_path_nodes_max));
    std::vector<std::string> path;
    for (std::uint32_t i = 0; i < count; ++i) {
        TRY(const auto node, in.take_sized(link_node_name_size_max));
        path.emplace_back(as_text(node));
    }
    if (path != tidy_path(path)) return fail(errc::bad_format, "a path is not sorted, or a name in it not plain");
    return path;
}
static_assert(sizeof(mac_tag) == sizeof(slot_proof));
void put_tag(writer& out, const mac_tag& tag) {
    out.put_bytes(tag);
}
result<mac_tag> take_tag(reader& in) {
    TRY(const auto bytes, in.take_bytes(mac_tag_size));
    mac_tag tag;
    std::ranges::copy(bytes, tag.begin());
    return tag;
}
result<link_nonce> take_nonce(reader& in) {
    TRY(const auto bytes, in.take_bytes(sizeof(link_nonce)));
    link_nonce nonce;
    std::ranges::copy(bytes, nonce.begin());
    return nonce;
}

byte_vector write(const offer& m) {
    auto out = begin(type::offer);
    out.put_be(m.round).put_be(m.batch).put_be(m.key_size).put_be(static_cast<std::uint32_t>(m.ids.size()));
    for (const auto& id : m.ids) out.put(id);
    return out.take();
}
result<message> read_offer(reader& in) {
    offer m;
    TRY(m.round, in.take_be<std::uint32_t>());
    TRY(m.batch, in.take_be<std::uint32_t>());
    TRY(m.key_size, in.take_be<std::uint32_t>());
    TRY(const auto count, in.take_count(16, link_batch_keys_max));
    if (m.batch >= link_batches_per_round_max) return fail(errc::too_large, "too many batches");
    if (count == 0 || m.key_size == 0) return fail(errc::bad_format, "an offer of nothing");
    if (m.key_size > link_key_size_max || std::uint64_t{count} * m.key_size > link_round_size_max)
        return fail(errc::too_large, "an offer is over its limit");
    m.ids.resize(count);
    for (auto& id : m.ids) TRY_VOID(in.take(id));
    return m;
}

byte_vector write(const have& m) {
    auto out = begin(type::have);
    out.put_be(m.round).put_be(m.batch).put_be(static_cast<std::uint32_t>(m.present.size()));
    for (std::size_t i = 0; i < m.present.size(); i += 8) {
        unsigned bits = 0;
        for (std::size_t j = i; j < std::min(i + 8, m.present.size()); ++j)
            bits |= (m.present[j] ? 0x80U : 0U) >> (j - i);
        out.put_be(static_cast<std::uint8_t>(bits));
    }
    put_path(out, m.path);
    return out.take();
}
result<message> read_have(reader& in) {
    have m;
    TRY(m.round, in.take_be<std::uint32_t>());
    TRY(m.batch, in.take_be<std::uint32_t>());
    TRY(const auto count, in.take_be<std::uint32_t>());
    if (count > link_batch_keys_max) return fail(errc::too_large, "too many keys");
    TRY(const auto bits, in.take_bytes(divide_up(count, 8)));
    for (std::size_t i = 0; i < bits.size() * 8; ++i) {
        const bool set = (std::to_integer<unsigned>(bits[i / 8]) & (0x80U >> (i % 8))) != 0;
        if (i < count)
            m.present.push_back(set);
        else if (set)
            return fail(errc::bad_format, "padding bits are set");
    }
    TRY(m.path, take_path(in));
    return m;
}

byte_vector write(const block& m) {
    auto out = begin(type::block);
    out.put_be(m.round).put(m.id).put_be(m.offset).put_be(m.size).put_be(static_cast<std::uint8_t>(m.strength));
    out.put_be(m.hello_slots).put_be(m.work_slots).put_be(m.hello_first).put_be(m.work_first);
    put_path(out, m.path);
    put_tag(out, m.digest);
    return out.take();
}
result<message> read_block(reader& in) {
    block m;
    TRY(m.round, in.take_be<std::uint32_t>());
    TRY_VOID(in.take(m.id));
    TRY(m.offset, in.take_be<std::uint64_t>());
    TRY(m.size, in.take_be<std::uint64_t>());
    TRY(const auto strength, in.take_be<std::uint8_t>());
    TRY(m.hello_slots, in.take_be<std::uint16_t>());
    TRY(m.work_slots, in.take_be<std::uint16_t>());
    TRY(m.hello_first, in.take_be<std::uint64_t>());
    TRY(m.work_first, in.take_be<std::uint64_t>());
    TRY(m.path, take_path(in));
    TRY(m.digest, take_tag(in));
    if (strength < 1 || strength > 3) return fail(errc::bad_format, "unknown claim");
    m.strength = static_cast<claim>(strength);
    if (m.size < link_block_size_min || m.size > link_block_size_max || m.size % 4096 != 0)
        return fail(errc::bad_format, "a block's size is out of range");
    if (m.hello_slots + m.work_slots > control_slots_per_block_max)
        return fail(errc::too_large, "too many control slots");
    return m;
}

byte_vector write(const stored& m) {
    auto out = begin(type::stored);
    out.put_be(m.round);
    put_tag(out, m.digest);
    return out.take();
}
result<message> read_stored(reader& in) {
    stored m;
    TRY(m.round, in.take_be<std::uint32_t>());
    TRY(m.digest, take_tag(in));
    return m;
}

byte_vector write(const refused& m) {
    auto out = begin(type::refused);
    out.put_be(m.round).put_be(static_cast<std::uint8_t>(m.why)).put_be(m.inbound_end);
    return out.take();
}
result<message> read_refused(reader& in) {
    refused m;
    TRY(m.round, in.take_be<std::uint32_t>());
    TRY(const auto why, in.take_be<std::uint8_t>());
    TRY(m.inbound_end, in.take_be<std::uint64_t>());
    if (why < 1 || why > 4) return fail(errc::bad_format, "unknown refusal");
    m.why = static_cast<refusal>(why);
    return m;
}

byte_vector write(const abandon& m) {
    return begin(type::abandon).put_be(m.round).take();
}
byte_vector write(const next_slot& m) {
    return begin(type::next_slot).put_be(m.slot).take();
}
byte_vector write(const slot_taken& m) {
    return begin(type::slot_taken).put_be(m.slot).take();
}
byte_vector write(const state& m) {
    auto out = begin(type::state);
    out.put_be(m.weight).put_be(m.available).put_be(m.inbound_end);
    out.put(m.mark.id).put_be(m.mark.run).put_be(m.mark.sequence);
    out.put(m.witnessed).put_be(m.witnessed_run).put_be(m.witnessed_before);
    return out.take();
}
result<message> read_state(reader& in) {
    state m;
    TRY(m.weight, in.take_be<std::uint64_t>());
    TRY(m.available, in.take_be<std::uint64_t>());
    TRY(m.inbound_end, in.take_be<std::uint64_t>());
    TRY_VOID(in.take(m.mark.id));
    TRY(m.mark.run, in.take_be<std::uint64_t>());
    TRY(m.mark.sequence, in.take_be<std::uint64_t>());
    TRY_VOID(in.take(m.witnessed));
    TRY(m.witnessed_run, in.take_be<std::uint64_t>());
    TRY(m.witnessed_before, in.take_be<std::uint64_t>());
    return m;
}

void put_ranges(writer& out, const std::vector<pad_range>& ranges) {
    out.put_be(static_cast<std::uint32_t>(ranges.size()));
    for (const auto& range : ranges) out.put_be(range.offset).put_be(range.size);
}
result<std::vector<pad_range>> take_ranges(reader& in) {
    TRY(const auto count, in.take_count(16, link_gone_ranges_max));
    std::vector<pad_range> ranges;
    for (std::uint32_t i = 0; i < count; ++i) {
        pad_range range;
        TRY(range.offset, in.take_be<std::uint64_t>());
        TRY(range.size, in.take_be<std::uint64_t>());
        if (range.size == 0 || range.end() < range.offset || (!ranges.empty() && range.offset <= ranges.back().end()))
            return fail(errc::bad_format, "ranges of pad are out of order");
        ranges.push_back(range);
    }
    return ranges;
}

byte_vector write(const gone& m) {
    auto out = begin(type::gone);
    put_ranges(out, m.outbound);
    put_ranges(out, m.inbound);
    return out.take();
}
result<message> read_gone(reader& in) {
    gone m;
    TRY(m.outbound, take_ranges(in));
    TRY(m.inbound, take_ranges(in));
    return m;
}

result<message> read_body(type t, reader& in) {
    switch (t) {
        case type::offer:
            return read_offer(in);
        case type::have:
            return read_have(in);
        case type::block:
            return read_block(in);
        case type::stored:
            return read_stored(in);
        case type::refused:
            return read_refused(in);
        case type::state:
            return read_state(in);
        case type::gone:
            return read_gone(in);
        case type::abandon: {
            TRY(const auto round, in.take_be<std::uint32_t>());
            return abandon{round};
        }
        case type::next_slot: {
            TRY(const auto slot, in.take_be<std::uint64_t>());
            return next_slot{slot};
        }
        case type::slot_taken: {
            TRY(const auto slot, in.take_be<std::uint64_t>());
            return slot_taken{slot};
        }
        default:
            return fail(errc::bad_format, "unknown type of message");
    }
}

}  // namespace

byte_vector encode(const call& m) {
    auto out = begin_greeting(type::call);
    out.put(m.control).put_bytes(m.nonce);
    put_text(out, m.from);
    put_text(out, m.to);
    put_runs(out, m.hello_slots);
    return out.take();
}
result<call> decode_call(bytes_view bytes) {
    if (bytes.size() > link_hello_size_max) return fail(errc::too_large, "a greeting is over its limit");
    reader in(bytes);
    TRY_VOID(take_greeting(in, type::call));
    call m;
    TRY_VOID(in.take(m.control));
    TRY(m.nonce, take_nonce(in));
    TRY(m.from, take_site(in));
    TRY(m.to, take_site(in));
    TRY(m.hello_slots, take_runs(in));
    TRY_VOID(in.done());
    return m;
}

byte_vector encode(const offer_slot& m) {
    auto out = begin_greeting(type::offer_slot);
    return out.put_bytes(m.nonce).put_be(m.slot).put_bytes(m.proof).take();
}
result<offer_slot> decode_offer_slot(bytes_view bytes) {
    reader in(bytes);
    TRY_VOID(take_greeting(in, type::offer_slot));
    offer_slot m;
    TRY(m.nonce, take_nonce(in));
    TRY(m.slot, in.take_be<std::uint64_t>());
    TRY(m.proof, take_tag(in));
    TRY_VOID(in.done());
    return m;
}

byte_vector encode(const confirm_slot& m) {
    return begin_greeting(type::confirm_slot).put_bytes(m.proof).take();
}
result<confirm_slot> decode_confirm_slot(bytes_view bytes) {
    reader in(bytes);
    TRY_VOID(take_greeting(in, type::confirm_slot));
    confirm_slot m;
    TRY(m.proof, take_tag(in));
    TRY_VOID(in.done());
    return m;
}

byte_vector encode(const facts& m) {
    auto out = begin_greeting(type::facts);
    put_runs(out, m.slots);
    for (const auto next : m.next) out.put_be(next);
    return out.put_be(m.outbound_end).put_be(m.inbound_end).take();
}
result<facts> decode_facts(bytes_view bytes) {
    if (bytes.size() > link_hello_size_max) return fail(errc::too_large, "a greeting is over its limit");
    reader in(bytes);
    TRY_VOID(take_greeting(in, type::facts));
    facts m;
    TRY(m.slots, take_runs(in));
    for (std::size_t i = 0; i < slot_shelf_count; ++i) {
        TRY(m.next[i], in.take_be<std::uint64_t>());
        if (shelf_of(m.next[i]) != static_cast<slot_shelf>(i))
            return fail(errc::bad_format, "a slot's number is not of its shelf");
    }
    TRY(m.outbound_end, in.take_be<std::uint64_t>());
    TRY(m.inbound_end, in.take_be<std::uint64_t>());
    TRY_VOID(in.done());
    return m;
}

byte_vector encode(const message& m) {
    return std::visit([](const auto& body) { return write(body); }, m);
}
result<message> decode(bytes_view bytes) {
    if (bytes.size() > link_body_size_max) return fail(errc::too_large, "a message is over its limit");
    reader in(bytes);
    TRY(const auto t, in.take_be<std::uint8_t>());
    TRY(auto m, read_body(static_cast<type>(t), in));
    TRY_VOID(in.done());
    return m;
}

bool has_digest(const message& m) {
    return std::holds_alternative<block>(m) || std::holds_alternative<stored>(m);
}

namespace {

/// Printable ASCII, with %XX for other bytes: a name may stand in any text, and none that a peer sends can break it.
std::string tidy_name(const std::string& name) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string out;
    for (const char c : name) {
        const auto byte = static_cast<unsigned char>(c);
        const bool plain = byte >= 0x20 && byte < 0x7f;
        if (out.size() + (plain ? 1 : 3) > link_node_name_size_max) break;
        if (plain)
            out += c;
        else
            out.append({'%', digits[byte / 16], digits[byte % 16]});
    }
    return out;
}

}  // namespace

std::vector<std::string> tidy_path(std::vector<std::string> nodes) {
    for (auto& node : nodes) node = tidy_name(node);
    std::erase(nodes, "");
    std::ranges::sort(nodes);
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
    if (nodes.size() > link_path_nodes_max) nodes.resize(link_path_nodes_max);
    return nodes;
}

}  // namespace warifu::link_protocol
