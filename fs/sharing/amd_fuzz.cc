// Codewords and hash tables as k sites with shares of their choice could make them appear. Input: scheme (2 bytes: k,
// n), then what was reconstructed. Also: whatever the bytes, as a payload they survive a round trip.

#include <cstdint>

#include "fs/base/assert.h"
#include "fs/sharing/amd.h"
#include "fs/sharing/share_hash.h"

namespace {

/// A fixed x: the fuzzer is after the parser, not the odds.
class fixed_random final : public warifu::random_source {
  public:
    warifu::claim strength() const override { return warifu::claim::simulated; }
    warifu::result<void> begin_chunk() override { return {}; }
    warifu::result<void> fill(warifu::bytes_span out) override {
        for (std::byte& b : out) b = std::byte{0x5c};
        return {};
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace warifu;
    if (size < 2) return 0;
    const auto shape = scheme::make(data[0], data[1]);
    if (!shape) return 0;
    const bytes_view received = std::as_bytes(std::span(data + 2, size - 2));

    if (const auto decoded = decode_codeword(*shape, received)) {
        const auto opened = open_codeword(*shape, decoded->name, received, decoded->payload.size());
        WARIFU_ASSERT(opened.has_value() && codeword_share_size(*shape, opened->size()) == received.size());
    }
    const std::size_t entry = hash_table::entry_size(shape->n());
    if (const auto table = hash_table::decode(shape->n(), received.size() / entry, received))
        WARIFU_ASSERT(table->piece_count() * entry == received.size() && table->payload_size(0) != 0);

    fixed_random randomness;
    const codeword_name name{volume_id{}, codeword_type::sst, ballot{1, 2}, size, data[0]};
    const auto encoded = encode_codeword(*shape, name, received, randomness);
    WARIFU_ASSERT(encoded.has_value());
    const auto opened = open_codeword(*shape, name, encoded->view(), received.size());
    WARIFU_ASSERT(opened.has_value() && equal_constant_time(*opened, received));
    return 0;
}
