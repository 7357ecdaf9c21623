#include "fs/mount/errno.h"

#include <cerrno>

namespace warifu {

// clang-format off: one code a line
int to_errno(const error& why, bool reading) {
    switch (why.code) {
        case errc::bad_argument: return EINVAL;
        case errc::not_found: return ENOENT;
        case errc::exists: return EEXIST;
        case errc::no_space: return ENOSPC;
        case errc::no_key: return reading ? ETIMEDOUT : ENOSPC;
        case errc::timed_out: return ETIMEDOUT;
        case errc::busy: return EBUSY;
        case errc::too_large: return E2BIG;
        case errc::unsupported: return EOPNOTSUPP;
        case errc::cancelled: return EINTR;
        case errc::not_empty: return ENOTEMPTY;
        case errc::is_directory: return EISDIR;
        case errc::not_directory: return ENOTDIR;
        case errc::name_too_long: return ENAMETOOLONG;
        case errc::no_attribute: return ENODATA;
        case errc::not_permitted: return EPERM;
        case errc::too_many_links: return EMLINK;
        case errc::symlink_loop: return ELOOP;
        case errc::range: return ERANGE;
        case errc::file_too_big: return EFBIG;
        case errc::stale_handle: return ESTALE;
        case errc::no_such_address: return ENXIO;
        case errc::denied:
        case errc::access_denied: return EACCES;
        // Another machine writes now, or nobody may: here the volume is read-only until it is opened again.
        case errc::stale_epoch:
        case errc::disputed:
        case errc::read_only: return EROFS;
        // Bytes that cannot be had or must not be believed.
        case errc::bad_format:
        case errc::bad_version:
        case errc::bad_checksum:
        case errc::bad_tag:
        case errc::conflict:
        case errc::unreachable:
        case errc::io_error:
        case errc::missing_shares: return EIO;
    }
    return EIO;
}
// clang-format on

}  // namespace warifu
