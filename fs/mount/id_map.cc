#include "fs/mount/id_map.h"

#include <array>
#include <charconv>
#include <fmt/format.h>

namespace warifu {
namespace {

bool meet(std::uint64_t a, std::uint64_t b, std::uint64_t count_a, std::uint64_t count_b) {
    return a < b + count_b && b < a + count_a;
}

}  // namespace

result<void> id_map::add(std::string_view text) {
    std::array<std::uint32_t, 3> numbers{};
    const char* at = text.data();
    const char* const end = text.data() + text.size();
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const auto [next, problem] = std::from_chars(at, end, numbers[i]);
        const bool last = i + 1 == numbers.size();
        if (problem != std::errc() || (last ? next != end : next == end || *next != ':'))
            return fail(errc::bad_argument, fmt::format("'{}' is not STORED:LOCAL:COUNT", text));
        at = next + 1;
    }
    const range fresh{numbers[0], numbers[1], numbers[2]};
    constexpr std::uint64_t count_of_ids = 0xffffffff;  // the last number means "unchanged" to chown(2)
    if (fresh.count == 0 || std::uint64_t{fresh.stored} + fresh.count > count_of_ids ||
        std::uint64_t{fresh.local} + fresh.count > count_of_ids)
        return fail(errc::bad_argument, fmt::format("'{}' has no or too many numbers", text));
    if (ranges_.size() >= id_range_count_max) return fail(errc::bad_argument, "too many ranges of users or groups");
    for (const range& other : ranges_)
        if (meet(fresh.stored, other.stored, fresh.count, other.count) ||
            meet(fresh.local, other.local, fresh.count, other.count))
            return fail(errc::bad_argument, fmt::format("'{}' meets another range", text));
    ranges_.push_back(fresh);
    return {};
}

std::uint32_t id_map::to_local(std::uint32_t stored) const {
    if (ranges_.empty()) return stored;
    for (const range& r : ranges_)
        if (stored - r.stored < r.count) return r.local + (stored - r.stored);
    return id_unmapped;
}

std::optional<std::uint32_t> id_map::to_stored(std::uint32_t local) const {
    if (ranges_.empty()) return local;
    for (const range& r : ranges_)
        if (local - r.local < r.count) return r.stored + (local - r.local);
    return std::nullopt;
}

}  // namespace warifu
