#include "fs/wire/greeting.h"

#include "fs/wire/message.h"

namespace warifu {
namespace {

byte_vector with_prefix(greeting_type type, const writer& body) {
    writer out(greeting_prefix_size + body.size());
    out.put_be(greeting_magic).put_be(protocol_version).put_be(static_cast<std::uint8_t>(type)).put_be(std::uint8_t{0});
    out.put_be(static_cast<std::uint16_t>(body.size())).put_bytes(body.view());
    return out.take();
}

result<std::string> take_name(reader& in) {
    TRY(const auto size, in.take_be<std::uint8_t>());
    if (size > site_name_size_max) return fail(errc::too_large, "a site name over its limit");
    TRY(const auto text, in.take_bytes(size));
    return std::string(as_text(text));
}

void put_name(writer& out, std::string_view name) {
    const auto cut = name.substr(0, site_name_size_max);
    out.put_be(static_cast<std::uint8_t>(cut.size())).put_bytes(as_bytes_view(cut));
}

result<mac_tag> take_tag(reader& in) {
    TRY(const auto bytes, in.take_bytes(mac_tag_size));
    TRY_VOID(in.done());
    mac_tag tag;
    std::memcpy(tag.data(), bytes.data(), tag.size());
    return tag;
}

}  // namespace

result<greeting_prefix> decode_greeting_prefix(bytes_view bytes) {
    reader in(bytes);
    TRY(const auto magic, in.take_be<std::uint32_t>());
    if (magic != greeting_magic) return fail(errc::bad_format, "the peer does not speak this protocol");
    TRY(const auto version, in.take_be<std::uint16_t>());
    if (version != protocol_version) return fail(errc::bad_version, "the peer speaks another version of the protocol");
    TRY(const auto type, in.take_be<std::uint8_t>());
    TRY(const auto zero, in.take_be<std::uint8_t>());
    greeting_prefix prefix;
    TRY(prefix.size, in.take_be<std::uint16_t>());
    TRY_VOID(in.done());
    if (zero != 0 || type < 1 || type > static_cast<std::uint8_t>(greeting_type::refusal))
        return fail(errc::bad_format, "an unknown greeting message");
    if (prefix.size > greeting_message_size_max) return fail(errc::too_large, "a greeting over its limit");
    prefix.type = static_cast<greeting_type>(type);
    return prefix;
}

byte_vector encode_hello(const hello_message& message) {
    writer out;
    out.put_be(static_cast<std::uint8_t>(message.mode)).put(message.session).put(message.fresh).put(message.process);
    out.put(message.volume);
    put_name(out, message.initiator);
    put_name(out, message.responder);
    return with_prefix(greeting_type::hello, out);
}

result<hello_message> decode_hello(bytes_view body) {
    reader in(body);
    hello_message message;
    TRY(const auto mode, in.take_be<std::uint8_t>());
    if (mode < 1 || mode > 2) return fail(errc::bad_format, "an unknown transport");
    message.mode = static_cast<transport>(mode);
    TRY(message.session, in.take<session_id>());
    TRY(message.fresh, in.take<nonce>());
    TRY(message.process, in.take<process_id>());
    TRY(message.volume, in.take<volume_id>());
    TRY(message.initiator, take_name(in));
    TRY(message.responder, take_name(in));
    TRY_VOID(in.done());
    return message;
}

byte_vector encode_answer(const answer_message& message) {
    writer out;
    out.put(message.session).put(message.fresh).put(message.process);
    return with_prefix(greeting_type::answer, out);
}

result<answer_message> decode_answer(bytes_view body) {
    reader in(body);
    answer_message message;
    TRY(message.session, in.take<session_id>());
    TRY(message.fresh, in.take<nonce>());
    TRY(message.process, in.take<process_id>());
    TRY_VOID(in.done());
    return message;
}

byte_vector encode_greeting(const greeting_message& message) {
    writer out;
    out.put_be(message.slot_offset).put_be(message.window.offset).put_be(message.window.size).put_bytes(message.tag);
    return with_prefix(greeting_type::greeting, out);
}

result<greeting_message> decode_greeting(bytes_view body) {
    reader in(body);
    greeting_message message;
    TRY(message.slot_offset, in.take_be<std::uint64_t>());
    TRY(message.window, take_pad_range(in));
    TRY(message.tag, take_tag(in));
    return message;
}

byte_vector encode_welcome(const welcome_message& message) {
    writer out;
    out.put_be(message.status).put_be(message.next_free);
    out.put_be(message.window.offset).put_be(message.window.size).put_bytes(message.tag);
    return with_prefix(greeting_type::welcome, out);
}

result<welcome_message> decode_welcome(bytes_view body) {
    reader in(body);
    welcome_message message;
    TRY(message.status, in.take_be<std::uint16_t>());
    TRY(message.next_free, in.take_be<std::uint64_t>());
    TRY(message.window, take_pad_range(in));
    TRY(message.tag, take_tag(in));
    return message;
}

byte_vector encode_confirmation(const confirmation_message& message) {
    writer out;
    out.put_be(message.status).put_be(message.next_free).put_bytes(message.tag);
    return with_prefix(greeting_type::confirmation, out);
}

result<confirmation_message> decode_confirmation(bytes_view body) {
    reader in(body);
    confirmation_message message;
    TRY(message.status, in.take_be<std::uint16_t>());
    TRY(message.next_free, in.take_be<std::uint64_t>());
    TRY(message.tag, take_tag(in));
    return message;
}

byte_vector encode_refusal(const refusal_message& message) {
    writer out;
    out.put_be(static_cast<std::uint16_t>(message.reason));
    return with_prefix(greeting_type::refusal, out);
}

result<refusal_message> decode_refusal(bytes_view body) {
    reader in(body);
    TRY(const auto reason, in.take_be<std::uint16_t>());
    TRY_VOID(in.done());
    return refusal_message{status_error(reason)};
}

errc status_error(std::uint16_t status) {
    if (status == 0 || status > static_cast<std::uint16_t>(errc::no_such_address)) return errc::denied;
    return static_cast<errc>(status);
}

}  // namespace warifu
