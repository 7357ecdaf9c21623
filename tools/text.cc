#include "tools/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <span>

#include "fs/base/limits.h"

namespace warifu {
namespace {

struct unit_factor {
    std::string_view unit;
    double factor;
};

constexpr double k1 = 1024, k2 = k1 * 1024, k3 = k2 * 1024, k4 = k3 * 1024;
constexpr std::array size_units = {
    unit_factor{"", 1},     unit_factor{"B", 1},    unit_factor{"K", k1},   unit_factor{"KiB", k1},
    unit_factor{"k", k1},   unit_factor{"M", k2},   unit_factor{"MiB", k2}, unit_factor{"G", k3},
    unit_factor{"GiB", k3}, unit_factor{"T", k4},   unit_factor{"TiB", k4}, unit_factor{"kB", 1e3},
    unit_factor{"KB", 1e3}, unit_factor{"MB", 1e6}, unit_factor{"GB", 1e9}, unit_factor{"TB", 1e12},
};
constexpr std::array rate_units = {
    unit_factor{"", 1},    unit_factor{"k", 1e3}, unit_factor{"K", 1e3},
    unit_factor{"M", 1e6}, unit_factor{"G", 1e9}, unit_factor{"T", 1e12},
};

result<std::uint64_t> parse_number(std::string_view text, std::span<const unit_factor> units,
                                   std::string_view example) {
    const auto wrong = [&] {
        return fail(errc::bad_argument,
                    fmt::format("'{}' is not a size; write it like {}", text.substr(0, 40), example));
    };
    double number = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (ec != std::errc() || !(number >= 0)) return wrong();
    std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    if (unit.starts_with(' ')) unit.remove_prefix(1);
    const auto found = std::ranges::find(units, unit, &unit_factor::unit);
    if (found == units.end()) return wrong();
    const double value = std::floor(number * found->factor);
    if (value > 1e18) return wrong();
    return static_cast<std::uint64_t>(value);
}

}  // namespace

result<std::uint64_t> parse_size(std::string_view text) {
    return parse_number(text, size_units, "512M or 4GiB");
}

result<std::uint64_t> parse_bit_rate(std::string_view text) {
    return parse_number(text, rate_units, "10M (bits per second)");
}

result<scheme_argument> parse_scheme(std::string_view text) {
    scheme_argument scheme;
    const auto comma = text.find(',');
    const auto number = [](std::string_view part, unsigned& out) {
        const auto [end, ec] = std::from_chars(part.data(), part.data() + part.size(), out);
        return !part.empty() && ec == std::errc() && end == part.data() + part.size();
    };
    const bool read = comma != std::string_view::npos && number(text.substr(0, comma), scheme.threshold) &&
                      number(text.substr(comma + 1), scheme.site_count);
    if (!read || scheme.threshold < 2 || scheme.site_count < scheme.threshold || scheme.site_count > site_count_max) {
        return fail(errc::bad_argument,
                    fmt::format("'{}' is not a scheme; write K,N with 2 <= K <= N <= {}, such as 2,3",
                                text.substr(0, 40), site_count_max));
    }
    return scheme;
}

result<std::vector<std::string>> parse_list(std::string_view text) {
    std::vector<std::string> parts;
    while (true) {
        const auto comma = text.find(',');
        const std::string_view part = text.substr(0, comma);
        if (part.empty()) return fail(errc::bad_argument, "a list has an empty element; write it like site2,site3");
        parts.emplace_back(part);
        if (comma == std::string_view::npos) return parts;
        text.remove_prefix(comma + 1);
    }
}

std::string size_text(std::uint64_t bytes) {
    static constexpr std::array names = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = static_cast<double>(bytes);
    std::size_t i = 0;
    while (value >= 1024 && i + 1 < names.size()) {
        value /= 1024;
        ++i;
    }
    return i == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, names[i]);
}

std::string rate_text(double bytes_per_second) {
    if (bytes_per_second >= 1e9) return fmt::format("{:.2f} GB/s", bytes_per_second / 1e9);
    if (bytes_per_second >= 1e6) return fmt::format("{:.1f} MB/s", bytes_per_second / 1e6);
    return fmt::format("{:.1f} kB/s", bytes_per_second / 1e3);
}

std::string duration_text(double seconds) {
    const auto whole = static_cast<std::uint64_t>(std::max(0.0, std::ceil(seconds)));
    if (whole < 60) return fmt::format("{} s", whole);
    if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
    return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string table_text(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string text;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
        line.erase(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

}  // namespace warifu
