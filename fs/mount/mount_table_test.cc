#include "fs/mount/mount_table.h"

#include <gtest/gtest.h>

namespace warifu {
namespace {

TEST(mount_table, a_line_gives_place_device_type_and_source) {
    const auto root = parse_mount_line("22 1 254:0 / / rw,relatime - ext4 /dev/vda rw");
    EXPECT_EQ(root.where, "/");
    EXPECT_EQ(root.device, "254:0");
    EXPECT_EQ(root.type, "ext4");
    EXPECT_EQ(root.source, "/dev/vda");
    const auto ours = parse_mount_line("36 35 0:98 / /mnt rw shared:7 master:1 - fuse.warifu /etc/volume.json rw");
    EXPECT_EQ(ours.where, "/mnt");
    EXPECT_EQ(ours.type, "fuse.warifu");
    EXPECT_EQ(ours.source, "/etc/volume.json");
}

TEST(mount_table, escapes_of_names_are_undone) {
    const auto entry = parse_mount_line("1 0 0:9 / /a\\040b\\134c\\9\\12 rw - fuse.warifu /x\\011y rw");
    EXPECT_EQ(entry.where, "/a b\\c\\9\\12");
    EXPECT_EQ(entry.source, "/x\ty");
}

TEST(mount_table, what_is_no_line_has_no_type) {
    EXPECT_TRUE(parse_mount_line("").type.empty());
    EXPECT_TRUE(parse_mount_line("22 1 254:0 / / rw,relatime shared:1").type.empty());
}

TEST(mount_table, the_root_of_this_process_is_there) {
    bool proc = false;
    for (const auto& entry : read_mount_table()) proc = proc || (entry.where == "/proc" && entry.type == "proc");
    EXPECT_TRUE(proc);
}

}  // namespace
}  // namespace warifu
