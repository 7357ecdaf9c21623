#include "fs/mount/id_map.h"

#include <gtest/gtest.h>

namespace warifu {
namespace {

TEST(id_map, is_the_identity_without_ranges) {
    const id_map map;
    EXPECT_EQ(map.to_local(7), 7U);
    EXPECT_EQ(map.to_stored(0xfffffffe), 0xfffffffeU);
}

TEST(id_map, translates_both_ways) {
    id_map map;
    ASSERT_TRUE(map.add("0:100000:10").has_value());
    ASSERT_TRUE(map.add("5000:0:1").has_value());
    const struct {
        std::uint32_t stored, local;
    } table[] = {{0, 100000}, {9, 100009}, {5000, 0}};
    for (const auto& row : table) {
        EXPECT_EQ(map.to_local(row.stored), row.local);
        EXPECT_EQ(map.to_stored(row.local), row.stored);
    }
    EXPECT_EQ(map.to_local(10), id_unmapped);
    EXPECT_EQ(map.to_local(4999), id_unmapped);
    EXPECT_EQ(map.to_stored(100010), std::nullopt);
    EXPECT_EQ(map.to_stored(1), std::nullopt);
}

TEST(id_map, refuses_what_makes_no_sense) {
    for (const char* text : {"", "1", "1:2", "1:2:", "1:2:0", "1:2:3:4", "a:1:1", "-1:1:1", "1:2:3 ", "4294967295:0:1",
                             "0:4294967290:10", "99999999999:0:1"}) {
        id_map map;
        EXPECT_EQ(map.add(text).error().code, errc::bad_argument) << text;
    }
    id_map map;
    ASSERT_TRUE(map.add("10:20:5").has_value());
    for (const char* text : {"14:100:1", "5:100:6", "100:24:1", "0:0:1000"}) EXPECT_FALSE(map.add(text)) << text;
    EXPECT_TRUE(map.add("15:25:5").has_value());
}

}  // namespace
}  // namespace warifu
