#include "keyd/etsi014/messages.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unordered_set>

#include "fs/base/assert.h"
#include "keyd/etsi014/base64.h"
#include "keyd/etsi014/json_reader.h"
#include "keyd/etsi014/limits.h"

namespace warifu::etsi014 {
namespace {

/// The reader's errors get the message's name in front: "status: $.key_size: ...".
template <typename T>
result<T> named(std::string_view name, result<T> outcome) {
    if (!outcome) return fail(errc::bad_format, fmt::format("{}: {}", name, outcome.error().text));
    return outcome;
}

/// A string, or the digits of an integer.
result<std::string> read_id(json_reader& in) {
    if (in.peek() == '"') return in.string(sae_id_limit);
    TRY(const auto number, in.integer(0, INT64_MAX));
    return std::to_string(number);
}

result<std::string> read_object_text(json_reader& in) {
    if (in.peek() != '{') return fail(in.complaint("expected an object"));
    TRY(const auto text, in.any(extension_size_limit));
    return std::string(text);
}

/// Section 6.2: an array of objects, each of name/value pairs.
result<std::vector<extension>> read_extensions(json_reader& in) {
    std::vector<extension> out;
    TRY_VOID(in.array(extension_count_limit, [&](std::size_t) {
        return in.object([&](std::string_view name) -> result<void> {
            if (out.size() == extension_count_limit) return fail(in.complaint("too many extensions"));
            TRY(const auto value, in.any(extension_size_limit));
            out.push_back(extension{std::string(name), std::string(value)});
            return {};
        });
    }));
    return out;
}

std::string write_extensions(const std::vector<extension>& extensions) {
    std::vector<std::string> parts;
    for (const auto& e : extensions) parts.push_back(fmt::format("{{{}:{}}}", quote_json(e.name), e.value));
    return fmt::format("[{}]", fmt::join(parts, ","));
}

result<void> read_key_request(json_reader& in, key_request& out) {
    TRY_VOID(in.object([&](std::string_view key) -> result<void> {
        if (key == "number") {
            TRY(out.number, in.integer(0, UINT32_MAX));
        } else if (key == "size") {
            TRY(out.size, in.integer(0, UINT32_MAX));
        } else if (key == "additional_slave_SAE_IDs") {
            return in.array(additional_sae_limit, [&](std::size_t) -> result<void> {
                TRY(auto id, in.string(sae_id_limit));
                out.additional_slaves.push_back(std::move(id));
                return {};
            });
        } else if (key == "extension_mandatory") {
            TRY(out.mandatory, read_extensions(in));
        } else if (key == "extension_optional") {
            TRY(out.optional, read_extensions(in));
        } else {
            return fail(in.complaint("unknown parameter"));
        }
        return {};
    }));
    return in.end();
}

result<void> read_key_status(json_reader& in, key_status& out) {
    const std::map<std::string_view, std::string*> ids = {{"source_KME_ID", &out.source_kme},
                                                          {"target_KME_ID", &out.target_kme},
                                                          {"master_SAE_ID", &out.master_sae},
                                                          {"slave_SAE_ID", &out.slave_sae}};
    const std::map<std::string_view, std::uint64_t*> numbers = {{"key_size", &out.key_size},
                                                                {"stored_key_count", &out.keys_stored},
                                                                {"max_key_count", &out.keys_stored_max},
                                                                {"max_key_per_request", &out.keys_per_request_max},
                                                                {"max_key_size", &out.key_size_max},
                                                                {"min_key_size", &out.key_size_min},
                                                                {"max_SAE_ID_count", &out.additional_saes_max}};
    std::size_t found = 0;
    TRY_VOID(in.object([&](std::string_view key) -> result<void> {
        if (const auto id = ids.find(key); id != ids.end()) {
            TRY(*id->second, read_id(in));
            ++found;
        } else if (const auto number = numbers.find(key); number != numbers.end()) {
            TRY(*number->second, in.integer(0, INT64_MAX));
            ++found;
        } else if (key == "status_extension") {
            TRY(out.extension, read_object_text(in));
        } else {
            return in.skip();
        }
        return {};
    }));
    TRY_VOID(in.end());
    if (found != ids.size() + numbers.size())
        return fail(in.complaint("not all members that the standard demands are there"));
    return {};
}

result<key_id> read_key_id(json_reader& in) {
    TRY(const auto text, in.string(64));
    const auto bytes = uuid_from_text(text);
    if (!bytes) return fail(in.complaint("expected a UUID"));
    return key_id{*bytes};
}

/// Where the keys of one container go.
class key_room {
  public:
    /// `text_size`: of the container, which is larger than its keys.
    explicit key_room(std::size_t text_size) : memory_(std::make_shared<buffer>(base64_room(text_size))) {}
    bytes_span rest() { return memory_->span().subspan(used_); }
    slice take(std::size_t size) {
        const bytes_view taken = memory_->view(used_, size);
        used_ += size;
        return {memory_, taken};
    }

  private:
    static std::size_t base64_room(std::size_t text_size) { return divide_up(text_size, 4) * 3; }
    std::shared_ptr<buffer> memory_;
    std::size_t used_ = 0;
};

result<slice> read_key_bytes(json_reader& in, std::size_t size_max, key_room& room) {
    TRY(const auto raw, in.raw());
    std::optional<std::string> plain;  // some encoders write '/' as "\/"
    if (raw.escaped) plain = unescape_json(raw.text);
    if (raw.escaped && !plain) return fail(in.complaint("not base64"));
    const std::string_view text = plain ? std::string_view(*plain) : raw.text;
    const auto size = base64_decoded_size(text);
    const bool fits = size && *size <= size_max;
    bool good = false;
    if (fits) good = base64_decode_into(text, room.rest().first(*size));
    if (plain) wipe(std::as_writable_bytes(std::span(*plain)));
    if (size && !fits) return fail(in.complaint(fmt::format("a key of more than {} bytes", size_max)));
    if (!good) return fail(in.complaint("not base64"));
    if (*size == 0) return fail(in.complaint("an empty key"));
    return room.take(*size);
}

/// What this project's KME tells of a key in key_ID_extension or key_extension; others' extensions are skipped.
struct key_notes {
    std::vector<std::string> path;
    std::uint64_t recipients = 0;
};
result<void> read_notes(json_reader& in, key_notes& notes) {
    if (in.peek() != '{') return in.skip();
    return in.object([&](std::string_view key) -> result<void> {
        if (key == "warifu_path") {
            return in.array(path_node_limit, [&](std::size_t) -> result<void> {
                TRY(auto node, in.string(sae_id_limit));
                notes.path.push_back(std::move(node));
                return {};
            });
        }
        if (key == "warifu_recipients") {
            TRY(notes.recipients, in.integer(0, UINT32_MAX));
            return {};
        }
        return in.skip();
    });
}

result<void> read_key(json_reader& in, std::size_t size_max, key_room& room, key_container& out) {
    std::optional<key_id> id;
    slice bytes;
    key_notes notes;
    TRY_VOID(in.object([&](std::string_view key) -> result<void> {
        if (key == "key_ID") {
            TRY(id, read_key_id(in));
        } else if (key == "key") {
            TRY(bytes, read_key_bytes(in, size_max, room));
        } else if (key == "key_ID_extension" || key == "key_extension") {
            return read_notes(in, notes);
        } else {
            return in.skip();
        }
        return {};
    }));
    if (!id) return fail(in.complaint("key_ID is missing"));
    if (bytes.empty()) return fail(in.complaint("key is missing"));
    delivered_key key(*id, std::move(bytes));
    key.path = std::move(notes.path);
    if (notes.recipients > 1) out.multicast.push_back(*id);
    out.keys.push_back(std::move(key));
    return {};
}

result<void> read_key_container(json_reader& in, std::size_t count_max, std::size_t size_max, key_room& room,
                                key_container& out) {
    std::unordered_set<key_id> ids;
    bool found = false;
    TRY_VOID(in.object([&](std::string_view key) -> result<void> {
        if (key == "key_container_extension") {
            TRY(out.extension, read_object_text(in));
            return {};
        }
        if (key != "keys") return in.skip();
        found = true;
        return in.array(count_max, [&](std::size_t) -> result<void> {
            TRY_VOID(read_key(in, size_max, room, out));
            if (!ids.insert(out.keys.back().id()).second) return fail(in.complaint("this key_ID stands twice"));
            return {};
        });
    }));
    TRY_VOID(in.end());
    if (!found) return fail(in.complaint("keys is missing"));
    return {};
}

/// Appends to a buffer whose size was computed before.
class buffer_writer {
  public:
    explicit buffer_writer(std::size_t size) : out_(size) {}
    void put(std::string_view text) {
        std::memcpy(out_.data() + at_, text.data(), text.size());
        at_ += text.size();
    }
    void put_base64(bytes_view bytes) {
        const std::size_t size = base64_size(bytes.size());
        base64_encode_into(bytes, {reinterpret_cast<char*>(out_.data()) + at_, size});
        at_ += size;
    }
    buffer finish() {
        WARIFU_ASSERT(at_ == out_.size());
        return std::move(out_);
    }

  private:
    buffer out_;
    std::size_t at_ = 0;
};

constexpr std::string_view container_start = R"({"keys":[)";
constexpr std::string_view key_id_part = R"({"key_ID":")";
constexpr std::string_view key_part = R"(","key":")";
constexpr std::string_view id_extension_part = R"(,"key_ID_extension":)";
constexpr std::string_view key_extension_part = R"(,"key_extension":)";
constexpr std::string_view container_extension_part = R"(,"key_container_extension":)";
constexpr std::size_t uuid_text_size = 36;

std::size_t encoded_size(const key_to_send& key) {
    std::size_t size = key_id_part.size() + uuid_text_size + key_part.size() + base64_size(key.bytes.size()) + 2;
    if (!key.id_extension.empty()) size += id_extension_part.size() + key.id_extension.size();
    if (!key.key_extension.empty()) size += key_extension_part.size() + key.key_extension.size();
    return size;
}

}  // namespace

std::string encode_key_request(const key_request& request) {
    std::vector<std::string> parts;
    if (request.number) parts.push_back(fmt::format(R"("number":{})", *request.number));
    if (request.size) parts.push_back(fmt::format(R"("size":{})", *request.size));
    if (!request.additional_slaves.empty()) {
        std::vector<std::string> ids;
        for (const auto& id : request.additional_slaves) ids.push_back(quote_json(id));
        parts.push_back(fmt::format(R"("additional_slave_SAE_IDs":[{}])", fmt::join(ids, ",")));
    }
    if (!request.mandatory.empty())
        parts.push_back(fmt::format(R"("extension_mandatory":{})", write_extensions(request.mandatory)));
    if (!request.optional.empty())
        parts.push_back(fmt::format(R"("extension_optional":{})", write_extensions(request.optional)));
    return fmt::format("{{{}}}", fmt::join(parts, ","));
}

result<key_request> decode_key_request(std::string_view text) {
    key_request out;
    json_reader in(text);
    if (in.peek() == '\0' && in.end()) return out;
    const auto read = read_key_request(in, out);
    if (!read) return named<key_request>("key request", fail(read.error()));
    return out;
}

std::string encode_key_status(const key_status& s) {
    std::string text = fmt::format(
        R"({{"source_KME_ID":{},"target_KME_ID":{},"master_SAE_ID":{},"slave_SAE_ID":{},"key_size":{},)"
        R"("stored_key_count":{},"max_key_count":{},"max_key_per_request":{},"max_key_size":{},"min_key_size":{},)"
        R"("max_SAE_ID_count":{})",
        quote_json(s.source_kme), quote_json(s.target_kme), quote_json(s.master_sae), quote_json(s.slave_sae),
        s.key_size, s.keys_stored, s.keys_stored_max, s.keys_per_request_max, s.key_size_max, s.key_size_min,
        s.additional_saes_max);
    if (!s.extension.empty()) text += fmt::format(R"(,"status_extension":{})", s.extension);
    return text + "}";
}

result<key_status> decode_key_status(std::string_view text) {
    key_status out;
    json_reader in(text);
    const auto read = read_key_status(in, out);
    if (!read) return named<key_status>("status", fail(read.error()));
    return out;
}

std::string encode_key_ids(std::span<const key_id> ids) {
    std::string text = R"({"key_IDs":[)";
    text.reserve(text.size() + ids.size() * (uuid_text_size + 14) + 2);
    for (const auto& id : ids) {
        if (text.back() != '[') text += ',';
        text += key_id_part;
        text += to_text(id);
        text += "\"}";
    }
    return text + "]}";
}

result<std::vector<key_id>> decode_key_ids(std::string_view text, std::size_t count_max) {
    std::vector<key_id> out;
    std::unordered_set<key_id> seen;
    bool found = false;
    json_reader in(text);
    auto read = in.object([&](std::string_view key) -> result<void> {
        if (key == "key_IDs_extension") return in.skip();
        if (key != "key_IDs") return fail(in.complaint("unknown parameter"));
        found = true;
        return in.array(count_max, [&](std::size_t) -> result<void> {
            std::optional<key_id> id;
            TRY_VOID(in.object([&](std::string_view name) -> result<void> {
                if (name == "key_ID_extension") return in.skip();
                if (name != "key_ID") return fail(in.complaint("unknown parameter"));
                TRY(id, read_key_id(in));
                return {};
            }));
            if (!id) return fail(in.complaint("key_ID is missing"));
            if (!seen.insert(*id).second) return fail(in.complaint("this key_ID stands twice"));
            out.push_back(*id);
            return {};
        });
    });
    if (read) read = in.end();
    if (read && !found) read = fail(in.complaint("key_IDs is missing"));
    if (read && out.empty()) read = fail(in.complaint("no key_ID"));
    if (!read) return named<std::vector<key_id>>("key IDs", fail(read.error()));
    return out;
}

buffer encode_key_container(std::span<const key_to_send> keys, std::string_view container_extension) {
    std::size_t size = container_start.size() + 2 + (keys.empty() ? 0 : keys.size() - 1);
    for (const auto& key : keys) size += encoded_size(key);
    if (!container_extension.empty()) size += container_extension_part.size() + container_extension.size();
    buffer_writer out(size);
    out.put(container_start);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (i > 0) out.put(",");
        out.put(key_id_part);
        out.put(to_text(keys[i].id));
        out.put(key_part);
        out.put_base64(keys[i].bytes);
        out.put("\"");
        if (!keys[i].id_extension.empty()) out.put(id_extension_part), out.put(keys[i].id_extension);
        if (!keys[i].key_extension.empty()) out.put(key_extension_part), out.put(keys[i].key_extension);
        out.put("}");
    }
    out.put("]");
    if (!container_extension.empty()) out.put(container_extension_part), out.put(container_extension);
    out.put("}");
    return out.finish();
}

result<key_container> decode_key_container(std::string_view text, std::size_t count_max, std::size_t size_max) {
    key_container out;
    json_reader in(text);
    key_room room(text.size());
    const auto read = read_key_container(in, count_max, size_max, room, out);
    if (!read) return named<key_container>("key container", fail(read.error()));
    return out;
}

std::string encode_error(const error_message& e) {
    if (e.details.empty()) return fmt::format(R"({{"message":{}}})", quote_json(e.message));
    return fmt::format(R"({{"message":{},"details":{}}})", quote_json(e.message), write_extensions(e.details));
}

result<error_message> decode_error(std::string_view text) {
    error_message out;
    bool found = false;
    json_reader in(text);
    auto read = in.object([&](std::string_view key) -> result<void> {
        if (key == "message") {
            TRY(out.message, in.string(error_body_limit));
            found = true;
            return {};
        }
        if (key != "details") return in.skip();
        TRY(out.details, read_extensions(in));
        return {};
    });
    if (read) read = in.end();
    if (read && !found) read = fail(in.complaint("message is missing"));
    if (!read) return named<error_message>("error", fail(read.error()));
    return out;
}

}  // namespace warifu::etsi014
