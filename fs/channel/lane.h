#pragma once
// The lanes that share one direction of a connection, the most urgent first. Each is a stream of messages of its own; a
// frame carries bytes of one lane. The number is the first byte of a frame's plaintext.

#include <array>
#include <cstddef>
#include <cstdint>

#include "keyd/pad_broker.h"

namespace warifu {

enum class lane : std::uint8_t {
    link = 0,         // offers and confirmations of pad, the end: what keeps the connection going
    control = 1,      // journal, fencing, removal, errors: may draw on the key reserve
    interactive = 2,  // small puts and gets
    bulk = 3,
};
inline constexpr std::size_t lane_count = 4;
inline constexpr std::array<lane, lane_count> all_lanes{lane::link, lane::control, lane::interactive, lane::bulk};

constexpr std::size_t index_of(lane l) {
    return static_cast<std::size_t>(l);
}
constexpr lane lane_of(key_use use) {
    return static_cast<lane>(use);
}
static_assert(lane_of(key_use::control) == lane::control && lane_of(key_use::interactive) == lane::interactive &&
              lane_of(key_use::bulk) == lane::bulk);

}  // namespace warifu
