#include "keyd/pool/site_name.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace warifu {

bool is_site_name(std::string_view name) {
    const auto is_alnum = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    if (name.empty() || name.size() > site_name_size_max || !is_alnum(name.front())) return false;
    return std::ranges::all_of(name, [&](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-'; });
}

void put_site_name(writer& out, std::string_view name) {
    std::array<std::byte, site_name_field_size> field{};
    std::memcpy(field.data(), name.data(), std::min(name.size(), site_name_size_max));
    out.put_bytes(field);
}

result<std::string> take_site_name(reader& in) {
    TRY(const auto field, in.take_bytes(site_name_field_size));
    const auto text = as_text(field);
    const auto size = text.find('\0');
    if (size == std::string_view::npos || text.find_first_not_of('\0', size) != std::string_view::npos)
        return fail(errc::bad_format, "a site name is not terminated");
    if (!is_site_name(text.substr(0, size))) return fail(errc::bad_format, "a site name is malformed");
    return std::string(text.substr(0, size));
}

}  // namespace warifu
