#include "keyd/etsi014/json_reader.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fmt/format.h>

#include "keyd/etsi014/limits.h"

namespace warifu::etsi014 {
namespace {

constexpr std::size_t key_size_max = 64;      // of an object's key; longer ones are nobody's
constexpr std::size_t member_count_max = 64;  // of one object
constexpr std::size_t skipped_count_max = 4096;

int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/// Four hexadecimal digits, or -1.
int hex_quad(std::string_view text) {
    if (text.size() < 4) return -1;
    int value = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        const int digit = hex_value(text[i]);
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

void append_utf8(std::string& out, std::uint32_t c) {
    const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (c < 0x80) return put(c);
    if (c < 0x800) {
        put(0xc0U | (c >> 6U));
    } else {
        if (c < 0x10000) {
            put(0xe0U | (c >> 12U));
        } else {
            put(0xf0U | (c >> 18U));
            put(0x80U | ((c >> 12U) & 0x3fU));
        }
        put(0x80U | ((c >> 6U) & 0x3fU));
    }
    put(0x80U | (c & 0x3fU));
}

char simple_escape(char c) {
    switch (c) {
        case 'b':
            return '\b';
        case 'f':
            return '\f';
        case 'n':
            return '\n';
        case 'r':
            return '\r';
        case 't':
            return '\t';
        default:
            return c;  // '"', '\\', '/'
    }
}

/// The end of the run of plain characters from `at`: a quote, a backslash, a control character or the end.
std::size_t plain_run(std::string_view text, std::size_t at) {
    using u8x16 = std::uint8_t __attribute__((ext_vector_type(16)));
    while (at + 16 <= text.size()) {
        u8x16 c;
        std::memcpy(&c, text.data() + at, 16);
        const auto ends = std::bit_cast<std::array<std::uint64_t, 2>>((c == '"') | (c == '\\') | (c < 0x20));
        if ((ends[0] | ends[1]) != 0) break;
        at += 16;
    }
    while (at < text.size() && text[at] != '"' && text[at] != '\\' && static_cast<unsigned char>(text[at]) >= 0x20)
        ++at;
    return at;
}

}  // namespace

error json_reader::complaint(std::string_view what) const {
    return error(errc::bad_format, fmt::format("{}: {}", path_, what));
}

void json_reader::skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
        ++at_;
}

char json_reader::peek() {
    skip_blanks();
    return at_ < text_.size() ? text_[at_] : '\0';
}

result<void> json_reader::end() {
    skip_blanks();
    if (at_ != text_.size()) return fail(complaint("something follows the value"));
    return {};
}

result<void> json_reader::open(char bracket, std::string_view what) {
    if (peek() != bracket) return fail(complaint(fmt::format("expected {}", what)));
    if (++depth_ > json_depth_limit) return fail(complaint("nested too deeply"));
    ++at_;
    return {};
}

bool json_reader::close(char bracket) {
    if (peek() != bracket) return false;
    ++at_;
    return true;
}

result<void> json_reader::separate(bool first) {
    if (first) return {};
    if (peek() != ',') return fail(complaint("expected ',' or the end"));
    ++at_;
    const char next = peek();
    if (next == ']' || next == '}') return fail(complaint("a value is missing after ','"));
    return {};
}

result<std::string> json_reader::member_key() {
    if (peek() != '"') return fail(complaint("expected a key"));
    TRY(auto key, string(key_size_max));
    if (peek() != ':') return fail(complaint("expected ':'"));
    ++at_;
    return key;
}

result<void> json_reader::once(std::vector<std::string>& seen, const std::string& key) const {
    if (std::ranges::find(seen, key) != seen.end())
        return fail(complaint(fmt::format("key {} stands twice", quote_json(key))));
    if (seen.size() == member_count_max) return fail(complaint("too many keys"));
    seen.push_back(key);
    return {};
}

std::size_t json_reader::enter(std::string_view key) {
    const std::size_t outer = path_.size();
    path_ += '.';
    for (const char c : key) path_ += c >= ' ' && c <= '~' ? c : '?';
    return outer;
}

std::size_t json_reader::enter(std::size_t index) {
    const std::size_t outer = path_.size();
    path_ += fmt::format("[{}]", index);
    return outer;
}

/// The text between the quotes, escapes checked for their form; at_ goes behind the closing quote.
result<std::string_view> json_reader::scan_string() {
    if (peek() != '"') return fail(complaint("expected a string"));
    const std::size_t start = ++at_;
    while (true) {
        at_ = plain_run(text_, at_);
        if (at_ >= text_.size()) return fail(complaint("the text ends within a string"));
        const char c = text_[at_];
        if (c == '"') break;
        if (c != '\\') return fail(complaint("a control character in a string"));
        const char kind = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
        if (kind == 'u') {
            if (hex_quad(text_.substr(at_ + 2)) < 0) return fail(complaint("a bad escape"));
            at_ += 6;
        } else {
            if (kind == '\0' || std::strchr("\"\\/bfnrt", kind) == nullptr) return fail(complaint("a bad escape"));
            at_ += 2;
        }
    }
    return text_.substr(start, at_++ - start);
}

result<std::string> json_reader::string(std::size_t size_max) {
    TRY(const auto raw_text, scan_string());
    // The longest escape is six characters for one byte.
    const bool too_long = raw_text.size() > 6 * size_max;
    std::optional<std::string> value;
    if (!too_long) value = unescape_json(raw_text);
    if (too_long || (value && value->size() > size_max))
        return fail(complaint(fmt::format("longer than {} bytes", size_max)));
    if (!value || !valid_utf8(*value)) return fail(complaint("not valid UTF-8"));
    return std::move(*value);
}

result<json_reader::raw_string> json_reader::raw() {
    TRY(const auto text, scan_string());
    return raw_string{text, text.find('\\') != std::string_view::npos};
}

result<std::uint64_t> json_reader::integer(std::uint64_t least, std::uint64_t most) {
    const auto wanted = fail(complaint(fmt::format("expected an integer from {} to {}", least, most)));
    peek();
    const std::size_t start = at_;
    if (!skip_number()) return wanted;
    const std::string_view digits = text_.substr(start, at_ - start);
    std::uint64_t value = 0;
    if (digits.empty() || digits.size() > 19) return wanted;
    for (const char c : digits) {
        if (c < '0' || c > '9') return wanted;
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    if (value < least || value > most) return wanted;
    return value;
}

result<std::string_view> json_reader::any(std::size_t size_max) {
    peek();
    const std::size_t start = at_;
    TRY_VOID(skip_value());
    const std::string_view text = text_.substr(start, at_ - start);
    if (text.size() > size_max) return fail(complaint(fmt::format("longer than {} bytes", size_max)));
    return text;
}

result<void> json_reader::skip() {
    return skip_value();
}

result<void> json_reader::skip_value() {
    switch (peek()) {
        case '{':
            return object([this](std::string_view) { return skip_value(); });
        case '[':
            return array(skipped_count_max, [this](std::size_t) { return skip_value(); });
        case '"': {
            TRY(const auto text, scan_string());
            // An escaped text is checked when somebody reads it; raw bytes must be UTF-8 in any case.
            if (!valid_utf8(text)) return fail(complaint("not valid UTF-8"));
            return {};
        }
        case 't':
            return skip_word("true");
        case 'f':
            return skip_word("false");
        case 'n':
            return skip_word("null");
        default:
            return skip_number();
    }
}

result<void> json_reader::skip_word(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return fail(complaint("expected a value"));
    at_ += word.size();
    return {};
}

/// -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
result<void> json_reader::skip_number() {
    const auto here = [this] { return at_ < text_.size() ? text_[at_] : '\0'; };
    const auto digits = [&] {
        const std::size_t start = at_;
        while (here() >= '0' && here() <= '9') ++at_;
        return at_ - start;
    };
    if (here() == '-') ++at_;
    const bool zero = here() == '0';
    const std::size_t whole = digits();
    if (whole == 0 || (zero && whole > 1)) return fail(complaint("expected a value"));
    if (here() == '.') {
        ++at_;
        if (digits() == 0) return fail(complaint("a bad number"));
    }
    if (here() == 'e' || here() == 'E') {
        ++at_;
        if (here() == '+' || here() == '-') ++at_;
        if (digits() == 0) return fail(complaint("a bad number"));
    }
    return {};
}

std::optional<std::string> unescape_json(std::string_view raw) {
    std::string out;
    out.reserve(raw.size());
    for (std::size_t i = 0; i < raw.size(); ++i) {
        if (raw[i] != '\\') {
            out.push_back(raw[i]);
            continue;
        }
        ++i;
        if (raw[i] != 'u') {
            out.push_back(simple_escape(raw[i]));
            continue;
        }
        auto code = static_cast<std::uint32_t>(hex_quad(raw.substr(i + 1)));
        i += 4;
        if (code >= 0xdc00 && code < 0xe000) return std::nullopt;
        if (code >= 0xd800 && code < 0xdc00) {
            if (!raw.substr(i + 1).starts_with("\\u")) return std::nullopt;
            const int low = hex_quad(raw.substr(i + 3));
            if (low < 0xdc00 || low >= 0xe000) return std::nullopt;
            code = 0x10000U + ((code - 0xd800U) << 10U) + (static_cast<std::uint32_t>(low) - 0xdc00U);
            i += 6;
        }
        append_utf8(out, code);
    }
    return out;
}

bool valid_utf8(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    for (std::size_t i = 0; i < text.size();) {
        const unsigned char lead = byte(i);
        if (lead < 0x80) {
            ++i;
            continue;
        }
        const std::size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || i + more >= text.size()) return false;
        const unsigned char second = byte(i + 1);
        // Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte.
        if (second < 0x80 || second > 0xbf || (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
            (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f))
            return false;
        for (std::size_t j = 2; j <= more; ++j)
            if (byte(i + j) < 0x80 || byte(i + j) > 0xbf) return false;
        i += more + 1;
    }
    return true;
}

std::string quote_json(std::string_view text) {
    const bool utf8 = valid_utf8(text);
    std::string out = "\"";
    for (const char c : text) {
        const auto u = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out.push_back('\\');
            out.push_back(c);
        } else if (u < 0x20 || u == 0x7f) {
            out += fmt::format("\\u{:04x}", u);
        } else {
            out.push_back(u >= 0x80 && !utf8 ? '?' : c);
        }
    }
    return out + "\"";
}

}  // namespace warifu::etsi014
