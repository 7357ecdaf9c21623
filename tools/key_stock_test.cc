#include "tools/key_stock.h"

#include <gtest/gtest.h>

#include "tools/mount_options.h"

namespace warifu {
namespace {

constexpr std::uint64_t mib = 1U << 20U;

std::uint64_t with_overhead(std::uint64_t bytes) {
    return static_cast<std::uint64_t>(static_cast<double>(bytes) / pad_per_share_byte);
}

TEST(key_stock, one_remote_share_may_come_from_either_link) {
    // 2 of 3 with the local share: every byte needs one of the two links.
    EXPECT_EQ(restorable_bytes(2, true, {100 * mib, 30 * mib}), with_overhead(130 * mib));
    // 3 of 4 with the local share: two of three links for each byte.
    EXPECT_EQ(restorable_bytes(3, true, {100 * mib, 40 * mib, 60 * mib}), with_overhead(100 * mib));
    EXPECT_EQ(restorable_bytes(2, true, {0, 0}), 0U);
    EXPECT_EQ(restorable_bytes(2, true, {}), 0U);
}

TEST(key_stock, without_the_local_share_both_links_are_needed) {
    EXPECT_EQ(restorable_bytes(2, false, {100 * mib, 40 * mib}), with_overhead(40 * mib));
    EXPECT_EQ(restorable_bytes(2, false, {100 * mib}), 0U);
}

TEST(key_stock, writing_needs_every_remote_member) {
    EXPECT_EQ(writable_bytes(1000 * mib, {100 * mib, 40 * mib}), with_overhead(40 * mib));
    EXPECT_EQ(writable_bytes(10 * mib, {100 * mib, 40 * mib}), 10 * mib);
    EXPECT_EQ(writable_bytes(10 * mib, {}), 10 * mib);
}

TEST(mount_options, words_of_fstab_and_ours) {
    const auto options =
        parse_mount_options({"ro,noatime,_netdev,x-systemd.automount", "takeover,,sync_close,defaults"});
    ASSERT_TRUE(options);
    EXPECT_TRUE(options->read_only);
    EXPECT_TRUE(options->takeover);
    EXPECT_TRUE(options->sync_close);
    EXPECT_FALSE(options->allow_other);
    EXPECT_EQ(options->pass_on, std::vector<std::string>{"noatime"});
    const auto unknown = parse_mount_options({"ro,takeoever"});
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().text, "unknown mount option 'takeoever'");
}

}  // namespace
}  // namespace warifu
