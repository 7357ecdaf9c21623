#pragma once
// A strict, bounded reader of JSON text (RFC 8259) that builds no tree: key bytes stay in the one buffer they arrived
// in, and a hostile text costs no more than its length. Keys that stand twice in an object are refused by the caller's
// member function or here (object()).

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"

namespace warifu::etsi014 {

/// Reads one value after the other. Errors: bad_format "PATH: what", PATH as in "$.keys[3].key". After an error the
/// reader is of no further use. The text must outlive it.
class json_reader {
  public:
    explicit json_reader(std::string_view text) : text_(text) {}

    /// "$.keys[3].key: what"
    error complaint(std::string_view what) const;

    /// Calls member(key) -> result<void> for each member of an object, which must read the value or skip() it. `known`
    /// keys may stand once; others are what `member` makes of them.
    template <typename Member>
    result<void> object(Member member) {
        TRY_VOID(open('{', "an object"));
        std::vector<std::string> seen;
        for (bool first = true; !close('}'); first = false) {
            TRY_VOID(separate(first));
            TRY(auto key, member_key());
            TRY_VOID(once(seen, key));
            const std::size_t outer = enter(key);
            TRY_VOID(member(std::string_view(key)));
            leave(outer);
        }
        --depth_;
        return {};
    }
    /// Calls element(index) -> result<void> for each element of an array.
    template <typename Element>
    result<void> array(std::size_t count_max, Element element) {
        TRY_VOID(open('[', "an array"));
        std::size_t index = 0;
        for (; !close(']'); ++index) {
            TRY_VOID(separate(index == 0));
            if (index == count_max) return fail(complaint("more than " + std::to_string(count_max) + " elements"));
            const std::size_t outer = enter(index);
            TRY_VOID(element(index));
            leave(outer);
        }
        --depth_;
        return {};
    }
    /// A string without its escapes, at most `size_max` bytes of valid UTF-8.
    result<std::string> string(std::size_t size_max);
    /// A string that holds base64: the characters between the quotes as they stand in the text, still with escapes
    /// ("\/") if `escaped`.
    struct raw_string {
        std::string_view text;
        bool escaped;
    };
    result<raw_string> raw();
    /// An integer within bounds, written without fraction and exponent.
    result<std::uint64_t> integer(std::uint64_t least, std::uint64_t most);
    /// Any valid value: its text. Too long: an error.
    result<std::string_view> any(std::size_t size_max);
    result<void> skip();
    /// The first character of the next value, or 0 at the end.
    char peek();
    /// Nothing but blanks may be left.
    result<void> end();

  private:
    void skip_blanks();
    result<void> open(char bracket, std::string_view what);
    bool close(char bracket);
    result<void> separate(bool first);
    result<std::string> member_key();
    result<void> once(std::vector<std::string>& seen, const std::string& key) const;
    std::size_t enter(std::string_view key);
    std::size_t enter(std::size_t index);
    void leave(std::size_t outer) { path_.resize(outer); }
    result<void> skip_value();
    result<void> skip_number();
    result<void> skip_word(std::string_view word);
    result<std::string_view> scan_string();

    std::string_view text_;
    std::size_t at_ = 0;
    unsigned depth_ = 0;
    std::string path_ = "$";
};

/// The characters that an escaped JSON string stands for. `raw` must come from a json_reader. nullopt: a surrogate
/// without its other half.
std::optional<std::string> unescape_json(std::string_view raw);
/// `text` with quotes and escapes, as a JSON string; bytes that are no UTF-8 become '?'.
std::string quote_json(std::string_view text);
bool valid_utf8(std::string_view text);

}  // namespace warifu::etsi014
