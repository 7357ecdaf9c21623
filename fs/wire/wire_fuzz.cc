// Every decoder of the share protocol on arbitrary bytes: no crash, no allocation beyond the input, and what is
// accepted has one encoding. Input: u8 decoder, u16 size of the fields, fields, payload. Decoder 255: message headers
// and greeting prefixes.

#include <cstdlib>

#include "fs/wire/wire_samples.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace warifu;
    static const auto samples = wire_samples();
    reader in(std::as_bytes(std::span(data, size)));
    const auto which = in.take_be<std::uint8_t>();
    const auto fields_size = in.take_be<std::uint16_t>();
    if (!which || !fields_size) return 0;
    if (*which == 255) {
        const bytes_view rest = in.take_rest();
        if (const auto header = decode_message_header(rest); header) {
            const auto again = encode_message_header(*header);
            if (!std::ranges::equal(again, rest)) std::abort();
        }
        (void)decode_greeting_prefix(rest);
        (void)decode_error(body_view{rest, {}});
        return 0;
    }
    const auto fields = in.take_bytes(std::min<std::size_t>(*fields_size, in.left()));
    const slice payload{buffer::copy_of(in.take_rest())};
    const auto& sample = samples[*which % samples.size()];
    const auto again = sample.again(body_view{*fields, payload});
    if (again && !std::ranges::equal(again->fields, *fields)) std::abort();
    if (again && !std::ranges::equal(joined(again->payload).view(), payload.view())) std::abort();
    return 0;
}
