#include "fs/files/posix_acl.h"

#include <array>
#include <gtest/gtest.h>

namespace warifu {
namespace {

struct row {
    std::uint32_t tag, permissions, id;
};

std::string encoded(const std::vector<row>& rows) {
    std::string out("\x02\0\0\0", 4);
    for (const auto& r : rows) {
        const std::array<unsigned, 8> bytes = {r.tag & 255U,        r.tag >> 8U, r.permissions & 255U,
                                               r.permissions >> 8U, r.id & 255U, r.id >> 8U & 255U,
                                               r.id >> 16U & 255U,  r.id >> 24U};
        for (const unsigned b : bytes) out += static_cast<char>(b);
    }
    return out;
}

const std::uint32_t nobody = 0xffffffff;
const std::vector<row> extended = {{1, 6, nobody}, {2, 7, 1234}, {4, 4, nobody}, {16, 5, nobody}, {32, 1, nobody}};

TEST(posix_acl, mode_and_list_say_the_same) {
    auto list = posix_acl::decode(encoded(extended));
    ASSERT_TRUE(list.has_value());
    EXPECT_EQ(list->encode(), encoded(extended));
    EXPECT_FALSE(list->is_minimal());
    EXPECT_EQ(list->mode(), 0651U);  // the group bits are the mask
    list->set_mode(0720);
    EXPECT_EQ(list->encode(),
              encoded({{1, 7, nobody}, {2, 7, 1234}, {4, 4, nobody}, {16, 2, nobody}, {32, 0, nobody}}));
    const auto minimal = posix_acl::decode(encoded({{1, 6, nobody}, {4, 4, nobody}, {32, 0, nobody}}));
    ASSERT_TRUE(minimal.has_value());
    EXPECT_TRUE(minimal->is_minimal());
    EXPECT_EQ(minimal->mode(), 0640U);
}

TEST(posix_acl, new_files_get_what_both_sides_allow) {
    auto list = posix_acl::decode(encoded(extended));
    EXPECT_EQ(list->inherit(0100666), 0100640U);
    EXPECT_EQ(list->encode(),
              encoded({{1, 6, nobody}, {2, 7, 1234}, {4, 4, nobody}, {16, 4, nobody}, {32, 0, nobody}}));
}

TEST(posix_acl, malformed_lists_are_refused) {
    const std::string good = encoded(extended);
    for (std::size_t size = 0; size < good.size(); ++size)
        EXPECT_FALSE(posix_acl::decode(good.substr(0, size)).has_value()) << size;
    EXPECT_FALSE(posix_acl::decode(encoded({})).has_value());
    EXPECT_FALSE(posix_acl::decode(encoded({{1, 8, 0}, {4, 0, 0}, {32, 0, 0}})).has_value());
    EXPECT_FALSE(posix_acl::decode(encoded({{1, 7, 0}, {4, 0, 0}, {64, 0, 0}})).has_value());
    EXPECT_FALSE(posix_acl::decode(encoded({{1, 7, 0}, {1, 7, 0}, {4, 0, 0}, {32, 0, 0}})).has_value());
    EXPECT_FALSE(posix_acl::decode(encoded({{1, 7, 0}, {2, 7, 5}, {4, 0, 0}, {32, 0, 0}})).has_value())
        << "named without a mask";
    std::string other_version = good;
    other_version[0] = 3;
    EXPECT_FALSE(posix_acl::decode(other_version).has_value());
}

}  // namespace
}  // namespace warifu
