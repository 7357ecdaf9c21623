#include "keyd/link/control_state.h"

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "fs/base/limits.h"
#include "keyd/pool/site_name.h"

namespace warifu {
namespace {

constexpr std::string_view control_pad_magic = "WARICTRL";
constexpr std::uint16_t control_pad_version = 1;

bool contains(const std::vector<slot_run>& runs, std::uint64_t slot) {
    return std::ranges::any_of(runs, [&](const slot_run& r) { return r.begin <= slot && slot < r.end; });
}

}  // namespace

control_slot::control_slot(bytes_view from) {
    WARIFU_ASSERT(from.size() == bytes.size());
    std::ranges::copy(from, bytes.begin());
}

bytes_view control_slot::mask(link_end sender, std::size_t mask) const {
    WARIFU_ASSERT(mask >= 1 && mask <= control_masks_per_half);
    return half(sender).subspan(mask * mac_mask_size, mac_mask_size);
}

link_end end_of(std::string_view own, std::string_view peer) {
    WARIFU_ASSERT(own != peer);
    return own < peer ? link_end::caller : link_end::listener;
}

slot_shelf shelf_for(link_end master, bool hello) {
    if (hello) return master == link_end::caller ? slot_shelf::hello_caller : slot_shelf::hello_listener;
    return master == link_end::caller ? slot_shelf::work_caller : slot_shelf::work_listener;
}

std::vector<slot_run> control_state::runs(bool hello_only) const {
    std::vector<slot_run> out;
    for (const auto& [slot, bytes] : slots) {
        if (hello_only && !is_hello_slot(slot)) continue;
        if (!out.empty() && out.back().end == slot && shelf_of(out.back().begin) == shelf_of(slot)) {
            ++out.back().end;
            continue;
        }
        if (out.size() == control_runs_max) break;
        out.push_back(slot_run{slot, slot + 1});
    }
    return out;
}

std::size_t control_state::hello_count() const {
    return static_cast<std::size_t>(
        std::distance(slots.begin(), slots.lower_bound(first_slot(slot_shelf::work_caller))));
}

std::optional<control_slot> control_state::take(std::uint64_t slot) {
    const auto found = slots.find(slot);
    if (found == slots.end()) return std::nullopt;
    std::optional<control_slot> out(found->second);
    slots.erase(found);
    return out;
}

std::optional<std::uint64_t> control_state::lowest_work(
    const std::array<std::uint64_t, slot_shelf_count>& limits) const {
    for (const auto shelf : {slot_shelf::work_caller, slot_shelf::work_listener}) {
        const auto found = slots.lower_bound(first_slot(shelf));
        if (found != slots.end() && found->first < limits[static_cast<std::size_t>(shelf)]) return found->first;
    }
    return std::nullopt;
}

std::optional<std::uint64_t> control_state::choose_hello(const std::vector<slot_run>& unspent) const {
    for (const auto& [slot, bytes] : slots)
        if (is_hello_slot(slot) && contains(unspent, slot)) return slot;
    return std::nullopt;
}

void control_state::join(const link_protocol::facts& own_told, const link_protocol::facts& peer_told) {
    std::erase_if(slots, [&](const auto& one) {
        return !contains(own_told.slots, one.first) || !contains(peer_told.slots, one.first);
    });
    for (std::size_t i = 0; i < slot_shelf_count; ++i) next[i] = std::max(next[i], peer_told.next[i]);
}

std::size_t control_state::wanted(bool hello) const {
    const std::size_t target = hello ? control_hello_slots_target : control_work_slots_target;
    const std::size_t have = hello ? hello_count() : work_count();
    // Lumps of a quarter: fewer saves, and the runs stay few.
    return have > target * 3 / 4 ? 0 : std::min(target - have, control_slots_per_block_max / 2);
}

result<void> control_state::add(link_end master, bool hello, std::uint64_t first, bytes_view bytes) {
    const slot_shelf shelf = shelf_for(master, hello);
    auto& mark = next[static_cast<std::size_t>(shelf)];
    const std::size_t count = bytes.size() / control_slot_size;
    if (count == 0) return {};
    if (shelf_of(first) != shelf || shelf_of(first + count) != shelf || first < mark)
        return fail(errc::conflict, "these control slots were given out before");
    if (slots.size() + count > control_slots_max) return fail(errc::busy, "too many control slots");
    for (std::size_t i = 0; i < count; ++i)
        slots.emplace(first + i, control_slot(bytes.subspan(i * control_slot_size, control_slot_size)));
    mark = first + count;
    return {};
}

byte_vector encode_control_state(const control_state& state) {
    // One allocation, so that no copy of the secret bytes stays behind in memory that was given back.
    writer out(512 + state.enrolments.size() * 16 + state.slots.size() * (8 + control_slot_size));
    out.put_bytes(as_bytes_view(control_pad_magic)).put_be(control_pad_version).put_be<std::uint16_t>(0).put(state.id);
    put_site_name(out, state.own);
    put_site_name(out, state.peer);
    for (const auto next : state.next) out.put_be(next);
    out.put_be(static_cast<std::uint32_t>(state.enrolments.size()));
    for (const auto& id : state.enrolments) out.put(id);
    out.put_be(static_cast<std::uint32_t>(state.slots.size()));
    for (const auto& [slot, secret] : state.slots) out.put_be(slot).put_bytes(secret.bytes);
    out.put_be(crc32c(out.view()));
    return out.take();
}

result<control_state> decode_control_state(bytes_view bytes) {
    if (bytes.size() < 4) return fail(errc::bad_format, "too short");
    reader in(bytes.first(bytes.size() - 4));
    reader end(bytes.last(4));
    TRY(const auto found_magic, in.take_bytes(control_pad_magic.size()));
    if (as_text(found_magic) != control_pad_magic) return fail(errc::bad_format, "not a control pad");
    TRY(const auto crc, end.take_be<std::uint32_t>());
    if (crc != crc32c(bytes.first(bytes.size() - 4))) return fail(errc::bad_checksum, "the control pad is damaged");
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != control_pad_version) return fail(errc::bad_version, "unknown version of a control pad");
    TRY(const auto reserved, in.take_be<std::uint16_t>());
    if (reserved != 0) return fail(errc::bad_format, "reserved bytes are set");
    control_state state;
    TRY_VOID(in.take(state.id));
    TRY(state.own, take_site_name(in));
    TRY(state.peer, take_site_name(in));
    if (state.own == state.peer) return fail(errc::bad_format, "both ends have the same name");
    for (std::size_t i = 0; i < slot_shelf_count; ++i) {
        TRY(state.next[i], in.take_be<std::uint64_t>());
        if (shelf_of(state.next[i]) != static_cast<slot_shelf>(i))
            return fail(errc::bad_format, "a slot's number is not of its shelf");
    }
    TRY(const auto enrolments, in.take_count(16, control_enrolments_max));
    state.enrolments.resize(enrolments);
    for (auto& id : state.enrolments) TRY_VOID(in.take(id));
    TRY(const auto slots, in.take_count(8 + control_slot_size, control_slots_max));
    for (std::uint32_t i = 0; i < slots; ++i) {
        TRY(const auto slot, in.take_be<std::uint64_t>());
        TRY(const auto secret, in.take_bytes(control_slot_size));
        if (slot >= state.next[static_cast<std::size_t>(shelf_of(slot))] ||
            !state.slots.emplace(slot, control_slot(secret)).second)
            return fail(errc::bad_format, "a slot that cannot be");
    }
    TRY_VOID(in.done());
    return state;
}

}  // namespace warifu
