#pragma once
// Names of sites as keyd's files hold them: in a field of fixed size, the rest zeros.

#include <string>
#include <string_view>

#include "fs/base/codec.h"
#include "fs/base/error.h"
#include "fs/base/limits.h"

namespace warifu {

inline constexpr std::size_t site_name_field_size = 64;
static_assert(site_name_field_size == site_name_size_max + 1);

/// 1 to site_name_size_max letters, digits, '.', '_' or '-', the first a letter or digit.
bool is_site_name(std::string_view name);

void put_site_name(writer& out, std::string_view name);
/// bad_format: no end, something behind the end, or no name of a site.
result<std::string> take_site_name(reader& in);

}  // namespace warifu
