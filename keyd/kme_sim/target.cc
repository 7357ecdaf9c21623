#include "keyd/kme_sim/target.h"

#include "keyd/etsi014/limits.h"

namespace warifu::kme_sim {
namespace {

constexpr std::string_view root = "/api/v1/keys/";
constexpr std::size_t query_count_max = 16;

int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '%') {
            if (i + 2 >= text.size() || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) return std::nullopt;
            c = static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        if (c == '\0') return std::nullopt;
        out.push_back(c);
    }
    return out;
}

}  // namespace

std::optional<request_target> parse_target(std::string_view target) {
    if (target.size() > etsi014::target_limit) return std::nullopt;
    const auto mark = target.find('?');
    std::string_view path = target.substr(0, mark);
    std::string_view query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
    if (!path.starts_with(root)) return std::nullopt;
    path.remove_prefix(root.size());
    const auto slash = path.find('/');
    if (slash == std::string_view::npos || slash == 0) return std::nullopt;
    request_target out;
    auto sae = percent_decode(path.substr(0, slash), false);
    out.method = path.substr(slash + 1);
    if (!sae || sae->size() > etsi014::sae_id_limit) return std::nullopt;
    out.sae = std::move(*sae);
    if (out.method != "status" && out.method != "enc_keys" && out.method != "dec_keys") return std::nullopt;
    while (!query.empty()) {
        const auto end = query.find('&');
        const std::string_view pair = query.substr(0, end);
        query = end == std::string_view::npos ? std::string_view() : query.substr(end + 1);
        if (pair.empty()) continue;
        const auto equals = pair.find('=');
        auto name = percent_decode(pair.substr(0, equals), true);
        auto value =
            percent_decode(equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1), true);
        if (!name || !value || out.query.size() == query_count_max) return std::nullopt;
        out.query.emplace_back(std::move(*name), std::move(*value));
    }
    return out;
}

}  // namespace warifu::kme_sim
