#include "keyd/kme_sim/simulation.h"

#include "keyd/kme_sim/link_socket.h"

namespace warifu::kme_sim {

struct simulation::impl {
    impl(asio::io_context& core, network_config config)
        : network(std::make_shared<kme_network>(core.get_executor(), std::move(config))) {}
    std::shared_ptr<kme_network> network;
    std::map<std::string, std::unique_ptr<kme_server>> servers;
    std::vector<std::unique_ptr<link_socket>> links;
};

result<std::unique_ptr<simulation>> simulation::start(asio::io_context& core, network_config config) {
    auto all = std::make_shared<impl>(core, std::move(config));
    const auto& settings = all->network->config();
    for (const auto& kme : settings.kmes) {
        if (kme.remote) continue;
        TRY(all->servers[kme.name], kme_server::start(core, all->network, kme));
    }
    for (const auto& link : settings.links) {
        if (!link.listen && !link.connect) continue;
        TRY(auto socket, link_socket::start(core, all->network, link));
        all->links.push_back(std::move(socket));
    }
    return std::unique_ptr<simulation>(new simulation(std::move(all)));
}

simulation::~simulation() = default;

kme_network& simulation::network() {
    return *all_->network;
}

std::string simulation::url_of(const std::string& kme) const {
    const auto found = all_->servers.find(kme);
    return found == all_->servers.end() ? "" : found->second->url();
}

nlohmann::ordered_json simulation::places() const {
    auto kmes = nlohmann::ordered_json::array();
    for (const auto& kme : all_->network->config().kmes)
        if (!kme.remote) kmes.push_back({{"name", kme.name}, {"url", url_of(kme.name)}, {"saes", kme.saes}});
    nlohmann::ordered_json out;
    out["kmes"] = std::move(kmes);
    return out;
}

}  // namespace warifu::kme_sim
