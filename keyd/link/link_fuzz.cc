// Any bytes given to every decoder of a link: the first byte says which. What is accepted survives a round trip.

#include "fs/base/assert.h"
#include "keyd/link/control_store.h"

namespace {

using namespace warifu;

template <typename Decode>
void check(bytes_view in, Decode decode) {
    const auto parsed = decode(in);
    if (!parsed) return;
    const auto bytes = link_protocol::encode(*parsed);
    const auto again = decode(bytes_view(bytes));
    WARIFU_ASSERT(again && *again == *parsed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const auto all = std::as_bytes(std::span(data, size));
    const auto in = all.subspan(1);
    switch (data[0] % 7) {
        case 0: check(in, [](bytes_view b) { return link_protocol::decode(b); }); break;
        case 1: check(in, [](bytes_view b) { return link_protocol::decode_call(b); }); break;
        case 2: check(in, [](bytes_view b) { return link_protocol::decode_offer_slot(b); }); break;
        case 3: check(in, [](bytes_view b) { return link_protocol::decode_facts(b); }); break;
        case 4: (void)decode_control_state(in); break;
        case 5: (void)decode_enrolment(in); break;
        case 6: {
            const auto ledgers = decode_witness(in);
            WARIFU_ASSERT(!ledgers || std::ranges::equal(encode_witness(*ledgers), in));
            break;
        }
    }
    return 0;
}
