#include "keyd/kme_sim/faults.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <sstream>

#include "keyd/kme_sim/limits.h"

namespace warifu::kme_sim {
namespace {

constexpr std::array<std::pair<fault_kind, std::string_view>, 8> names = {{
    {fault_kind::link_down, "link_down"},
    {fault_kind::rate, "rate"},
    {fault_kind::slow, "slow"},
    {fault_kind::lost, "lost"},
    {fault_kind::wrong_keys, "wrong_keys"},
    {fault_kind::html, "html"},
    {fault_kind::expired, "expired"},
    {fault_kind::unavailable, "unavailable"},
}};

result<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc() || end != text.data() + text.size())
        return fail(errc::bad_argument, fmt::format("'{}' is no number", text));
    return value;
}

result<void> check_value(const fault& f, bool given) {
    const auto wrong = [&](std::string_view what) {
        return fail(errc::bad_argument, fmt::format("fault {}: {}", to_string(f.kind), what));
    };
    if (f.kind == fault_kind::slow && (!given || f.value > 600'000)) return wrong("value=MS from 0 to 600000");
    if (f.kind == fault_kind::rate && !given) return wrong("value=BITS per second");
    if (f.kind == fault_kind::html && (f.value < 200 || f.value > 599)) return wrong("value=STATUS from 200 to 599");
    return {};
}

bool concerns(const fault& f, fault_kind kind, std::string_view kme, std::string_view a, std::string_view b) {
    if (f.kind != kind || (!f.kme.empty() && f.kme != kme)) return false;
    if (f.link_a.empty()) return true;
    return (f.link_a == a && f.link_b == b) || (f.link_a == b && f.link_b == a);
}

}  // namespace

std::string_view to_string(fault_kind kind) {
    for (const auto& [k, name] : names)
        if (k == kind) return name;
    return "?";
}

result<fault_kind> parse_fault_kind(std::string_view text) {
    std::string known;
    for (const auto& [kind, name] : names) {
        if (name == text) return kind;
        known += fmt::format(" {}", name);
    }
    return fail(errc::bad_argument, fmt::format("no fault is named '{}'; there are:{}", text, known));
}

result<fault> parse_fault(std::string_view text) {
    std::istringstream in{std::string(text)};
    std::string word;
    in >> word;
    fault f;
    TRY(f.kind, parse_fault_kind(word));
    bool given = false;
    if (f.kind == fault_kind::html) f.value = 502;
    while (in >> word) {
        const auto equals = word.find('=');
        const std::string key = word.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
        if (key == "kme" && !value.empty()) {
            f.kme = value;
        } else if (key == "link" && value.find(',') != std::string::npos) {
            f.link_a = value.substr(0, value.find(','));
            f.link_b = value.substr(value.find(',') + 1);
        } else if (key == "value") {
            TRY(f.value, parse_number(value));
            given = true;
        } else if (key == "count") {
            TRY(f.left, parse_number(value));
        } else {
            return fail(errc::bad_argument,
                        fmt::format("'{}': expected kme=NAME, link=NAME,NAME, value=NUMBER or count=NUMBER", word));
        }
    }
    TRY_VOID(check_value(f, given));
    return f;
}

std::string to_text(const fault& f) {
    std::string text(to_string(f.kind));
    if (!f.kme.empty()) text += fmt::format(" kme={}", f.kme);
    if (!f.link_a.empty()) text += fmt::format(" link={},{}", f.link_a, f.link_b);
    const bool has_value = f.kind == fault_kind::slow || f.kind == fault_kind::rate || f.kind == fault_kind::html;
    if (has_value) text += fmt::format(" value={}", f.value);
    if (f.left != 0) text += fmt::format(" count={}", f.left);
    return text;
}

result<void> fault_list::add(fault f) {
    if (faults_.size() >= fault_count_limit) return fail(errc::busy, "too many faults; clear some");
    faults_.push_back(std::move(f));
    return {};
}

const fault* fault_list::find(fault_kind kind, std::string_view kme, std::string_view a, std::string_view b) const {
    // The latest counts.
    const auto found = std::ranges::find_if(faults_.rbegin(), faults_.rend(),
                                            [&](const fault& f) { return concerns(f, kind, kme, a, b); });
    return found == faults_.rend() ? nullptr : &*found;
}

std::optional<std::uint64_t> fault_list::happens(fault_kind kind, std::string_view kme, std::string_view a,
                                                 std::string_view b) {
    const fault* found = find(kind, kme, a, b);
    if (found == nullptr) return std::nullopt;
    const auto at = faults_.begin() + (found - faults_.data());
    const std::uint64_t value = at->value;
    if (at->left > 0 && --at->left == 0) faults_.erase(at);
    return value;
}

}  // namespace warifu::kme_sim
