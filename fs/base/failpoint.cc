#include "fs/base/failpoint.h"

#ifdef WARIFU_FAILPOINTS

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace warifu {
namespace {

struct chosen {
    std::string name;
    std::atomic<long> left = 1;

    chosen() {
        const char* const given = std::getenv("WARIFU_FAILPOINT");
        if (given == nullptr) return;
        name = given;
        const auto colon = name.find(':');
        if (colon == std::string::npos) return;
        left = std::strtol(name.c_str() + colon + 1, nullptr, 10);
        name.resize(colon);
    }
};

}  // namespace

void failpoint(std::string_view name) {
    static chosen point;
    if (point.name != name || --point.left != 0) return;
    ::kill(::getpid(), SIGKILL);
    ::pause();  // nothing after this step happens
}

}  // namespace warifu

#else

namespace warifu {

void failpoint(std::string_view /*name*/) {}

}  // namespace warifu

#endif
