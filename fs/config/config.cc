#include "fs/config/config.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <set>

#include "fs/base/limits.h"
#include "fs/config/json_node.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

constexpr std::uint64_t version_current = 1;

path_fs::path directory_of(const path_fs::path& file) {
    return file.has_parent_path() ? file.parent_path() : path_fs::path(".");
}

result<void> check_version(const json_node& node) {
    TRY(const auto version_node, node.member("version"));
    TRY(const auto version, version_node.number(0, 0xffffffffU));
    if (version != version_current)
        return fail(errc::bad_version,
                    version_node.complaint(fmt::format("this program reads version {}", version_current)).text);
    return {};
}

result<path_fs::path> take_path(const json_node& node, std::string_view key, const path_fs::path& file) {
    TRY(const auto text, node.text_member(key, config_text_size_max));
    return (directory_of(file) / text).lexically_normal();
}

result<std::string> take_site_name(const json_node& node) {
    TRY(auto name, node.text(config_text_size_max));
    if (!valid_site_name(name))
        return fail(
            node.complaint("expected a site name: 1 to 63 of a-z, 0-9, '.', '_', '-', a letter or digit first"));
    return name;
}

result<std::string> take_site_name(const json_node& node, std::string_view key) {
    TRY(const auto child, node.member(key));
    return take_site_name(child);
}

result<endpoint> take_endpoint(const json_node& node, std::string_view key) {
    TRY(const auto child, node.member(key));
    TRY(const auto text, child.text(config_text_size_max));
    auto parsed = parse_endpoint(text);
    if (!parsed) return fail(child.complaint(parsed.error().text));
    return parsed;
}

result<volume_id> take_volume_id(const json_node& node, std::string_view key) {
    TRY(const auto child, node.member(key));
    TRY(const auto text, child.text(config_text_size_max));
    const auto bytes = uuid_from_text(text);
    if (!bytes) return fail(child.complaint(bytes.error().text));
    if (volume_id{*bytes}.is_zero()) return fail(child.complaint("a volume id is not zero"));
    return volume_id{*bytes};
}

/// Below the document's directory: relative to it. A sibling of one of its two parents likewise ("../../run/x.sock",
/// the shape of a local deployment). Everything else stays absolute.
std::string written_path(const path_fs::path& path, const path_fs::path& file) {
    const path_fs::path base = path_fs::absolute(directory_of(file)).lexically_normal();
    const path_fs::path whole = path_fs::absolute(path).lexically_normal();
    const path_fs::path relative = whole.lexically_relative(base);
    if (relative.empty()) return whole.string();
    const auto ups = std::ranges::count(relative, path_fs::path(".."));
    return ups <= 2 ? relative.string() : whole.string();
}

result<random_source_config> take_random_source(const json_node& node, const path_fs::path& file) {
    TRY_VOID(node.only_keys({"device", "claim", "entropy_bits", "target"}));
    random_source_config random;
    TRY(random.device, take_path(node, "device", file));
    TRY(const auto claim_node, node.member("claim"));
    TRY(const auto word, claim_node.text(config_text_size_max));
    for (const claim one : {claim::computational, claim::simulated, claim::information_theoretic})
        if (word == to_string(one)) random.strength = one;
    if (word != to_string(random.strength))
        return fail(claim_node.complaint("expected computational, simulated or information-theoretic"));
    if (node.has("entropy_bits")) {
        TRY(const auto bits, node.number_member("entropy_bits", 1, 8));
        random.entropy_bits = static_cast<unsigned>(bits);
    }
    if (random.strength == claim::information_theoretic && random.entropy_bits != 8)
        return fail(claim_node.complaint("information-theoretic needs a source with 8 bits of entropy per byte"));
    if (node.has("target")) {
        TRY(random.target, node.number_member("target", 1U << 20U, 1ULL << 40U));
    }
    return random;
}

/// What a site may leave out about its keyd; the rest is for take_keyd.
result<keyd_config> take_keyd_extras(const json_node& node, const path_fs::path& file) {
    keyd_config keyd;
    if (node.has("group")) {
        TRY(keyd.group, node.text_member("group", 64));
    }
    if (node.has("metrics")) {
        TRY(const auto where, take_endpoint(node, "metrics"));
        keyd.metrics = to_text(where);
    }
    if (node.has("random")) {
        TRY(const auto random, node.member("random"));
        TRY(keyd.random, take_random_source(random, file));
    }
    if (node.has("listen")) {
        TRY(keyd.listen, take_endpoint(node, "listen"));
    }
    if (node.has("stock")) {
        TRY(keyd.stock, node.number_member("stock", 1ULL << 18U, 1ULL << 46U));
    }
    return keyd;
}

result<keyd_config> take_keyd(const json_node& node, const path_fs::path& file) {
    TRY_VOID(node.only_keys({"group", "listen", "metrics", "pads", "random", "reserve", "socket", "stock"}));
    TRY(keyd_config keyd, take_keyd_extras(node, file));
    TRY(keyd.socket, take_path(node, "socket", file));
    TRY(keyd.pads, take_path(node, "pads", file));
    TRY(keyd.reserve, node.number_member("reserve", 0, 1ULL << 40U));
    return keyd;
}

result<server_config> take_server(const json_node& node, const path_fs::path& file) {
    TRY_VOID(node.only_keys({"listen", "socket", "store", "store_size", "access"}));
    server_config server;
    TRY(server.listen, take_endpoint(node, "listen"));
    TRY(server.socket, take_path(node, "socket", file));
    TRY(server.store, take_path(node, "store", file));
    TRY(server.store_size, node.number_member("store_size", store_size_min, store_size_max));
    TRY(server.access, take_path(node, "access", file));
    return server;
}

result<claim> take_kme_claim(const json_node& node) {
    TRY(const auto child, node.member("claim"));
    TRY(const auto word, child.text(config_text_size_max));
    for (const claim one : {claim::simulated, claim::information_theoretic})
        if (word == to_string(one)) return one;
    return fail(child.complaint("expected simulated or information-theoretic"));
}

result<kme_config> take_kme(const json_node& node, const path_fs::path& file) {
    TRY_VOID(node.only_keys({"urls", "ca", "certificate", "key", "own_sae", "peer_sae", "claim", "key_size"}));
    kme_config kme;
    TRY(const auto list, node.member("urls"));
    TRY(const auto urls, list.elements(kme_url_count_max));
    if (urls.empty()) return fail(list.complaint("at least one URL is needed"));
    for (const auto& element : urls) {
        TRY(auto url, element.text(config_text_size_max));
        if (!url.starts_with("https://") || url.size() == std::string_view("https://").size())
            return fail(element.complaint("expected https://HOST[:PORT][/PREFIX]"));
        kme.urls.push_back(std::move(url));
    }
    TRY(kme.ca, take_path(node, "ca", file));
    TRY(kme.certificate, take_path(node, "certificate", file));
    TRY(kme.key, take_path(node, "key", file));
    TRY(kme.own_sae, node.text_member("own_sae", 255));
    TRY(kme.peer_sae, node.text_member("peer_sae", 255));
    if (kme.own_sae == kme.peer_sae) return fail(node.complaint("own_sae and peer_sae are the same"));
    TRY(kme.strength, take_kme_claim(node));
    if (node.has("key_size")) {
        TRY(kme.key_size, node.number_member("key_size", 0, kme_key_size_max));
    }
    return kme;
}

/// A link with a KME needs a way between the keyds: the site whose name sorts first calls the other.
result<void> check_control(const json_node& root, const site_config& config) {
    for (const auto& link : config.links) {
        if (!link.kme) continue;
        if (config.name < link.peer && !link.control)
            return fail(root.complaint(fmt::format("the link to {} has a KME: it needs links[].control", link.peer)));
        if (link.peer < config.name && !config.keyd.listen)
            return fail(root.complaint(fmt::format("the link to {} has a KME: keyd.listen is needed", link.peer)));
    }
    return {};
}

result<std::vector<link_config>> take_links(const json_node& node, const std::string& own_name,
                                            const path_fs::path& file) {
    TRY(const auto elements, node.elements(site_count_max - 1));
    std::vector<link_config> links;
    for (const auto& element : elements) {
        TRY_VOID(element.only_keys({"peer", "address", "control", "kme"}));
        link_config link;
        TRY(const auto peer, element.member("peer"));
        TRY(link.peer, take_site_name(peer));
        if (link.peer == own_name) return fail(peer.complaint("a site has no link to itself"));
        if (std::ranges::find(links, link.peer, &link_config::peer) != links.end())
            return fail(peer.complaint("this peer stands twice"));
        TRY(link.address, take_endpoint(element, "address"));
        if (element.has("control")) {
            TRY(link.control, take_endpoint(element, "control"));
        }
        if (element.has("kme")) {
            TRY(const auto kme, element.member("kme"));
            TRY(link.kme, take_kme(kme, file));
        }
        links.push_back(std::move(link));
    }
    return links;
}

result<std::vector<std::string>> take_volume_sites(const json_node& node) {
    TRY(const auto list, node.member("sites"));
    TRY(const auto elements, list.elements(site_count_max));
    if (elements.size() < 2) return fail(list.complaint("a volume has at least 2 sites"));
    std::vector<std::string> sites;
    for (const auto& element : elements) {
        TRY(auto name, take_site_name(element));
        if (std::ranges::find(sites, name) != sites.end()) return fail(element.complaint("this site stands twice"));
        sites.push_back(std::move(name));
    }
    return sites;
}

/// Reads a file and parses it: what every load does.
template <typename Config>
result<Config> load(const path_fs::path& file, result<Config> (*parse)(std::string_view, const path_fs::path&)) {
    TRY(const auto text, read_text_file(file));
    return parse(text, file);
}

std::string dump(const ordered_json& document) {
    return document.dump(4) + "\n";
}

}  // namespace

result<endpoint> parse_endpoint(std::string_view text) {
    const auto wanted = fail(errc::bad_format, "expected HOST:PORT, such as 127.0.0.1:7101 or [::1]:7101");
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) return wanted;
    std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    if (host.front() == '[') {
        if (host.size() < 3 || host.back() != ']') return wanted;
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != std::string_view::npos) {
        return wanted;
    }
    const bool host_ok = host.size() <= 255 && std::ranges::all_of(host, [](char c) {
                             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                                    c == '.' || c == '-' || c == ':' || c == '%' || c == '_';
                         });
    unsigned port = 0;
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (!host_ok || ec != std::errc() || end != digits.data() + digits.size() || port == 0 || port > 65535)
        return wanted;
    return endpoint{std::string(host), static_cast<std::uint16_t>(port)};
}

std::string to_text(const endpoint& e) {
    const bool brackets = e.host.find(':') != std::string::npos;
    return brackets ? fmt::format("[{}]:{}", e.host, e.port) : fmt::format("{}:{}", e.host, e.port);
}

bool valid_site_name(std::string_view text) {
    const auto word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    return !text.empty() && text.size() <= site_name_size_max && word(text.front()) &&
           std::ranges::all_of(text, [&](char c) { return word(c) || c == '.' || c == '_' || c == '-'; });
}

std::string_view to_string(grant g) {
    switch (g) {
        case grant::none:
            return "none";
        case grant::read:
            return "read";
        case grant::write:
            return "write";
    }
    return "none";
}

result<grant> parse_grant(std::string_view text) {
    for (const grant g : {grant::none, grant::read, grant::write})
        if (text == to_string(g)) return g;
    return fail(errc::bad_format, "expected none, read or write");
}

const link_config* site_config::link_to(std::string_view peer) const {
    const auto found = std::ranges::find(links, peer, &link_config::peer);
    return found == links.end() ? nullptr : &*found;
}

grant access_config::of(const volume_id& volume, std::string_view site) const {
    for (const auto& entry : entries)
        if (entry.volume == volume && entry.site == site) return entry.allowed;
    return grant::none;
}

void access_config::set(const volume_id& volume, std::string_view site, grant allowed) {
    std::erase_if(entries, [&](const access_entry& e) { return e.volume == volume && e.site == site; });
    if (allowed != grant::none) entries.push_back(access_entry{volume, std::string(site), allowed});
}

result<site_config> parse_site_config(std::string_view text, const path_fs::path& file) {
    TRY(const auto document, parse_json(text, file.string()));
    const json_node root(document, file.string());
    TRY_VOID(root.only_keys({"version", "name", "keyd", "server", "links"}));
    TRY_VOID(check_version(root));
    site_config config;
    TRY(config.name, take_site_name(root, "name"));
    TRY(const auto keyd, root.member("keyd"));
    TRY(config.keyd, take_keyd(keyd, file));
    TRY(const auto server, root.member("server"));
    TRY(config.server, take_server(server, file));
    TRY(const auto links, root.member("links"));
    TRY(config.links, take_links(links, config.name, file));
    TRY_VOID(check_control(root, config));
    return config;
}

result<volume_config> parse_volume_config(std::string_view text, const path_fs::path& file) {
    TRY(const auto document, parse_json(text, file.string()));
    const json_node root(document, file.string());
    TRY_VOID(root.only_keys({"version", "volume", "name", "k", "n", "sites", "site", "run", "randomness"}));
    TRY_VOID(check_version(root));
    volume_config config;
    TRY(config.id, take_volume_id(root, "volume"));
    TRY(config.name, root.text_member("name", 255));
    TRY(config.sites, take_volume_sites(root));
    TRY(const auto n_node, root.member("n"));
    TRY(const auto n, n_node.number(2, site_count_max));
    if (n != config.sites.size())
        return fail(n_node.complaint(fmt::format("{} sites are listed in $.sites", config.sites.size())));
    TRY(const auto k, root.number_member("k", 2, n));
    config.threshold = static_cast<unsigned>(k);
    TRY(config.site, take_path(root, "site", file));
    TRY(config.run, take_path(root, "run", file));
    TRY(const auto randomness, root.member("randomness"));
    TRY(config.randomness, randomness.text(config_text_size_max));
    if (config.randomness != "drbg" && config.randomness != "pool")
        return fail(randomness.complaint("expected drbg or pool"));
    return config;
}

result<access_config> parse_access_config(std::string_view text, const path_fs::path& file) {
    TRY(const auto document, parse_json(text, file.string()));
    const json_node root(document, file.string());
    TRY_VOID(root.only_keys({"version", "grants"}));
    TRY_VOID(check_version(root));
    TRY(const auto list, root.member("grants"));
    TRY(const auto elements, list.elements(access_entry_count_max));
    access_config config;
    std::set<std::pair<volume_id, std::string>> seen;
    for (const auto& element : elements) {
        TRY_VOID(element.only_keys({"volume", "site", "grant"}));
        access_entry entry;
        TRY(entry.volume, take_volume_id(element, "volume"));
        TRY(entry.site, take_site_name(element, "site"));
        TRY(const auto grant_node, element.member("grant"));
        TRY(const auto word, grant_node.text(config_text_size_max));
        const auto allowed = parse_grant(word);
        if (!allowed) return fail(grant_node.complaint(allowed.error().text));
        entry.allowed = *allowed;
        if (!seen.emplace(entry.volume, entry.site).second)
            return fail(element.complaint("this volume and site stand twice"));
        config.entries.push_back(std::move(entry));
    }
    return config;
}

result<deployment_config> parse_deployment_config(std::string_view text, const path_fs::path& file) {
    TRY(const auto document, parse_json(text, file.string()));
    const json_node root(document, file.string());
    TRY_VOID(root.only_keys({"version", "pads_target", "link_rate", "key_source", "complete"}));
    TRY_VOID(check_version(root));
    deployment_config config;
    TRY(config.pads_target, root.number_member("pads_target", 0, 1ULL << 50U));
    TRY(config.link_rate, root.number_member("link_rate", 0, 1ULL << 50U));
    if (root.has("key_source")) {  // deployments of earlier versions have a dealer
        TRY(const auto source, root.text_member("key_source", config_text_size_max));
        if (source != "kme" && source != "dealer") {
            TRY(const auto node, root.member("key_source"));
            return fail(node.complaint("expected kme or dealer"));
        }
        config.simulated_kmes = source == "kme";
    }
    TRY(const auto complete, root.member("complete"));
    TRY(config.complete, complete.boolean());
    return config;
}

result<site_config> load_site_config(const path_fs::path& file) {
    return load(file, parse_site_config);
}

result<volume_config> load_volume_config(const path_fs::path& where) {
    std::error_code ignored;
    if (path_fs::is_directory(where, ignored)) return load(where / "run" / "volume.json", parse_volume_config);
    return load(where, parse_volume_config);
}

result<access_config> load_access_config(const path_fs::path& file) {
    auto loaded = load(file, parse_access_config);
    if (!loaded && loaded.error().code == errc::not_found) return access_config{};
    return loaded;
}

result<deployment_config> load_deployment_config(const path_fs::path& file) {
    return load(file, parse_deployment_config);
}

namespace {

ordered_json keyd_document(const keyd_config& keyd, const path_fs::path& file) {
    ordered_json out{{"socket", written_path(keyd.socket, file)},
                     {"pads", written_path(keyd.pads, file)},
                     {"reserve", keyd.reserve}};
    if (!keyd.group.empty()) out["group"] = keyd.group;
    if (!keyd.metrics.empty()) out["metrics"] = keyd.metrics;
    if (keyd.random)
        out["random"] = {{"device", written_path(keyd.random->device, file)},
                         {"claim", std::string(to_string(keyd.random->strength))},
                         {"entropy_bits", keyd.random->entropy_bits},
                         {"target", keyd.random->target}};
    if (keyd.listen) out["listen"] = to_text(*keyd.listen);
    if (keyd.stock != keyd_config{}.stock) out["stock"] = keyd.stock;
    return out;
}

ordered_json link_document(const link_config& link, const path_fs::path& file) {
    ordered_json out{{"peer", link.peer}, {"address", to_text(link.address)}};
    if (link.control) out["control"] = to_text(*link.control);
    if (!link.kme) return out;
    const auto& kme = *link.kme;
    out["kme"] = {{"urls", kme.urls},
                  {"ca", written_path(kme.ca, file)},
                  {"certificate", written_path(kme.certificate, file)},
                  {"key", written_path(kme.key, file)},
                  {"own_sae", kme.own_sae},
                  {"peer_sae", kme.peer_sae},
                  {"claim", std::string(to_string(kme.strength))}};
    if (kme.key_size != 0) out["kme"]["key_size"] = kme.key_size;
    return out;
}

}  // namespace

std::string to_json_text(const site_config& config, const path_fs::path& file) {
    ordered_json links = ordered_json::array();
    for (const auto& link : config.links) links.push_back(link_document(link, file));
    return dump({
        {"version", version_current},
        {"name", config.name},
        {"keyd", keyd_document(config.keyd, file)},
        {"server",
         {{"listen", to_text(config.server.listen)},
          {"socket", written_path(config.server.socket, file)},
          {"store", written_path(config.server.store, file)},
          {"store_size", config.server.store_size},
          {"access", written_path(config.server.access, file)}}},
        {"links", std::move(links)},
    });
}

std::string to_json_text(const volume_config& config, const path_fs::path& file) {
    return dump({
        {"version", version_current},
        {"volume", to_text(config.id)},
        {"name", config.name},
        {"k", config.threshold},
        {"n", config.sites.size()},
        {"sites", config.sites},
        {"site", written_path(config.site, file)},
        {"run", written_path(config.run, file)},
        {"randomness", config.randomness},
    });
}

std::string to_json_text(const access_config& config) {
    ordered_json grants = ordered_json::array();
    for (const auto& entry : config.entries)
        grants.push_back({{"volume", to_text(entry.volume)},
                          {"site", entry.site},
                          {"grant", std::string(to_string(entry.allowed))}});
    return dump({{"version", version_current}, {"grants", std::move(grants)}});
}

std::string to_json_text(const deployment_config& config) {
    return dump({{"version", version_current},
                 {"pads_target", config.pads_target},
                 {"link_rate", config.link_rate},
                 {"key_source", config.simulated_kmes ? "kme" : "dealer"},
                 {"complete", config.complete}});
}

result<void> save(const site_config& config, const path_fs::path& file) {
    return write_text_file(file, to_json_text(config, file));
}

result<void> save(const volume_config& config, const path_fs::path& file) {
    return write_text_file(file, to_json_text(config, file));
}

result<void> save(const access_config& config, const path_fs::path& file) {
    return write_text_file(file, to_json_text(config));
}

result<void> save(const deployment_config& config, const path_fs::path& file) {
    return write_text_file(file, to_json_text(config));
}

}  // namespace warifu
