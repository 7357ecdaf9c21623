#pragma once
// The control pad of a link as one end has it: slots of secret bytes that both ends share, each used in one session
// and never again. Pure memory; control_store makes it durable. A slot that is not here is spent (or was never here).
//
// The rule that keeps S2: an end uses a slot only after *both* ends have durably spent it. So one end may be restored
// from any older copy: the other refuses the slot.

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "keyd/link/protocol.h"

namespace warifu {

/// 1024 secret bytes, wiped when destroyed and unprintable.
struct control_slot {
    std::array<std::byte, control_slot_size> bytes{};
    control_slot() = default;
    explicit control_slot(bytes_view from);
    control_slot(const control_slot&) = default;
    control_slot& operator=(const control_slot&) = default;
    ~control_slot() { wipe(bytes); }

    bytes_view half(link_end sender) const {
        return bytes_view(bytes).subspan(sender == link_end::caller ? 0 : control_half_size, control_half_size);
    }
    bytes_view point(link_end sender) const { return half(sender).first(mac_point_size); }
    /// What shows that an end has the slot; never part of a MAC's key.
    bytes_view proof(link_end sender) const { return half(sender).last(control_proof_size); }
    /// REQUIRES: 1 <= mask <= control_masks_per_half.
    bytes_view mask(link_end sender, std::size_t mask) const;
    bool operator==(const control_slot&) const = default;
};

/// The end of the link that `own` is. REQUIRES: own != peer.
link_end end_of(std::string_view own, std::string_view peer);

struct control_state {
    control_id id;
    std::string own;
    std::string peer;
    std::map<std::uint64_t, control_slot> slots;        // unspent
    std::array<std::uint64_t, slot_shelf_count> next{};  // numbers that were never given out, by shelf
    std::vector<control_id> enrolments;                  // ever imported, `id` among them

    link_end end() const { return end_of(own, peer); }
    /// Runs of unspent slots, at most control_runs_max, lowest first; hello slots alone or all.
    std::vector<slot_run> runs(bool hello_only) const;
    std::size_t hello_count() const;
    std::size_t work_count() const { return slots.size() - hello_count(); }
    /// Takes a slot out: spent as soon as this state is durable. nullopt: it is not here.
    std::optional<control_slot> take(std::uint64_t slot);
    /// The least unspent work slot below the limits, one for each shelf.
    std::optional<std::uint64_t> lowest_work(const std::array<std::uint64_t, slot_shelf_count>& limits) const;
    /// The hello slot for a caller that has `unspent`: the least that both have.
    std::optional<std::uint64_t> choose_hello(const std::vector<slot_run>& unspent) const;
    /// What both ends told: slots that only one of them has are given up, and numbers that either gave out are never
    /// given out again.
    void join(const link_protocol::facts& own_told, const link_protocol::facts& peer_told);
    /// How many slots of a kind the next block should bring.
    std::size_t wanted(bool hello) const;
    /// Adds `bytes` (whole slots) from number `first` on. conflict: the numbers were given out before, or are of no
    /// shelf that `master` may fill; busy: too many slots.
    result<void> add(link_end master, bool hello, std::uint64_t first, bytes_view bytes);
    bool operator==(const control_state&) const = default;
};
/// The shelf that `master` fills.
slot_shelf shelf_for(link_end master, bool hello);

byte_vector encode_control_state(const control_state& state);
/// bad_format, bad_version, bad_checksum.
result<control_state> decode_control_state(bytes_view in);

}  // namespace warifu
