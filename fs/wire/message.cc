#include "fs/wire/message.h"

namespace warifu {
namespace {

static_assert(sizeof(verb) + sizeof(message_kind) + 1 + 3 * sizeof(std::uint32_t) + sizeof(std::uint64_t) ==
              message_header_size);

bool is_known(verb v) {
    return is_store_verb(v) || is_admin_verb(v) || is_control_verb(v);
}

bool kind_fits(verb v, message_kind kind) {
    if (is_control_verb(v)) return kind == message_kind::control;
    return kind == message_kind::request || kind == message_kind::response || kind == message_kind::failure;
}

}  // namespace

std::size_t message_body::payload_size() const {
    std::size_t size = 0;
    for (const slice& s : payload) size += s.size();
    return size;
}

result<reader> fields_only(const body_view& body) {
    if (!body.payload.empty()) return fail(errc::bad_format, "a payload where none belongs");
    return reader(body.fields);
}

result<pad_range> take_pad_range(reader& in) {
    pad_range range;
    TRY(range.offset, in.take_be<std::uint64_t>());
    TRY(range.size, in.take_be<std::uint64_t>());
    if (range.end() < range.offset) return fail(errc::bad_format, "a pad range wraps around");
    return range;
}

message_header_bytes encode_message_header(const message_header& header) {
    writer out(message_header_size);
    out.put_be(static_cast<std::uint16_t>(header.what)).put_be(static_cast<std::uint8_t>(header.kind));
    out.put_be(std::uint8_t{0}).put_be(header.fields_size).put_be(header.payload_size);
    out.put_be(header.answer_size_max).put_be(header.request_id);
    message_header_bytes bytes;
    std::memcpy(bytes.data(), out.view().data(), bytes.size());
    return bytes;
}

result<message_header> decode_message_header(bytes_view bytes) {
    reader in(bytes);
    message_header header;
    TRY(const auto what, in.take_be<std::uint16_t>());
    TRY(const auto kind, in.take_be<std::uint8_t>());
    TRY(const auto zero, in.take_be<std::uint8_t>());
    TRY(header.fields_size, in.take_be<std::uint32_t>());
    TRY(header.payload_size, in.take_be<std::uint32_t>());
    TRY(header.answer_size_max, in.take_be<std::uint32_t>());
    TRY(header.request_id, in.take_be<std::uint64_t>());
    TRY_VOID(in.done());
    header.what = static_cast<verb>(what);
    header.kind = static_cast<message_kind>(kind);
    if (zero != 0 || !is_known(header.what)) return fail(errc::bad_format, "a message of an unknown verb");
    if (!kind_fits(header.what, header.kind)) return fail(errc::bad_format, "a message of the wrong kind");
    if (header.fields_size > message_fields_size_max || header.body_size() > message_size_max ||
        header.answer_size_max > response_size_max)
        return fail(errc::too_large, "a message over the size limit");
    const bool small = header.kind == message_kind::control || header.kind == message_kind::failure;
    if (small && (header.payload_size != 0 || header.fields_size > 2 * error_text_size_max))
        return fail(errc::too_large, "a control message over the size limit");
    return header;
}

message_body encode_error(const error& e) {
    message_body body;
    writer out;
    out.put_be(static_cast<std::uint16_t>(e.code));
    out.put_sized(as_bytes_view(std::string_view(e.text).substr(0, error_text_size_max)));
    body.fields = out.take();
    return body;
}

error decode_error(const body_view& body) {
    const auto decoded = [&]() -> result<error> {
        TRY(reader in, fields_only(body));
        TRY(const auto code, in.take_be<std::uint16_t>());
        TRY(const auto text, in.take_sized(error_text_size_max));
        TRY_VOID(in.done());
        if (code == 0 || code > static_cast<std::uint16_t>(errc::no_such_address))
            return error(errc::io_error, "the peer answers with an unknown error");
        return error(static_cast<errc>(code), std::string(as_text(text)));
    }();
    return decoded ? *decoded : decoded.error();
}

}  // namespace warifu
