#pragma once
// Sizes, rates, times and tables as people read and write them.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"

namespace warifu {

/// "64M", "1.5GiB", "4096", "10kB": K M G T are powers of 1024 (with or without "iB"), "kB" "MB" "GB" "TB" powers of
/// 1000. bad_argument on anything else and on what does not fit.
result<std::uint64_t> parse_size(std::string_view text);
/// "10M" = 10,000,000 bits per second: K M G T are powers of 1000.
result<std::uint64_t> parse_bit_rate(std::string_view text);
/// "2,3" with 2 <= k <= n <= site_count_max.
struct scheme_argument {
    unsigned threshold = 0, site_count = 0;
};
result<scheme_argument> parse_scheme(std::string_view text);
/// "a,b,c"; bad_argument on an empty element.
result<std::vector<std::string>> parse_list(std::string_view text);

std::string size_text(std::uint64_t bytes);      // "1.2 GiB"
std::string rate_text(double bytes_per_second);  // "356.1 MB/s"
std::string duration_text(double seconds);       // "3 s", "2 min 05 s", "1 h 10 min"

/// Columns padded to their widest cell; the first row is the heading. No trailing blanks.
std::string table_text(const std::vector<std::vector<std::string>>& rows);

}  // namespace warifu
