#include "fs/base/error.h"

namespace warifu {

std::string_view to_string(errc code) {
    switch (code) {
        case errc::bad_argument: return "bad_argument";
        case errc::bad_format: return "bad_format";
        case errc::bad_version: return "bad_version";
        case errc::bad_checksum: return "bad_checksum";
        case errc::bad_tag: return "bad_tag";
        case errc::not_found: return "not_found";
        case errc::exists: return "exists";
        case errc::conflict: return "conflict";
        case errc::stale_epoch: return "stale_epoch";
        case errc::denied: return "denied";
        case errc::no_space: return "no_space";
        case errc::no_key: return "no_key";
        case errc::timed_out: return "timed_out";
        case errc::unreachable: return "unreachable";
        case errc::busy: return "busy";
        case errc::read_only: return "read_only";
        case errc::too_large: return "too_large";
        case errc::io_error: return "io_error";
        case errc::unsupported: return "unsupported";
        case errc::cancelled: return "cancelled";
        case errc::missing_shares: return "missing_shares";
        case errc::disputed: return "disputed";
        case errc::not_empty: return "not_empty";
        case errc::is_directory: return "is_directory";
        case errc::not_directory: return "not_directory";
        case errc::name_too_long: return "name_too_long";
        case errc::no_attribute: return "no_attribute";
        case errc::not_permitted: return "not_permitted";
        case errc::access_denied: return "access_denied";
        case errc::too_many_links: return "too_many_links";
        case errc::symlink_loop: return "symlink_loop";
        case errc::range: return "range";
        case errc::file_too_big: return "file_too_big";
        case errc::stale_handle: return "stale_handle";
        case errc::no_such_address: return "no_such_address";
    }
    return "unknown";
}

std::string error::message() const {
    std::string line(to_string(code));
    if (!text.empty()) line.append(": ").append(text);
    return line;
}

}  // namespace warifu
