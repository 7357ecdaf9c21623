// Arbitrary bytes as a packet on keyd's socket, from either end: a message that has exactly this encoding, or an error.

#include <algorithm>
#include <cstdint>

#include "fs/base/assert.h"
#include "keyd/protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace warifu;
    const bytes_view packet = std::as_bytes(std::span(data, size));
    const auto request = keyd_protocol::decode_request(packet);
    if (request) WARIFU_ASSERT(std::ranges::equal(keyd_protocol::encode(*request), packet));
    const auto reply = keyd_protocol::decode_reply(packet);
    if (reply) WARIFU_ASSERT(std::ranges::equal(keyd_protocol::encode(*reply), packet));
    WARIFU_ASSERT(!request || !reply);
    return 0;
}
