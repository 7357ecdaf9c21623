#include "fs/mount/errno.h"

#include <cerrno>
#include <gtest/gtest.h>
#include <map>

namespace warifu {
namespace {

TEST(to_errno, every_code_has_its_errno) {
    const std::map<errc, int> table = {
        {errc::bad_argument, EINVAL},
        {errc::bad_format, EIO},
        {errc::bad_version, EIO},
        {errc::bad_checksum, EIO},
        {errc::bad_tag, EIO},
        {errc::not_found, ENOENT},
        {errc::exists, EEXIST},
        {errc::conflict, EIO},
        {errc::stale_epoch, EROFS},
        {errc::denied, EACCES},
        {errc::no_space, ENOSPC},
        {errc::no_key, ENOSPC},
        {errc::timed_out, ETIMEDOUT},
        {errc::unreachable, EIO},
        {errc::busy, EBUSY},
        {errc::read_only, EROFS},
        {errc::too_large, E2BIG},
        {errc::io_error, EIO},
        {errc::unsupported, EOPNOTSUPP},
        {errc::cancelled, EINTR},
        {errc::missing_shares, EIO},
        {errc::disputed, EROFS},
        {errc::not_empty, ENOTEMPTY},
        {errc::is_directory, EISDIR},
        {errc::not_directory, ENOTDIR},
        {errc::name_too_long, ENAMETOOLONG},
        {errc::no_attribute, ENODATA},
        {errc::not_permitted, EPERM},
        {errc::access_denied, EACCES},
        {errc::too_many_links, EMLINK},
        {errc::symlink_loop, ELOOP},
        {errc::range, ERANGE},
        {errc::file_too_big, EFBIG},
        {errc::stale_handle, ESTALE},
        {errc::no_such_address, ENXIO},
    };
    for (const auto& [code, expected] : table) EXPECT_EQ(to_errno(error(code)), expected) << to_string(code);
    // A code that is added later must be added to the table.
    const auto last = static_cast<std::uint16_t>(errc::no_such_address);
    EXPECT_EQ(table.size(), last);
    EXPECT_EQ(to_string(static_cast<errc>(last + 1)), to_string(static_cast<errc>(0))) << "errc has grown";
    EXPECT_EQ(to_errno(error(errc::no_key), true), ETIMEDOUT);
}

}  // namespace
}  // namespace warifu
