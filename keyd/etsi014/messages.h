#pragma once
// The data formats of ETSI GS QKD 014 v1.1.1 (section 6) and their JSON, encode and decode side by side; one codec for
// the client and for a KME. Sizes of keys are bits here, as on the wire. Decoding is strict and bounded (limits.h):
// what the standard demands must be there with its type; unknown members of answers are ignored, of requests refused.
// All errors are bad_format with the JSON path.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fs/base/buffer.h"
#include "keyd/key_delivery.h"

namespace warifu::etsi014 {

/// One name/value pair of an extension; the value is JSON text.
struct extension {
    std::string name;
    std::string value;
    bool operator==(const extension&) const = default;
};

/// Section 6.2: the body of "Get key". What is missing has the standard's default.
struct key_request {
    std::optional<std::uint64_t> number;  // default 1
    std::optional<std::uint64_t> size;    // bits; default: the KME's key_size
    std::vector<std::string> additional_slaves;
    std::vector<extension> mandatory;
    std::vector<extension> optional;
    bool operator==(const key_request&) const = default;
};
std::string encode_key_request(const key_request& request);
/// An empty body is a request with all defaults.
result<key_request> decode_key_request(std::string_view text);

/// Section 6.1.
struct key_status {
    std::string source_kme;
    std::string target_kme;
    std::string master_sae;
    std::string slave_sae;
    std::uint64_t key_size = 0;  // bits, as are the next two
    std::uint64_t key_size_min = 0;
    std::uint64_t key_size_max = 0;
    std::uint64_t keys_stored = 0;
    std::uint64_t keys_stored_max = 0;
    std::uint64_t keys_per_request_max = 0;
    std::uint64_t additional_saes_max = 0;
    std::string extension;  // status_extension: a JSON object's text, or empty
    bool operator==(const key_status&) const = default;
};
std::string encode_key_status(const key_status& status);
/// KME and SAE IDs may also be integers, as some KMEs send them; they are made texts.
result<key_status> decode_key_status(std::string_view text);

/// Section 6.4: the body of "Get key with key IDs".
std::string encode_key_ids(std::span<const key_id> ids);
result<std::vector<key_id>> decode_key_ids(std::string_view text, std::size_t count_max);

/// One key that a KME sends. The extensions are JSON objects as text, or empty.
struct key_to_send {
    key_id id;
    bytes_view bytes;
    std::string_view id_extension;   // key_ID_extension
    std::string_view key_extension;  // key_extension
};
/// Section 6.3. The buffer is wiped when it goes. `container_extension`: a JSON object as text, or empty.
buffer encode_key_container(std::span<const key_to_send> keys, std::string_view container_extension);

/// Section 6.3 as a client sees it.
struct key_container {
    std::vector<delivered_key> keys;
    std::vector<key_id> multicast;  // those of them that the KME says others got as well ("warifu_recipients" > 1)
    std::string extension;          // key_container_extension, or empty
};
/// At most `count_max` keys of at most `size_max` bytes; base64 becomes key bytes in memory that is wiped. key_IDs are
/// UUIDs and differ. `text` itself is key: the caller wipes it.
result<key_container> decode_key_container(std::string_view text, std::size_t count_max, std::size_t size_max);

/// Section 6.5.
struct error_message {
    std::string message;
    std::vector<extension> details;
    bool operator==(const error_message&) const = default;
};
std::string encode_error(const error_message& e);
result<error_message> decode_error(std::string_view text);

// The standard's texts, word for word.
inline constexpr std::string_view text_size_not_bytes = "size shall be a multiple of 8";
inline constexpr std::string_view text_mandatory_unsupported = "not all extension_mandatory parameters are supported";
inline constexpr std::string_view text_mandatory_unmet = "not all extension_mandatory request options could be met";
inline constexpr std::string_view text_optional_unhandled = "not all extension_optional request options handled";
inline constexpr std::string_view text_keys_not_found = "one or more keys specified are not found on KME";

}  // namespace warifu::etsi014
