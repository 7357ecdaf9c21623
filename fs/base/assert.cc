#include "fs/base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace warifu {

void assert_failed(const char* condition, const char* file, int line) noexcept {
    std::fprintf(stderr, "warifu: broken invariant: %s (%s:%d)\n", condition, file, line);
    std::abort();
}

}  // namespace warifu
