#include "fs/mount/errno.h"

#include <cerrno>

namespace warifu {

int to_errno(const error& why, bool reading) {
    switch (why.code) {
        case errc::bad_argument: return EINVAL;
        case errc::bad_format: return EIO;
        case errc::bad_version: return EIO;
        case errc::bad_checksum: return EIO;
        case errc::bad_tag: return EIO;
        case errc::not_found: return ENOENT;
        case errc::exists: return EEXIST;
        case errc::conflict: return EIO;
        case errc::stale_epoch: return EROFS;  // another machine writes now; here the volume is read-only for good
        case errc::denied: return EACCES;
        case errc::no_space: return ENOSPC;
        case errc::no_key: return reading ? ETIMEDOUT : ENOSPC;
        case errc::timed_out: return ETIMEDOUT;
        case errc::unreachable: return EIO;
        case errc::busy: return EBUSY;
        case errc::read_only: return EROFS;
        case errc::too_large: return E2BIG;
        case errc::io_error: return EIO;
        case errc::unsupported: return EOPNOTSUPP;
        case errc::cancelled: return EINTR;
        case errc::missing_shares: return EIO;
        case errc::disputed: return EROFS;
        case errc::not_empty: return ENOTEMPTY;
        case errc::is_directory: return EISDIR;
        case errc::not_directory: return ENOTDIR;
        case errc::name_too_long: return ENAMETOOLONG;
        case errc::no_attribute: return ENODATA;
        case errc::not_permitted: return EPERM;
        case errc::access_denied: return EACCES;
        case errc::too_many_links: return EMLINK;
        case errc::symlink_loop: return ELOOP;
        case errc::range: return ERANGE;
        case errc::file_too_big: return EFBIG;
        case errc::stale_handle: return ESTALE;
        case errc::no_such_address: return ENXIO;
    }
    return EIO;
}

}  // namespace warifu
