#include "tests/posix/machine.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace warifu::posix {
namespace {

std::string describe(long value) {
    return value < 0 ? error_name(static_cast<int>(-value)) : std::to_string(value);
}

bool matches(const std::string& wanted, long value) {
    if (const int error = error_number(wanted); error != 0) return value == -error;
    return value == std::strtol(wanted.c_str(), nullptr, 10);
}

}  // namespace

unsigned octal(const std::string& text) {
    return static_cast<unsigned>(std::strtoul(text.c_str(), nullptr, 8));
}

long number(const std::string& text) {
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    const std::string_view units = "KMGT";
    const auto unit = units.find(*end);
    return *end == '\0' || unit == std::string_view::npos ? value : value * (1L << (10 * (unit + 1)));
}

const std::map<std::string, machine::entry>& machine::calls() {
    static const auto table = [] {
        std::map<std::string, entry> made;
        add_name_calls(made);
        add_file_calls(made);
        add_assertions(made);
        return made;
    }();
    return table;
}

std::string machine::check(const table_line& line) {
    const auto it = calls().find(line.words.front());
    if (it == calls().end()) return fmt::format("'{}' is no call", line.words.front());
    const std::size_t count = line.words.size() - 1;
    if (count >= it->second.least && count <= it->second.most) return {};
    return fmt::format("'{}' has {} to {} arguments", line.words.front(), it->second.least, it->second.most);
}

std::string machine::run(const table_line& line) {
    if (auto wrong = check(line); !wrong.empty()) return wrong;
    const auto& called = calls().at(line.words.front());
    const outcome out = (this->*called.function)(arguments(line.words).subspan(1));
    if (!out.wrong.empty()) return out.wrong;
    if (line.expected.empty())
        return out.value >= 0 ? std::string() : fmt::format("{}, not success", describe(out.value));
    const bool right =
        std::ranges::any_of(line.expected, [&](const auto& wanted) { return matches(wanted, out.value); });
    return right ? std::string() : fmt::format("{}, not {}", describe(out.value), fmt::join(line.expected, " or "));
}

}  // namespace warifu::posix
