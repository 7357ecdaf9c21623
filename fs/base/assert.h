#pragma once
// Broken invariants abort, in release too. The line names the place and the condition, never a value.

namespace warifu {

[[noreturn]] void assert_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace warifu

#define WARIFU_ASSERT(condition)                                                \
    do {                                                                        \
        if (!(condition)) [[unlikely]]                                          \
            ::warifu::assert_failed(#condition, __FILE__, __LINE__);            \
    } while (false)
