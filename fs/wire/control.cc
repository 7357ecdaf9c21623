#include "fs/wire/control.h"

namespace warifu {
namespace {

message_body fields_of(writer& out) {
    message_body body;
    body.fields = out.take();
    return body;
}

}  // namespace

message_body encode_window(const window_message& message) {
    writer out;
    out.put_be(message.range.offset).put_be(message.range.size);
    return fields_of(out);
}

result<window_message> decode_window(const body_view& body) {
    TRY(reader in, fields_only(body));
    window_message message;
    TRY(message.range, take_pad_range(in));
    TRY_VOID(in.done());
    return message;
}

message_body encode_window_refusal(const window_refusal& message) {
    writer out;
    out.put_be(message.range.offset).put_be(message.range.size).put_be(message.next_free);
    return fields_of(out);
}

result<window_refusal> decode_window_refusal(const body_view& body) {
    TRY(reader in, fields_only(body));
    window_refusal message;
    TRY(message.range, take_pad_range(in));
    TRY(message.next_free, in.take_be<std::uint64_t>());
    TRY_VOID(in.done());
    return message;
}

message_body encode_end(const end_message& message) {
    writer out;
    out.put_be(static_cast<std::uint16_t>(message.reason));
    return fields_of(out);
}

result<end_message> decode_end(const body_view& body) {
    TRY(reader in, fields_only(body));
    TRY(const auto reason, in.take_be<std::uint16_t>());
    TRY_VOID(in.done());
    if (reason == 0 || reason > static_cast<std::uint16_t>(errc::no_such_address))
        return fail(errc::bad_format, "an unknown reason");
    return end_message{static_cast<errc>(reason)};
}

}  // namespace warifu
