#include "tools/exit_code.h"

namespace warifu {

int exit_code_of(const error& e) {
    switch (e.code) {
        case errc::bad_argument: return exit_usage;
        case errc::bad_format:
        case errc::bad_version: return exit_configuration;
        case errc::no_space:
        case errc::no_key: return exit_no_key_or_space;
        case errc::missing_shares:
        case errc::disputed: return exit_missing_sites;
        case errc::busy:
        case errc::exists:
        case errc::not_empty:
        case errc::conflict: return exit_busy;
        case errc::denied:
        case errc::access_denied:
        case errc::not_permitted: return exit_denied;
        case errc::unreachable: return exit_stopped;
        default: return exit_failure;
    }
}

}  // namespace warifu
