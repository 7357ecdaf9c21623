#include "keyd/protocol.h"

#include "fs/base/codec.h"
#include "fs/base/limits.h"

namespace warifu::keyd_protocol {
namespace {

constexpr std::size_t error_text_size_max = 1024;
constexpr std::uint8_t reply_bit = 0x80;

void put_text(writer& out, std::string_view value) {
    out.put_sized(as_bytes_view(value));
}
void put_stream(writer& out, const stream_name& stream) {
    put_text(out, stream.sender);
    put_text(out, stream.receiver);
}

// The fields of each message, in the order of FORMAT.md.
void put(writer&, const greet&) {}
void put(writer&, const status&) {}
void put(writer&, const done&) {}
void put(writer& out, const claim_send& m) {
    put_stream(out, m.stream);
    out.put(m.session)
        .put_be(m.size_min)
        .put_be(m.size_want)
        .put_be(static_cast<std::uint8_t>(m.use))
        .put_be(m.wait_ms);
}
void put(writer& out, const claim_receive& m) {
    put_stream(out, m.stream);
    out.put(m.session).put_be(m.range.offset).put_be(m.range.size);
}
void put(writer& out, const skip_to& m) {
    put_stream(out, m.stream);
    out.put_be(m.offset);
}
void put(writer& out, const next_free& m) {
    put_stream(out, m.stream);
    out.put_be(m.from);
}
void put(writer& out, const take_hello& m) {
    put_stream(out, m.stream);
    out.put_be(m.wait_ms);
}
void put(writer& out, const peek_hello& m) {
    put_stream(out, m.stream);
    out.put_be(m.offset);
}
void put(writer& out, const spend_hello& m) {
    put_stream(out, m.stream);
    out.put_be(m.offset);
}
void put(writer& out, const release& m) {
    put_stream(out, m.stream);
    out.put_be(m.window.offset).put_be(m.window.size).put_be(m.used_to);
}
void put(writer& out, const available& m) {
    put_text(out, m.peer);
}
void put(writer& out, const take_random& m) {
    out.put_be(m.size).put_be(m.wait_ms);
}
void put(writer& out, const hold& m) {
    put_stream(out, m.stream);
    out.put(m.session).put_be(m.range.offset).put_be(m.range.size);
}
void put(writer& out, const abandon& m) {
    put_stream(out, m.stream);
    out.put_be(m.range.offset).put_be(m.range.size);
}
void put(writer& out, const weigh& m) {
    out.put_be(m.weight);
}
void put(writer& out, const reserve& m) {
    put_stream(out, m.stream);
    out.put_be(m.size);
}
void put(writer& out, const failed& m) {
    out.put_be(static_cast<std::uint16_t>(m.code));
    put_text(out, std::string_view(m.text).substr(0, error_text_size_max));
}
void put(writer& out, const greeted& m) {
    put_text(out, m.site);
    out.put_be(static_cast<std::uint8_t>(m.strength));
}
void put(writer& out, const window& m) {
    out.put_be(m.range.offset).put_be(m.range.size);
}
void put(writer& out, const offset& m) {
    out.put_be(m.value);
}
void put(writer& out, const hello& m) {
    out.put_be(m.offset).put_bytes(m.key);
}
void put(writer& out, const stock& m) {
    out.put_be(m.outbound).put_be(m.inbound).put_be(static_cast<std::uint8_t>(m.strength));
}
void put(writer& out, const text& m) {
    put_text(out, m.json);
}
void put(writer& out, const reserved& m) {
    out.put_be(m.size);
}

template <typename Message>
byte_vector encode_message(const Message& message, std::uint8_t bit) {
    writer out(256);  // enough for every message with key, so that growing leaves no copy behind
    out.put_be(version_current).put_be(static_cast<std::uint8_t>((message.body.index() + 1) | bit)).put_be(message.id);
    std::visit([&](const auto& body) { put(out, body); }, message.body);
    return out.take();
}

result<std::string> take_site(reader& in) {
    TRY(const auto bytes, in.take_sized(site_name_size_max));
    return std::string(as_text(bytes));
}
result<stream_name> take_stream(reader& in) {
    stream_name stream;
    TRY(stream.sender, take_site(in));
    TRY(stream.receiver, take_site(in));
    return stream;
}
result<pad_range> take_range(reader& in) {
    pad_range range;
    TRY(range.offset, in.take_be<std::uint64_t>());
    TRY(range.size, in.take_be<std::uint64_t>());
    if (range.end() < range.offset) return fail(errc::bad_format, "a range wraps");
    return range;
}
result<claim> take_claim(reader& in) {
    TRY(const auto value, in.take_be<std::uint8_t>());
    if (value < 1 || value > 3) return fail(errc::bad_format, "unknown claim");
    return static_cast<claim>(value);
}

result<void> take(reader&, greet&) {
    return {};
}
result<void> take(reader&, status&) {
    return {};
}
result<void> take(reader&, done&) {
    return {};
}
result<void> take(reader& in, claim_send& m) {
    TRY(m.stream, take_stream(in));
    TRY_VOID(in.take(m.session));
    TRY(m.size_min, in.take_be<std::uint64_t>());
    TRY(m.size_want, in.take_be<std::uint64_t>());
    TRY(const auto use, in.take_be<std::uint8_t>());
    if (use < 1 || use > 3) return fail(errc::bad_format, "unknown use of key");
    m.use = static_cast<key_use>(use);
    TRY(m.wait_ms, in.take_be<std::uint32_t>());
    return {};
}
result<void> take(reader& in, claim_receive& m) {
    TRY(m.stream, take_stream(in));
    TRY_VOID(in.take(m.session));
    TRY(m.range, take_range(in));
    return {};
}
result<void> take(reader& in, skip_to& m) {
    TRY(m.stream, take_stream(in));
    TRY(m.offset, in.take_be<std::uint64_t>());
    return {};
}
result<void> take(reader& in, next_free& m) {
    TRY(m.stream, take_stream(in));
    TRY(m.from, in.take_be<std::uint64_t>());
    return {};
}
result<void> take(reader& in, take_hello& m) {
    TRY(m.stream, take_stream(in));
    TRY(m.wait_ms, in.take_be<std::uint32_t>());
    return {};
}
result<void> take(reader& in, peek_hello& m) {
    TRY(m.stream, take_stream(in));
    TRY(m.offset, in.take_be<std::uint64_t>());
    return {};
}
result<void> take(reader& in, spend_hello& m) {
    TRY(m.stream, take_stream(in));
    TRY(m.offset, in.take_be<std::uint64_t>());
    return {};
}
result<void> take(reader& in, release& m) {
    TRY(m.stream, take_stream(in));
    TRY(m.window, take_range(in));
    TRY(m.used_to, in.take_be<std::uint64_t>());
    return {};
}
result<void> take(reader& in, available& m) {
    TRY(m.peer, take_site(in));
    return {};
}
result<void> take(reader& in, take_random& m) {
    TRY(m.size, in.take_be<std::uint64_t>());
    TRY(m.wait_ms, in.take_be<std::uint32_t>());
    return {};
}
result<void> take(reader& in, hold& m) {
    TRY(m.stream, take_stream(in));
    TRY_VOID(in.take(m.session));
    TRY(m.range, take_range(in));
    return {};
}
result<void> take(reader& in, abandon& m) {
    TRY(m.stream, take_stream(in));
    TRY(m.range, take_range(in));
    return {};
}
result<void> take(reader& in, weigh& m) {
    TRY(m.weight, in.take_be<std::uint32_t>());
    return {};
}
result<void> take(reader& in, reserve& m) {
    TRY(m.stream, take_stream(in));
    TRY(m.size, in.take_be<std::uint64_t>());
    return {};
}
result<void> take(reader& in, failed& m) {
    TRY(const auto code, in.take_be<std::uint16_t>());
    if (code < 1 || code > static_cast<std::uint16_t>(errc::no_such_address))
        return fail(errc::bad_format, "unknown error code");
    m.code = static_cast<errc>(code);
    TRY(const auto bytes, in.take_sized(error_text_size_max));
    m.text = std::string(as_text(bytes));
    return {};
}
result<void> take(reader& in, greeted& m) {
    TRY(m.site, take_site(in));
    TRY(m.strength, take_claim(in));
    return {};
}
result<void> take(reader& in, window& m) {
    TRY(m.range, take_range(in));
    return {};
}
result<void> take(reader& in, offset& m) {
    TRY(m.value, in.take_be<std::uint64_t>());
    return {};
}
result<void> take(reader& in, hello& m) {
    TRY(m.offset, in.take_be<std::uint64_t>());
    TRY(const auto key, in.take_bytes(m.key.size()));
    std::memcpy(m.key.data(), key.data(), key.size());
    return {};
}
result<void> take(reader& in, stock& m) {
    TRY(m.outbound, in.take_be<std::uint64_t>());
    TRY(m.inbound, in.take_be<std::uint64_t>());
    TRY(m.strength, take_claim(in));
    return {};
}
result<void> take(reader& in, text& m) {
    TRY(const auto bytes, in.take_sized(keyd_message_size_max));
    m.json = std::string(as_text(bytes));
    return {};
}
result<void> take(reader& in, reserved& m) {
    TRY(m.size, in.take_be<std::uint64_t>());
    return {};
}

/// Takes the alternative of the variant that `index` names.
template <typename Variant, std::size_t I = 0>
result<Variant> take_body(reader& in, std::size_t index) {
    if constexpr (I == std::variant_size_v<Variant>) {
        return fail(errc::bad_format, "unknown kind of message");
    } else {
        if (index != I) return take_body<Variant, I + 1>(in, index);
        std::variant_alternative_t<I, Variant> body;
        TRY_VOID(take(in, body));
        return Variant(std::move(body));
    }
}

template <typename Message>
result<Message> decode_message(bytes_view packet, std::uint8_t bit) {
    if (packet.size() > keyd_message_size_max) return fail(errc::too_large, "a message is over the limit");
    reader in(packet);
    TRY(const auto version, in.take_be<std::uint8_t>());
    if (version != version_current) return fail(errc::bad_version, "unknown version of the key manager's protocol");
    TRY(const auto type, in.take_be<std::uint8_t>());
    if ((type & reply_bit) != bit || (type & ~reply_bit) == 0) return fail(errc::bad_format, "unknown kind of message");
    Message message;
    TRY(message.id, in.take_be<std::uint64_t>());
    TRY(message.body, take_body<decltype(message.body)>(in, (type & ~reply_bit) - 1U));
    TRY_VOID(in.done());
    return message;
}

}  // namespace

byte_vector encode(const request& message) {
    return encode_message(message, 0);
}

byte_vector encode(const reply& message) {
    return encode_message(message, reply_bit);
}

result<request> decode_request(bytes_view packet) {
    return decode_message<request>(packet, 0);
}

result<reply> decode_reply(bytes_view packet) {
    return decode_message<reply>(packet, reply_bit);
}

}  // namespace warifu::keyd_protocol
