// Any text given to every parser: a value or a clear error, never a crash; and what was accepted survives a round trip.

#include <cstdint>
#include <string_view>

#include "fs/base/assert.h"
#include "fs/config/config.h"

namespace {

using namespace warifu;
const std::filesystem::path file = "/somewhere/a/b/c.json";

template <typename Config>
void check(std::string_view text, result<Config> (*parse)(std::string_view, const std::filesystem::path&),
           std::string (*write)(const Config&)) {
    const auto parsed = parse(text, file);
    if (!parsed) {
        WARIFU_ASSERT(parsed.error().text.starts_with(file.string()));
        WARIFU_ASSERT(parsed.error().text.find('\n') == std::string::npos);
        return;
    }
    const auto again = parse(write(*parsed), file);
    WARIFU_ASSERT(again && *again == *parsed);
}

std::string write_site(const site_config& c) {
    return to_json_text(c, file);
}
std::string write_volume(const volume_config& c) {
    return to_json_text(c, file);
}
std::string write_access(const access_config& c) {
    return to_json_text(c);
}
std::string write_deployment(const deployment_config& c) {
    return to_json_text(c);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    check<site_config>(text, parse_site_config, write_site);
    check<volume_config>(text, parse_volume_config, write_volume);
    check<access_config>(text, parse_access_config, write_access);
    check<deployment_config>(text, parse_deployment_config, write_deployment);
    return 0;
}
