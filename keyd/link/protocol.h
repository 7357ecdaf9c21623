#pragma once
// Every message between the two keyds of a link, its version, sizes and limits. FORMAT.md has the byte tables and the
// argument why no byte of control pad can be used twice. Encoding and decoding know nothing of MACs: session.h does.

#include <string>
#include <variant>
#include <vector>

#include "fs/base/bytes.h"
#include "fs/base/error.h"
#include "fs/base/ids.h"
#include "fs/base/random.h"
#include "fs/otp/mac.h"
#include "keyd/key_delivery.h"
#include "keyd/link/witness.h"
#include "keyd/pad_broker.h"

namespace warifu {

inline constexpr std::uint16_t link_version = 2;

// Control pad
inline constexpr std::size_t control_slot_size = 1024;  // the halves of both directions
inline constexpr std::size_t control_half_size = control_slot_size / 2;
// Of a half the first 16 bytes are r, the last 16 the proof; the others are masks.
inline constexpr std::size_t control_masks_per_half = control_half_size / mac_mask_size - 2;
inline constexpr std::size_t control_proof_size = 16;
inline constexpr std::size_t control_hello_slots_target = 128;
inline constexpr std::size_t control_work_slots_target = 64;
inline constexpr std::size_t control_slots_max = 1024;    // that one end keeps
inline constexpr std::size_t control_slots_per_block_max = 128;
inline constexpr std::size_t control_runs_max = 64;       // runs of unspent slots that a hello tells
inline constexpr std::size_t control_enrolments_max = 1024;  // ids of enrolments that one end remembers
static_assert(control_masks_per_half == 30);

// Messages
inline constexpr std::size_t link_hello_size_max = 2048;
inline constexpr std::size_t link_body_size_max = 640U << 10U;
inline constexpr std::size_t link_batch_keys_max = 4096;        // key_IDs of one offer
inline constexpr std::size_t link_path_nodes_max = 32;          // nodes of a relayed key's path
inline constexpr std::size_t link_node_name_size_max = 255;
// Nodes that a link remembers and status tells: beyond, a block that names more is refused.
inline constexpr std::size_t link_nodes_max = 1024;
inline constexpr std::size_t link_nodes_size_max = 32U << 10U;  // bytes of their names: a status reply has 128 KiB
inline constexpr std::uint64_t link_key_size_max = 4U << 20U;   // bytes of one key
inline constexpr std::uint64_t link_block_size_min = 64U << 10U;
inline constexpr std::uint64_t link_block_size_max = 64U << 20U;  // of a block that a peer may send
inline constexpr std::uint64_t link_round_size_max = link_block_size_max + (8U << 20U);  // keys of one round
inline constexpr std::size_t link_rounds_max = 3;     // under way per direction
inline constexpr std::size_t link_batches_max = 4;    // offers without an answer, per direction
inline constexpr std::size_t link_batches_per_round_max = 8192;
inline constexpr std::uint64_t link_batch_size_max = 4U << 20U;  // keys of one offer that this end makes
inline constexpr std::size_t link_strangers_max = 16;  // connections that have not authenticated themselves
inline constexpr unsigned link_offer_burst = 8;        // fresh hello slots for strangers in a row, then one at a time
inline constexpr std::size_t link_gone_ranges_max = 8192;  // that one message names, per direction
inline constexpr std::size_t link_records_max = 4096;  // blocks whose paths are remembered, per link

// Times, milliseconds
inline constexpr std::uint32_t link_hello_timeout_ms = 5'000;
// Between fresh hello slots once the burst is used up; doubles with each until a greeting verifies.
inline constexpr std::uint32_t link_offer_interval_ms = 5'000;
inline constexpr std::uint32_t link_offer_interval_max_ms = 600'000;
inline constexpr std::uint32_t link_state_interval_ms = 10'000;  // at least so often each end says how it is ...
inline constexpr std::uint32_t link_state_stretch_few = 12;      // ... or so much more rarely when work slots are few
inline constexpr std::uint32_t link_state_stretch_last = 60;     // ... or nearly gone
// Then the connection is dead. Three times the longest interval: a peer that is gone is TCP's business, which asks
// every few seconds (fs/channel/stream.cc) and takes no control pad for it.
inline constexpr std::uint32_t link_silence_max_ms = 3 * link_state_stretch_last * link_state_interval_ms;
inline constexpr std::uint32_t link_gone_interval_ms = 60'000;  // between two tellings of what is gone
// Before what the sender calls gone is given up: what its consumers proposed just before has been claimed by then.
inline constexpr std::uint32_t link_gone_settle_ms = 30'000;
inline constexpr std::uint32_t link_answer_timeout_ms = 30'000;  // for an offer's or a block's answer
inline constexpr std::uint32_t link_kme_timeout_ms = 20'000;     // one call of the key delivery service
inline constexpr std::uint32_t link_backoff_min_ms = 200;
inline constexpr std::uint32_t link_backoff_max_ms = 10'000;
// Between sessions that brought no block: each costs a hello slot, of which blocks alone bring more.
inline constexpr std::uint32_t link_session_backoff_max_ms = 300'000;
inline constexpr std::uint32_t link_session_good_ms = 600'000;   // a session that lasted so long did well without any
inline constexpr std::uint32_t link_retry_max_ms = 30'000;       // after refused blocks and lost keys

/// Names the control pad that both ends have from one enrolment.
using control_id = uuid_of<struct control_tag>;
using link_nonce = std::array<std::byte, 16>;
using slot_proof = std::array<std::byte, control_proof_size>;

/// The caller connects: the end whose site name sorts first. Also names the halves of a control slot and the messages'
/// directions.
enum class link_end : std::uint8_t { caller = 0, listener = 1 };
constexpr link_end other_end(link_end e) {
    return e == link_end::caller ? link_end::listener : link_end::caller;
}

/// Numbers of control slots, [begin, end).
struct slot_run {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool operator==(const slot_run&) const = default;
};

/// A control slot's number: bits 63 and 62 say the shelf, the rest counts from 0.
enum class slot_shelf : std::uint8_t { hello_caller = 0, hello_listener = 1, work_caller = 2, work_listener = 3 };
inline constexpr std::size_t slot_shelf_count = 4;
inline constexpr unsigned slot_shelf_shift = 62;
constexpr std::uint64_t first_slot(slot_shelf shelf) {
    return static_cast<std::uint64_t>(shelf) << slot_shelf_shift;
}
constexpr slot_shelf shelf_of(std::uint64_t slot) {
    return static_cast<slot_shelf>(slot >> slot_shelf_shift);
}
constexpr bool is_hello_slot(std::uint64_t slot) {
    return shelf_of(slot) == slot_shelf::hello_caller || shelf_of(slot) == slot_shelf::hello_listener;
}

namespace link_protocol {

// The greeting
struct call {  // caller -> listener, in clear
    control_id control;
    link_nonce nonce{};
    std::string from;
    std::string to;
    std::vector<slot_run> hello_slots;  // unspent at the caller
    bool operator==(const call&) const = default;
};
struct offer_slot {  // listener -> caller, in clear
    link_nonce nonce{};
    std::uint64_t slot = 0;  // durably spent at the listener
    slot_proof proof{};      // bytes of the listener's half: the same whoever asks
    bool operator==(const offer_slot&) const = default;
};
struct confirm_slot {  // caller -> listener, in clear: durably spent at the caller too
    slot_proof proof{};  // bytes of the caller's half
    bool operator==(const confirm_slot&) const = default;
};
/// What each end says of itself under the hello slot's MAC, the listener first.
struct facts {
    std::vector<slot_run> slots;                             // unspent here, of all shelves
    std::array<std::uint64_t, slot_shelf_count> next{};      // numbers that were never given out
    std::uint64_t outbound_end = 0;                          // of this end's outbound pad stream
    std::uint64_t inbound_end = 0;
    bool operator==(const facts&) const = default;
};

// Afterwards, in frames
struct offer {  // master -> peer: keys that the master has
    std::uint32_t round = 0;
    std::uint32_t batch = 0;
    std::uint32_t key_size = 0;
    std::vector<key_id> ids;
    bool operator==(const offer&) const = default;
};
struct have {  // peer -> master: which of them the peer has too
    std::uint32_t round = 0;
    std::uint32_t batch = 0;
    std::vector<bool> present;
    std::vector<std::string> path;  // nodes that saw them, as the peer's KME tells
    bool operator==(const have&) const = default;
};
struct block {  // master -> peer: what the round's keys make
    std::uint32_t round = 0;
    block_id id;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    claim strength = claim::simulated;
    std::uint16_t hello_slots = 0;  // control slots that the keys begin with
    std::uint16_t work_slots = 0;
    std::uint64_t hello_first = 0;
    std::uint64_t work_first = 0;
    std::vector<std::string> path;
    mac_tag digest{};
    bool operator==(const block&) const = default;
};
struct stored {  // peer -> master: the peer has it durably
    std::uint32_t round = 0;
    mac_tag digest{};
    bool operator==(const stored&) const = default;
};
enum class refusal : std::uint8_t { different = 1, offset = 2, no_space = 3, other = 4 };
struct refused {  // peer -> master
    std::uint32_t round = 0;
    refusal why = refusal::other;
    std::uint64_t inbound_end = 0;
    bool operator==(const refused&) const = default;
};
struct abandon {  // master -> peer: forget the round
    std::uint32_t round = 0;
    bool operator==(const abandon&) const = default;
};
struct next_slot {  // caller -> listener: durably spent at the caller
    std::uint64_t slot = 0;
    bool operator==(const next_slot&) const = default;
};
struct slot_taken {  // listener -> caller: durably spent here as well
    std::uint64_t slot = 0;
    bool operator==(const slot_taken&) const = default;
};
struct state {  // either way
    std::uint64_t weight = 0;  // demand of this end's outbound stream, in bytes
    std::uint64_t available = 0;
    std::uint64_t inbound_end = 0;
    ledger_mark mark;            // of this end's ledger
    ledger_id witnessed;         // the other end's ledger that was heard of last ...
    std::uint64_t witnessed_run = 0;     // ... in this run ...
    std::uint64_t witnessed_before = 0;  // ... and how far all its earlier runs had come
    bool operator==(const state&) const = default;
};

struct gone {  // either way: what this end will never use any more, ascending, of which the other may have some left
    std::vector<pad_range> outbound;  // of this end's outbound stream
    std::vector<pad_range> inbound;
    bool operator==(const gone&) const = default;
};

using message = std::variant<offer, have, block, stored, refused, abandon, next_slot, slot_taken, state, gone>;

// Greetings, without their length prefix. bad_format, bad_version, too_large.
byte_vector encode(const call& m);
byte_vector encode(const offer_slot& m);
byte_vector encode(const confirm_slot& m);
byte_vector encode(const facts& m);
result<call> decode_call(bytes_view in);
result<offer_slot> decode_offer_slot(bytes_view in);
result<confirm_slot> decode_confirm_slot(bytes_view in);
result<facts> decode_facts(bytes_view in);

byte_vector encode(const message& m);
result<message> decode(bytes_view in);
/// True for the messages that carry a digest, which takes a mask of its own before the tag's.
bool has_digest(const message& m);

/// Keeps the limits of a path: no more than link_path_nodes_max nodes, names cut, no duplicates, sorted.
std::vector<std::string> tidy_path(std::vector<std::string> nodes);

}  // namespace link_protocol
}  // namespace warifu
