#pragma once
// Named steps at which a test may end the process, as a power failure would: WARIFU_FAILPOINT=NAME or NAME:COUNT in its
// environment ends it by SIGKILL the COUNTth time that it comes to the step. In release builds nothing happens and
// nothing is read. tests/e2e/failpoints.sh goes through all of them.

#include <string_view>

namespace warifu {

/// The process has come to this step. Any thread.
void failpoint(std::string_view name);

}  // namespace warifu
