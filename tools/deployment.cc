#include "tools/deployment.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/random.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

constexpr std::size_t socket_path_size_max = 107;
constexpr std::string_view longest_socket_name = "/site16.server.sock";

/// FNV-1a, 64 bits: names a directory after a path; nothing depends on its strength.
std::uint64_t path_hash(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return hash;
}

bool port_is_free(std::uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return free;
}

}  // namespace

deployment_layout::deployment_layout(const path_fs::path& root) : root_(path_fs::absolute(root).lexically_normal()) {
    if (!root_.has_filename()) root_ = root_.parent_path();
}

path_fs::path deployment_layout::socket_directory() const {
    if (run().string().size() + longest_socket_name.size() <= socket_path_size_max) return run();
    const std::string name = fmt::format("warifu-{}-{:016x}", ::getuid(), path_hash(root_.string()));
    const path_fs::path user_run = fmt::format("/run/user/{}", ::getuid());
    std::error_code ignored;
    if (path_fs::is_directory(user_run, ignored)) return user_run / name;
    return path_fs::temp_directory_path() / name;
}

result<void> make_socket_directory(const path_fs::path& directory) {
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
        return fail(errc::io_error, fmt::format("{}: {}", directory.string(), std::strerror(errno)));
    struct stat found{};
    // The temporary folder is everybody's: whoever made the directory first could serve our sockets.
    if (::lstat(directory.c_str(), &found) != 0 || !S_ISDIR(found.st_mode) || found.st_uid != ::getuid())
        return fail(errc::denied, fmt::format("{}: belongs to somebody else", directory.string()));
    return {};
}

std::vector<std::string> site_names(unsigned count) {
    std::vector<std::string> names;
    for (unsigned i = 1; i <= count; ++i) names.push_back(fmt::format("site{}", i));
    return names;
}

bool is_deployment(const path_fs::path& root) {
    std::error_code ignored;
    return path_fs::is_regular_file(deployment_layout(root).deployment_file(), ignored);
}

result<deployment> load_deployment(const path_fs::path& root) {
    deployment_layout layout(root);
    if (!is_deployment(root)) {
        return fail(errc::not_found,
                    fmt::format("{}: no deployment here (no run/deployment.json); 'warifu up {}' makes one",
                                root.string(), root.string()));
    }
    TRY(auto volume, load_volume_config(layout.volume_file()));
    TRY(const auto settings, load_deployment_config(layout.deployment_file()));
    std::vector<site_config> sites;
    for (const auto& name : volume.sites) {
        TRY(auto site, load_site_config(layout.site_file(name)));
        if (site.name != name)
            return fail(errc::bad_format,
                        fmt::format("{}: $.name: expected {}", layout.site_file(name).string(), name));
        sites.push_back(std::move(site));
    }
    return deployment{std::move(layout), std::move(volume), settings, std::move(sites)};
}

result<volume_place> find_volume(const path_fs::path& config_or_directory) {
    std::error_code ignored;
    if (!path_fs::is_directory(config_or_directory, ignored)) {
        TRY(auto volume, load_volume_config(config_or_directory));
        return volume_place{std::move(volume), std::nullopt};
    }
    TRY(auto found, load_deployment(config_or_directory));
    return volume_place{std::move(found.volume), std::move(found.layout)};
}

result<site_config> find_site(const volume_place& place, const std::string& site) {
    if (site.empty()) return load_site_config(place.volume.site);
    const bool is_name = site.find('/') == std::string::npos && valid_site_name(site);
    if (place.layout && is_name) {
        if (std::ranges::find(place.volume.sites, site) == place.volume.sites.end())
            return fail(errc::bad_argument,
                        fmt::format("no site '{}' (sites: {})", site, fmt::join(place.volume.sites, ", ")));
        return load_site_config(place.layout->site_file(site));
    }
    return load_site_config(site);
}

result<std::vector<std::uint16_t>> choose_ports(std::size_t count) {
    constexpr std::uint16_t first = 20'000, last = 32'000;
    std::vector<std::uint16_t> ports;
    for (int tries = 0; tries < 4000 && ports.size() < count; ++tries) {
        const auto port = static_cast<std::uint16_t>(first + kernel_random_u64() % (last - first));
        if (std::ranges::find(ports, port) == ports.end() && port_is_free(port)) ports.push_back(port);
    }
    if (ports.size() < count) return fail(errc::busy, "no free TCP ports on loopback between 20000 and 32000");
    return ports;
}

}  // namespace warifu
