#include "tools/key_stock.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "keyd/client.h"

namespace warifu {
namespace {

using nlohmann::json;

/// One keyd's status, or null when it does not answer.
awaitable<json> ask_keyd(std::string socket) {
    const auto client = co_await keyd_client::connect(std::move(socket));
    if (!client) co_return json();
    const auto text = co_await (*client)->status_json();
    if (!text) co_return json();
    co_return json::parse(*text, nullptr, false);
}

void merge(stream_stock& into, const json& stream) {
    const std::uint64_t available = stream.value("available_bytes", std::uint64_t{0});
    into.available = into.known ? std::min(into.available, available) : available;
    into.used = std::max(into.used, stream.value("used_bytes", std::uint64_t{0}));
    into.burnt = std::max(into.burnt, stream.value("burnt_bytes", std::uint64_t{0}));
    into.claim = stream.value("claim", std::string());
    into.known = true;
}

}  // namespace

awaitable<std::vector<stream_stock>> link_stocks(std::vector<site_config> sites) {
    std::map<std::pair<std::string, std::string>, stream_stock> streams;
    for (const auto& site : sites) {
        for (const auto& link : site.links) {
            streams[{site.name, link.peer}] = stream_stock(site.name, link.peer);
            streams.try_emplace({link.peer, site.name}, stream_stock(link.peer, site.name));
        }
    }
    for (const auto& site : sites) {
        const json status = co_await ask_keyd(site.keyd.socket.string());
        if (!status.is_object() || !status.contains("streams") || !status["streams"].is_array()) continue;
        // A stream that a keyd has never heard of is a stream without key.
        std::map<std::pair<std::string, std::string>, json> told;
        for (const auto& stream : status["streams"]) {
            if (stream.is_object())
                told[{stream.value("from", std::string()), stream.value("to", std::string())}] = stream;
        }
        for (auto& [name, stock] : streams) {
            if (name.first != site.name && name.second != site.name) continue;
            const auto found = told.find(name);
            merge(stock, found == told.end() ? json::object() : found->second);
        }
    }
    std::vector<stream_stock> out;
    for (auto& [name, stock] : streams) out.push_back(std::move(stock));
    co_return out;
}

std::uint64_t restorable_bytes(unsigned threshold, bool local_is_up, const std::vector<std::uint64_t>& inbound) {
    const std::uint64_t shares = threshold - (local_is_up ? 1 : 0);
    if (inbound.size() < shares) return 0;
    if (shares == 0) return ~std::uint64_t{0};
    // The greatest T with sum_i min(stock_i, T) >= shares * T: then T bytes can be given `shares` different links each.
    const auto enough = [&](std::uint64_t total) {
        long double sum = 0;
        for (const auto stock : inbound) sum += static_cast<long double>(std::min(stock, total));
        return sum >= static_cast<long double>(shares) * static_cast<long double>(total);
    };
    std::uint64_t low = 0, high = 0;
    for (const auto stock : inbound) high += stock;
    while (low < high) {
        const std::uint64_t middle = low + (high - low + 1) / 2;
        if (enough(middle)) low = middle;
        else high = middle - 1;
    }
    return static_cast<std::uint64_t>(static_cast<double>(low) / pad_per_share_byte);
}

std::uint64_t writable_bytes(std::uint64_t space, const std::vector<std::uint64_t>& outbound) {
    std::uint64_t least = space;
    for (const auto stock : outbound)
        least = std::min(least, static_cast<std::uint64_t>(static_cast<double>(stock) / pad_per_share_byte));
    return least;
}

}  // namespace warifu
