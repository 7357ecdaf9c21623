#include "keyd/link/paths.h"

#include <algorithm>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "keyd/link/protocol.h"
#include "keyd/pool/files.h"

namespace warifu {
namespace {

constexpr std::uint64_t file_size_max = 64U << 20U;

std::string line_of(const path_records::record& r) {
    const nlohmann::json line{{"block", to_text(r.id)},      {"from", r.stream.sender},  {"to", r.stream.receiver},
                              {"offset", r.range.offset}, {"size", r.range.size}, {"path", r.path}};
    return line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
}

bool is_text_array(const nlohmann::json& value) {
    return value.is_array() && std::ranges::all_of(value, [](const auto& v) { return v.is_string(); });
}

result<path_records::record> record_of(const nlohmann::json& line) {
    const auto text = [&](const char* key) { return line.contains(key) && line[key].is_string(); };
    const auto number = [&](const char* key) { return line.contains(key) && line[key].is_number_unsigned(); };
    if (!text("block") || !text("from") || !text("to") || !number("offset") || !number("size") ||
        !is_text_array(line["path"]))
        return fail(errc::bad_format, "not the record of a block");
    path_records::record r;
    TRY(r.id.bytes, uuid_from_text(line["block"].get<std::string>()));
    r.stream = {line["from"], line["to"]};
    r.range = {line["offset"], line["size"]};
    r.path = line["path"].get<std::vector<std::string>>();
    return r;
}

}  // namespace

result<path_records> path_records::open(std::string file) {
    path_records out;
    out.file_ = std::move(file);
    std::string text;
    {
        const auto fd = open_file(out.file_, O_RDONLY | O_NOFOLLOW);
        if (!fd && fd.error().code == errc::not_found) return out;
        if (!fd) return fail(fd.error());
        TRY(const auto size, file_size(fd->get(), out.file_));
        if (size > file_size_max) return fail(errc::too_large, out.file_ + ": over the limit");
        text.resize(static_cast<std::size_t>(size));
        TRY_VOID(read_at(fd->get(), 0, std::as_writable_bytes(std::span(text)), out.file_));
    }
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < text.size();) {
        const auto end = text.find('\n', begin);
        if (end == std::string::npos) break;  // cut off by a crash
        ++number;
        const auto line = nlohmann::json::parse(text.substr(begin, end - begin), nullptr, false);
        begin = end + 1;
        if (line.is_object() && line.contains("nodes") && is_text_array(line["nodes"])) {
            for (const auto& node : line["nodes"]) out.nodes_.insert(node.get<std::string>());
            continue;
        }
        auto r = line.is_object() && line.contains("path") ? record_of(line) : fail(errc::bad_format, "not a record");
        if (!r) return fail(errc::bad_format, fmt::format("{}:{}: {}", out.file_, number, r.error().text));
        out.nodes_.insert(r->path.begin(), r->path.end());
        out.blocks_.push_back(std::move(*r));
    }
    return out;
}

result<void> path_records::add(const record& r) {
    if (r.path.empty()) return {};
    auto nodes = nodes_;
    nodes.insert(r.path.begin(), r.path.end());
    std::size_t names_size = 0;
    for (const auto& node : nodes) names_size += node.size();
    if (nodes.size() > nodes_.size() && (nodes.size() > link_nodes_max || names_size > link_nodes_size_max))
        return fail(errc::too_large, file_ + ": the key passes more nodes than a link may have");
    nodes_ = std::move(nodes);
    blocks_.push_back(r);
    if (blocks_.size() > link_records_max) return rewrite();
    TRY(const unique_fd fd, open_file(file_, O_RDWR | O_CREAT | O_NOFOLLOW));
    TRY(const auto size, file_size(fd.get(), file_));
    // What a crash cut off is overwritten: the next line begins where the last whole one ended.
    std::uint64_t end = size;
    for (std::byte last{}; end > 0; --end) {
        TRY_VOID(read_at(fd.get(), end - 1, bytes_span(&last, 1), file_));
        if (last == std::byte{'\n'}) break;
    }
    TRY_VOID(write_at(fd.get(), end, as_bytes_view(line_of(r)), file_));
    TRY_VOID(sync_data(fd.get(), file_));
    return size == 0 ? sync_directory(file_.substr(0, file_.rfind('/'))) : result<void>{};
}

result<void> path_records::rewrite() {
    blocks_.erase(blocks_.begin(), blocks_.begin() + static_cast<std::ptrdiff_t>(blocks_.size() / 2));
    const nlohmann::json head{{"nodes", nodes_}};
    std::string text = head.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
    for (const auto& r : blocks_) text += line_of(r);
    return replace_file(file_, as_bytes_view(text));
}

std::map<std::string, std::vector<std::string>> placement_breaches(const std::string& writer_site,
                                                                   const std::vector<share_route>& routes,
                                                                   unsigned threshold) {
    std::map<std::string, std::set<std::string>> seen;
    for (const auto& route : routes) {
        if (route.site == writer_site) continue;
        seen[route.site].insert(route.site);
        for (const auto& node : route.nodes)
            if (node != writer_site) seen[node].insert(route.site);
    }
    std::map<std::string, std::vector<std::string>> out;
    for (const auto& [node, sites] : seen)
        if (sites.size() >= threshold) out[node] = {sites.begin(), sites.end()};
    return out;
}

}  // namespace warifu
