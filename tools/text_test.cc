#include "tools/text.h"

#include <gtest/gtest.h>

#include "tools/exit_code.h"
#include "tools/progress.h"

namespace warifu {
namespace {

TEST(text, sizes_are_read) {
    EXPECT_EQ(*parse_size("4096"), 4096U);
    EXPECT_EQ(*parse_size("64M"), 64U << 20U);
    EXPECT_EQ(*parse_size("64MiB"), 64U << 20U);
    EXPECT_EQ(*parse_size("1.5G"), 3ULL << 29U);
    EXPECT_EQ(*parse_size("2 TiB"), 2ULL << 40U);
    EXPECT_EQ(*parse_size("10kB"), 10'000U);
    EXPECT_EQ(*parse_size("0"), 0U);
    for (const std::string bad : {"", "G", "-1", "1x", "1e99", "1 2", "nan", "inf", "99999999T", "0x10", " 1"})
        EXPECT_FALSE(parse_size(bad)) << bad;
}

TEST(text, bit_rates_are_decimal) {
    EXPECT_EQ(*parse_bit_rate("10M"), 10'000'000U);
    EXPECT_EQ(*parse_bit_rate("0"), 0U);
    EXPECT_FALSE(parse_bit_rate("10MiB"));
}

TEST(text, schemes_are_read) {
    EXPECT_EQ(parse_scheme("2,3")->threshold, 2U);
    EXPECT_EQ(parse_scheme("3,16")->site_count, 16U);
    for (const std::string bad : {"", "2", "2,", ",3", "1,3", "4,3", "2,17", "2,3,4", "2 3", "-2,3", "a,b"})
        EXPECT_FALSE(parse_scheme(bad)) << bad;
}

TEST(text, lists_are_read) {
    EXPECT_EQ(*parse_list("site2,site3"), (std::vector<std::string>{"site2", "site3"}));
    EXPECT_FALSE(parse_list(""));
    EXPECT_FALSE(parse_list("a,,b"));
    EXPECT_FALSE(parse_list("a,"));
}

TEST(text, values_are_written) {
    EXPECT_EQ(size_text(0), "0 B");
    EXPECT_EQ(size_text(1023), "1023 B");
    EXPECT_EQ(size_text(3ULL << 29U), "1.5 GiB");
    EXPECT_EQ(rate_text(356.1e6), "356.1 MB/s");
    EXPECT_EQ(rate_text(1.25e9), "1.25 GB/s");
    EXPECT_EQ(duration_text(0.2), "1 s");
    EXPECT_EQ(duration_text(125), "2 min 05 s");
    EXPECT_EQ(duration_text(4200), "1 h 10 min");
    EXPECT_EQ(table_text({{"a", "bb"}, {"ccc", ""}}), "a    bb\nccc\n");
}

TEST(text, progress_line_has_rate_and_time_left) {
    EXPECT_EQ(progress::line("restore", 512U << 20U, 1U << 30U, 4, ""),
              "restore [############............]  50 %  512.0 MiB of 1.0 GiB  134.2 MB/s  4 s left");
    EXPECT_EQ(progress::line("drain", 0, 0, 0, "x"), "drain 0 B  0.0 kB/s  x");
}

TEST(exit_codes, are_what_the_documents_say) {
    EXPECT_EQ(exit_code_of(error(errc::bad_argument)), 2);
    EXPECT_EQ(exit_code_of(error(errc::bad_format)), 3);
    EXPECT_EQ(exit_code_of(error(errc::no_key)), 5);
    EXPECT_EQ(exit_code_of(error(errc::missing_shares)), 6);
    EXPECT_EQ(exit_code_of(error(errc::busy)), 7);
    EXPECT_EQ(exit_code_of(error(errc::denied)), 8);
    EXPECT_EQ(exit_code_of(error(errc::unreachable)), 9);
    EXPECT_EQ(exit_code_of(error(errc::io_error)), 1);
}

}  // namespace
}  // namespace warifu
