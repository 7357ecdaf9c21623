#include "tools/key_network.h"

#include <charconv>
#include <fmt/format.h>

#include "fs/config/json_node.h"
#include "keyd/kme_sim/certificates.h"
#include "keyd/link/control_store.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

constexpr std::uint64_t pending_size_max = 64ULL << 20U;  // of keys that wait at one KME

std::string kme_url(std::uint16_t port) {
    return fmt::format("https://127.0.0.1:{}", port);
}

/// The port that plan_key_network chose for a site's KME.
std::uint16_t kme_port(const site_config& site) {
    const std::string& url = site.links.front().kme->urls.front();
    std::uint16_t port = 0;
    std::from_chars(url.data() + url.rfind(':') + 1, url.data() + url.size(), port);
    return port;
}

result<void> enrol(const deployment_layout& layout, const site_config& site, const site_config& other) {
    TRY(const auto files, write_enrolments(layout.key_network().string(), site.name, other.name));
    TRY_VOID(accept_enrolment((site.keyd.pads / "links").string(), site.name, {other.name}, files.at(0)));
    TRY_VOID(accept_enrolment((other.keyd.pads / "links").string(), other.name, {site.name}, files.at(1)));
    return {};
}

}  // namespace

result<void> plan_key_network(const deployment_layout& layout, std::vector<site_config>& sites, std::uint64_t stock) {
    TRY(const auto ports, choose_ports(2 * sites.size()));
    const path_fs::path directory = layout.key_network();
    for (std::size_t i = 0; i < sites.size(); ++i) {
        site_config& site = sites[i];
        site.keyd.listen = endpoint{"127.0.0.1", ports[i]};
        site.keyd.stock = stock;
        for (auto& link : site.links) {
            const auto peer = std::ranges::find(sites, link.peer, &site_config::name);
            link.control = endpoint{"127.0.0.1", ports[static_cast<std::size_t>(peer - sites.begin())]};
            kme_config kme;
            kme.urls = {kme_url(ports[sites.size() + i])};
            kme.ca = directory / "ca.pem";
            kme.certificate = directory / fmt::format("sae-{}.pem", site.name);
            kme.key = directory / fmt::format("sae-{}.key", site.name);
            kme.own_sae = site.name;
            kme.peer_sae = link.peer;
            link.kme = std::move(kme);
        }
    }
    return {};
}

result<void> make_key_network(const deployment_layout& layout, const std::vector<site_config>& sites,
                              std::uint64_t link_rate) {
    const path_fs::path directory = layout.key_network();
    kme_sim::certificates_wanted wanted;
    for (const auto& site : sites) {
        wanted.saes.push_back(site.name);
        wanted.kmes.push_back("kme-" + site.name);
    }
    TRY_VOID(kme_sim::make_certificates(directory, wanted));
    auto network = kme_sim::network_of(directory, wanted.saes, 2 * link_rate);  // a link's rate serves both directions
    network.limits.pending_size_max = pending_size_max;
    network.admin = layout.socket_directory() / "kme-sim.sock";
    for (std::size_t i = 0; i < sites.size(); ++i) network.kmes[i].listen.port = kme_port(sites[i]);
    const path_fs::path file = directory / "kme-sim.json";
    TRY_VOID(write_text_file(file, kme_sim::to_json_text(network, file)));
    for (std::size_t i = 0; i < sites.size(); ++i)
        for (std::size_t j = i + 1; j < sites.size(); ++j) TRY_VOID(enrol(layout, sites[i], sites[j]));
    return {};
}

}  // namespace warifu
