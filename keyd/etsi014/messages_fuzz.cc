// Any body given to every decoder of the codec: a value or a one-line error; what was accepted survives a round trip.

#include "fs/base/assert.h"
#include "keyd/etsi014/base64.h"
#include "keyd/etsi014/messages.h"

namespace {

using namespace warifu;
using namespace warifu::etsi014;

void check_error(const error& e) {
    WARIFU_ASSERT(e.code == errc::bad_format && e.text.find('\n') == std::string::npos);
}

template <typename Message>
void check(std::string_view text, result<Message> (*decode)(std::string_view), std::string (*encode)(const Message&)) {
    const auto decoded = decode(text);
    if (!decoded) return check_error(decoded.error());
    const auto again = decode(encode(*decoded));
    WARIFU_ASSERT(again && *again == *decoded);
}

void check_container(std::string_view text) {
    const auto decoded = decode_key_container(text, 64, 4096);
    if (!decoded) return check_error(decoded.error());
    WARIFU_ASSERT(decoded->keys.size() <= 64);
    std::vector<key_to_send> keys;
    for (const auto& key : decoded->keys) {
        WARIFU_ASSERT(!key.bytes().empty() && key.bytes().size() <= 4096);
        keys.push_back(key_to_send{key.id(), key.bytes(), {}, {}});
    }
    const auto encoded = encode_key_container(keys, decoded->extension);
    const auto again = decode_key_container(as_text(encoded.view()), 64, 4096);
    WARIFU_ASSERT(again && again->keys.size() == decoded->keys.size() && again->extension == decoded->extension);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        WARIFU_ASSERT(again->keys[i].id() == keys[i].id);
        WARIFU_ASSERT(equal_constant_time(again->keys[i].bytes(), keys[i].bytes));
    }
}

void check_ids(std::string_view text) {
    const auto decoded = decode_key_ids(text, 64);
    if (!decoded) return check_error(decoded.error());
    const auto again = decode_key_ids(encode_key_ids(*decoded), 64);
    WARIFU_ASSERT(again && *again == *decoded);
}

void check_base64(std::string_view text) {
    const auto size = base64_decoded_size(text);
    if (!size) return;
    byte_vector bytes(*size);
    // One text for each value: what decodes must encode to itself.
    if (base64_decode_into(text, bytes)) WARIFU_ASSERT(base64_encode(bytes) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    check<key_request>(text, decode_key_request, encode_key_request);
    check<key_status>(text, decode_key_status, encode_key_status);
    check<error_message>(text, decode_error, encode_error);
    check_container(text);
    check_ids(text);
    check_base64(text);
    return 0;
}
