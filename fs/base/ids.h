#pragma once
// Identifiers that must not be mixed are distinct types.

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "fs/base/bytes.h"
#include "fs/base/error.h"

namespace warifu {

/// 16 opaque bytes, written as a UUID (8-4-4-4-12 lower-case hexadecimal digits).
template <typename Tag>
struct uuid_of {
    std::array<std::byte, 16> bytes{};
    auto operator<=>(const uuid_of&) const = default;
    bool is_zero() const { return *this == uuid_of{}; }
};

using volume_id = uuid_of<struct volume_tag>;
/// Drawn when a store is formatted: a wiped store comes back as another incarnation, which is no member of any view.
using incarnation_id = uuid_of<struct incarnation_tag>;
/// One run of one process on a channel or a pad window.
using session_id = uuid_of<struct session_tag>;
/// Release will depend on it (consent); zero for now.
using policy_id = uuid_of<struct policy_tag>;
/// One delivery of pad or random bytes by a source; remembered for ever by keyd.
using block_id = uuid_of<struct block_tag>;

std::string uuid_to_text(const std::array<std::byte, 16>& bytes);
result<std::array<std::byte, 16>> uuid_from_text(std::string_view text);
template <typename Tag>
std::string to_text(const uuid_of<Tag>& id) {
    return uuid_to_text(id.bytes);
}

/// A writer's authority and the name of its epoch: an epoch *is* its whole ballot, everywhere. Ordered by counter, then
/// nonce.
struct ballot {
    std::uint64_t counter = 0;
    std::uint64_t nonce = 0;  // random, so that two writers never draw the same ballot
    auto operator<=>(const ballot&) const = default;
    bool is_zero() const { return counter == 0 && nonce == 0; }
};
/// "12.9f3c0a5518d2e7b1"
std::string to_text(const ballot& b);

/// A chunk's name: the epoch it was born in and a sequence number there. Meaningless to a site; never reused.
struct chunk_id {
    ballot epoch;
    std::uint64_t sequence = 0;
    auto operator<=>(const chunk_id&) const = default;
};
std::string to_text(const chunk_id& id);

/// A share's position in its placement (0 <= value < n <= 16): also the site's position in the volume's site list.
struct share_index {
    std::uint8_t value = 0;
    auto operator<=>(const share_index&) const = default;
};

}  // namespace warifu

template <typename Tag>
struct std::hash<warifu::uuid_of<Tag>> {
    std::size_t operator()(const warifu::uuid_of<Tag>& id) const noexcept {
        std::size_t h = 0;
        std::memcpy(&h, id.bytes.data(), sizeof h);
        return h;
    }
};
template <>
struct std::hash<warifu::chunk_id> {
    std::size_t operator()(const warifu::chunk_id& id) const noexcept {
        return id.sequence * 0x9e3779b97f4a7c15ULL ^ id.epoch.nonce ^ (id.epoch.counter << 32U);
    }
};
