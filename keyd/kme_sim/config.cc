#include "keyd/kme_sim/config.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <set>

#include "fs/base/ids.h"
#include "fs/config/json_node.h"
#include "keyd/etsi014/limits.h"
#include "keyd/kme_sim/limits.h"

namespace warifu::kme_sim {
namespace {

namespace path_fs = std::filesystem;
using etsi014::key_size_limit;
using etsi014::sae_id_limit;

constexpr std::uint64_t rate_limit = 1ULL << 50U;

path_fs::path resolved(const path_fs::path& file, const std::string& text) {
    const path_fs::path path(text);
    return path.is_absolute() ? path : (file.parent_path() / path).lexically_normal();
}

std::string shortened(const path_fs::path& file, const path_fs::path& path) {
    const auto near = path.lexically_relative(file.parent_path());
    return near.empty() || *near.begin() == ".." ? path.string() : near.string();
}

/// An optional number with its default.
result<std::uint64_t> number_or(const json_node& node, std::string_view key, std::uint64_t least, std::uint64_t most,
                                std::uint64_t otherwise) {
    if (!node.has(key)) return otherwise;
    return node.number_member(key, least, most);
}

result<key_limits> take_limits(const json_node& node) {
    TRY_VOID(node.only_keys({"key_size", "min_key_size", "max_key_size", "max_key_count", "max_key_per_request",
                             "max_SAE_ID_count", "key_lifetime_s", "pending_size_max"}));
    key_limits l;
    const std::uint64_t bits_max = 8 * key_size_limit;
    TRY(l.key_size, number_or(node, "key_size", 8, bits_max, l.key_size));
    TRY(l.key_size_min, number_or(node, "min_key_size", 8, bits_max, l.key_size_min));
    TRY(l.key_size_max, number_or(node, "max_key_size", 8, bits_max, l.key_size_max));
    TRY(l.keys_stored_max, number_or(node, "max_key_count", 1, 1U << 30U, l.keys_stored_max));
    TRY(l.keys_per_request_max,
        number_or(node, "max_key_per_request", 1, etsi014::key_count_limit, l.keys_per_request_max));
    TRY(l.additional_saes_max,
        number_or(node, "max_SAE_ID_count", 0, etsi014::additional_sae_limit, l.additional_saes_max));
    std::uint64_t lifetime_s = l.key_lifetime_ms / 1000;
    TRY(lifetime_s, number_or(node, "key_lifetime_s", 1, 1U << 20U, lifetime_s));
    l.key_lifetime_ms = lifetime_s * 1000;
    TRY(l.pending_size_max, number_or(node, "pending_size_max", 1, 1ULL << 40U, l.pending_size_max));
    for (const std::uint64_t bits : {l.key_size, l.key_size_min, l.key_size_max})
        if (bits % 8 != 0) return fail(node.complaint("key sizes are multiples of 8 bits"));
    if (l.key_size_min > l.key_size || l.key_size > l.key_size_max)
        return fail(node.complaint("min_key_size <= key_size <= max_key_size does not hold"));
    return l;
}

result<identity_source> take_identity(const json_node& node) {
    TRY(const auto text, node.text_member("sae_id_from", 64));
    if (text == "cn") return identity_source::common_name;
    if (text == "serial") return identity_source::serial;
    if (text == "cn-serial") return identity_source::common_name_and_serial;
    TRY(const auto member, node.member("sae_id_from"));
    return fail(member.complaint("expected cn, serial or cn-serial"));
}

result<std::vector<std::string>> take_names(const json_node& node, std::string_view key, std::size_t count_max) {
    TRY(const auto list, node.member(key));
    TRY(const auto elements, list.elements(count_max));
    std::vector<std::string> names;
    for (const auto& element : elements) {
        TRY(auto name, element.text(sae_id_limit));
        if (std::ranges::find(names, name) != names.end()) return fail(element.complaint("this name stands twice"));
        names.push_back(std::move(name));
    }
    return names;
}

result<place> take_place(const json_node& node, std::string_view key, bool unix_allowed, const path_fs::path& file) {
    TRY(const auto member, node.member(key));
    TRY(const auto text, member.text(4096));
    auto parsed = parse_place(text, unix_allowed);
    if (!parsed) return fail(member.complaint(parsed.error().text));
    if (!parsed->path.empty()) parsed->path = resolved(file, parsed->path.string());
    return parsed;
}

/// The network's certificates, which a KME's own replace.
struct certificate_defaults {
    path_fs::path ca;
    path_fs::path certificate;
    path_fs::path key;
};
result<certificate_defaults> take_certificates(const json_node& node, const path_fs::path& file,
                                               certificate_defaults files) {
    const std::pair<std::string_view, path_fs::path*> members[] = {
        {"ca", &files.ca}, {"certificate", &files.certificate}, {"key", &files.key}};
    for (const auto& [key, path] : members) {
        if (!node.has(key)) continue;
        TRY(const auto text, node.text_member(key, 4096));
        *path = resolved(file, text);
    }
    return files;
}

result<kme_config> take_kme(const json_node& node, certificate_defaults files, const path_fs::path& file) {
    TRY_VOID(node.only_keys({"name", "saes", "remote", "listen", "ca", "certificate", "key"}));
    kme_config kme;
    TRY(kme.name, node.text_member("name", sae_id_limit));
    TRY(kme.saes, take_names(node, "saes", sae_count_limit));
    if (node.has("remote")) {
        TRY(const auto member, node.member("remote"));
        TRY(kme.remote, member.boolean());
    }
    if (kme.remote) {
        TRY_VOID(node.only_keys({"name", "saes", "remote"}));
        return kme;
    }
    TRY(kme.listen, take_place(node, "listen", false, file));
    TRY(files, take_certificates(node, file, files));
    if (files.ca.empty() || files.certificate.empty() || files.key.empty())
        return fail(node.complaint("ca, certificate and key must be given here or at the top"));
    kme.ca = files.ca;
    kme.certificate = files.certificate;
    kme.key = files.key;
    return kme;
}

const kme_config* find_kme(const network_config& config, const std::string& name) {
    const auto found = std::ranges::find(config.kmes, name, &kme_config::name);
    return found == config.kmes.end() ? nullptr : &*found;
}

result<link_config> take_link(const json_node& node, const network_config& config, std::uint64_t rate,
                              const path_fs::path& file) {
    TRY_VOID(node.only_keys({"between", "rate", "path", "listen", "connect"}));
    link_config link;
    TRY(const auto between, node.member("between"));
    TRY(const auto names, take_names(node, "between", 2));
    if (names.size() != 2) return fail(between.complaint("expected two KMEs"));
    link.a = names[0];
    link.b = names[1];
    for (const auto& name : names)
        if (find_kme(config, name) == nullptr) return fail(between.complaint(fmt::format("no KME is named {}", name)));
    link.rate = rate;
    TRY(link.rate, number_or(node, "rate", 0, rate_limit, link.rate));
    if (node.has("path")) {
        TRY(link.path, take_names(node, "path", etsi014::path_node_limit));
    }
    const bool remote_a = find_kme(config, link.a)->remote;
    const bool remote_b = find_kme(config, link.b)->remote;
    if (remote_a && remote_b) return fail(between.complaint("both KMEs are in other processes"));
    if (node.has("listen")) {
        TRY(link.listen, take_place(node, "listen", true, file));
    }
    if (node.has("connect")) {
        TRY(link.connect, take_place(node, "connect", true, file));
    }
    const bool split = remote_a || remote_b;
    if (split && link.listen.has_value() == link.connect.has_value())
        return fail(node.complaint("a link to a KME of another process has one of listen and connect"));
    if (!split && (link.listen || link.connect))
        return fail(node.complaint("listen and connect are for links to a KME of another process"));
    return link;
}

/// Without "links": each pair of KMEs has one.
result<std::vector<link_config>> take_links(const json_node& root, const network_config& config,
                                            const path_fs::path& file) {
    std::uint64_t rate = 0;
    TRY(rate, number_or(root, "rate", 0, rate_limit, rate));
    std::vector<link_config> links;
    if (!root.has("links")) {
        for (std::size_t i = 0; i < config.kmes.size(); ++i)
            for (std::size_t j = i + 1; j < config.kmes.size(); ++j) {
                if (config.kmes[i].remote || config.kmes[j].remote)
                    return fail(root.complaint("links must be given when a KME is remote"));
                links.push_back(link_config{config.kmes[i].name, config.kmes[j].name, rate, {}, {}, {}});
            }
        return links;
    }
    TRY(const auto list, root.member("links"));
    TRY(const auto elements, list.elements(link_count_limit));
    std::set<std::pair<std::string, std::string>> seen;
    for (const auto& element : elements) {
        TRY(auto link, take_link(element, config, rate, file));
        if (!seen.insert(std::minmax(link.a, link.b)).second) return fail(element.complaint("this link stands twice"));
        links.push_back(std::move(link));
    }
    return links;
}

result<void> check_names(const json_node& root, const network_config& config) {
    std::set<std::string> kmes, saes;
    bool here = false;
    for (const auto& kme : config.kmes) {
        here = here || !kme.remote;
        if (!kmes.insert(kme.name).second) return fail(root.complaint(fmt::format("two KMEs are named {}", kme.name)));
        for (const auto& sae : kme.saes)
            if (!saes.insert(sae).second) return fail(root.complaint(fmt::format("the SAE ID {} stands twice", sae)));
    }
    if (!here) return fail(root.complaint("no KME is of this process"));
    return {};
}

}  // namespace

std::string to_text(const place& p) {
    if (!p.path.empty()) return "unix:" + p.path.string();
    return p.host.find(':') != std::string::npos ? fmt::format("[{}]:{}", p.host, p.port)
                                                 : fmt::format("{}:{}", p.host, p.port);
}

result<place> parse_place(std::string_view text, bool unix_allowed) {
    const auto wanted =
        fail(errc::bad_format, unix_allowed ? "expected HOST:PORT or unix:/PATH" : "expected HOST:PORT");
    if (unix_allowed && text.starts_with("unix:") && text.size() > 5) {
        place p;
        p.path = text.substr(5);
        return p;
    }
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) return wanted;
    std::string_view host = text.substr(0, colon);
    if (host.front() == '[' && host.back() == ']' && host.size() > 2)
        host = host.substr(1, host.size() - 2);
    else if (host.find(':') != std::string_view::npos)
        return wanted;
    place p;
    p.host = host;
    const auto digits = text.substr(colon + 1);
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), p.port);
    if (ec != std::errc() || end != digits.data() + digits.size()) return wanted;
    return p;
}

result<network_config> parse_network_config(std::string_view text, const path_fs::path& file) {
    TRY(const auto document, parse_json(text, file.string()));
    const json_node root(document, file.string());
    TRY_VOID(root.only_keys({"version", "limits", "sae_id_from", "empty_status", "ca", "certificate", "key", "rate",
                             "kmes", "links", "admin"}));
    TRY_VOID(root.number_member("version", 1, 1));
    network_config config;
    if (root.has("limits")) {
        TRY(const auto limits, root.member("limits"));
        TRY(config.limits, take_limits(limits));
    }
    if (root.has("sae_id_from")) {
        TRY(config.identity, take_identity(root));
    }
    if (root.has("empty_status")) {
        TRY(const auto status, root.number_member("empty_status", 400, 503));
        TRY(const auto member, root.member("empty_status"));
        if (status != 400 && status != 503) return fail(member.complaint("expected 400 or 503"));
        config.empty_status = static_cast<unsigned>(status);
    }
    if (root.has("admin")) {
        TRY(const auto path, root.text_member("admin", 4096));
        config.admin = resolved(file, path);
    }
    TRY(const auto files, take_certificates(root, file, certificate_defaults{}));
    TRY(const auto list, root.member("kmes"));
    TRY(const auto elements, list.elements(kme_count_limit));
    for (const auto& element : elements) {
        TRY(auto kme, take_kme(element, files, file));
        config.kmes.push_back(std::move(kme));
    }
    TRY_VOID(check_names(list, config));
    TRY(config.links, take_links(root, config, file));
    return config;
}

result<network_config> load_network_config(const path_fs::path& file) {
    TRY(const auto text, read_text_file(file));
    return parse_network_config(text, path_fs::absolute(file));
}

std::string to_json_text(const network_config& config, const path_fs::path& file) {
    const auto& l = config.limits;
    constexpr const char* sources[] = {"cn", "serial", "cn-serial"};
    const auto place_text = [&](const place& p) {
        return p.path.empty() ? to_text(p) : "unix:" + shortened(file, p.path);
    };
    ordered_json root;
    root["version"] = 1;
    root["limits"] = {{"key_size", l.key_size},
                      {"min_key_size", l.key_size_min},
                      {"max_key_size", l.key_size_max},
                      {"max_key_count", l.keys_stored_max},
                      {"max_key_per_request", l.keys_per_request_max},
                      {"max_SAE_ID_count", l.additional_saes_max},
                      {"key_lifetime_s", l.key_lifetime_ms / 1000},
                      {"pending_size_max", l.pending_size_max}};
    root["sae_id_from"] = sources[static_cast<std::size_t>(config.identity)];
    root["empty_status"] = config.empty_status;
    if (!config.admin.empty()) root["admin"] = shortened(file, config.admin);
    root["kmes"] = ordered_json::array();
    for (const auto& kme : config.kmes) {
        ordered_json one = {{"name", kme.name}, {"saes", kme.saes}};
        if (kme.remote) {
            one["remote"] = true;
        } else {
            one["listen"] = to_text(kme.listen);
            one["ca"] = shortened(file, kme.ca);
            one["certificate"] = shortened(file, kme.certificate);
            one["key"] = shortened(file, kme.key);
        }
        root["kmes"].push_back(std::move(one));
    }
    root["links"] = ordered_json::array();
    for (const auto& link : config.links) {
        ordered_json one = {{"between", {link.a, link.b}}, {"rate", link.rate}};
        if (!link.path.empty()) one["path"] = link.path;
        if (link.listen) one["listen"] = place_text(*link.listen);
        if (link.connect) one["connect"] = place_text(*link.connect);
        root["links"].push_back(std::move(one));
    }
    return root.dump(4) + "\n";
}

}  // namespace warifu::kme_sim
