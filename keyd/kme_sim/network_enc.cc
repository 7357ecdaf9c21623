// "Get key" (section 5.2 of ETSI GS QKD 014): checks, the links' stocks, fresh keys for the master and its slaves.

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "keyd/etsi014/json_reader.h"
#include "keyd/kme_sim/limits.h"
#include "keyd/kme_sim/network.h"

namespace warifu::kme_sim {

using etsi014::extension;
using etsi014::quote_json;

namespace {

/// The one extension that this KME handles: "direct" wants key that no trusted node relayed, "any" all.
constexpr std::string_view route_extension = "warifu_route_type";
bool supported(const extension& e) {
    return e.name == route_extension && (e.value == R"("direct")" || e.value == R"("any")");
}

}  // namespace

std::optional<kme_answer> kme_network::check_sizes(const etsi014::key_request& wanted) const {
    const auto& l = config_.limits;
    const std::uint64_t number = wanted.number.value_or(1);
    const std::uint64_t size = wanted.size.value_or(l.key_size);
    if (size % 8 != 0) return error_answer(400, etsi014::text_size_not_bytes);
    if (number == 0) return error_answer(400, "number shall be at least 1");
    if (number > l.keys_per_request_max)
        return error_answer(400, "number exceeds max_key_per_request",
                            {{"max_key_per_request", std::to_string(l.keys_per_request_max)}});
    if (size < l.key_size_min)
        return error_answer(400, "size is below min_key_size", {{"min_key_size", std::to_string(l.key_size_min)}});
    if (size > l.key_size_max)
        return error_answer(400, "size exceeds max_key_size", {{"max_key_size", std::to_string(l.key_size_max)}});
    if (wanted.additional_slaves.size() > l.additional_saes_max)
        return error_answer(400, "more additional_slave_SAE_IDs than max_SAE_ID_count",
                            {{"max_SAE_ID_count", std::to_string(l.additional_saes_max)}});
    return std::nullopt;
}

kme_network::answer_or_order kme_network::check_order(kme& at, const std::string& slave, const std::string& master,
                                                      const etsi014::key_request& wanted) {
    if (auto wrong = check_sizes(wanted)) return std::unexpected(std::move(*wrong));
    order o;
    o.at = &at;
    o.master = master;
    o.number = wanted.number.value_or(1);
    o.size = wanted.size.value_or(config_.limits.key_size) / 8;
    std::vector<std::string> slaves{slave};
    slaves.insert(slaves.end(), wanted.additional_slaves.begin(), wanted.additional_slaves.end());
    if (auto wrong = find_ways(o, slaves)) return std::unexpected(std::move(*wrong));
    if (auto wrong = check_extensions(o, wanted)) return std::unexpected(std::move(*wrong));
    if (auto wrong = take_stock(o)) return std::unexpected(std::move(*wrong));
    return o;
}

std::optional<kme_answer> kme_network::find_ways(order& o, const std::vector<std::string>& slaves) {
    for (const auto& slave : slaves) {
        const kme_config* other = config_of(slave);
        const std::vector<extension> who = {{"slave_SAE_ID", quote_json(slave)}};
        if (other == nullptr || slave == o.master) return error_answer(400, "unknown slave_SAE_ID", who);
        auto& there = o.slaves[other->name];
        if (std::ranges::find(there, slave) != there.end())
            return error_answer(400, "a slave_SAE_ID stands twice", who);
        there.push_back(slave);
        if (other == o.at->config || there.size() > 1) continue;
        link* way = find_link(o.at->config->name, other->name);
        if (way == nullptr) return error_answer(400, "no QKD link leads to this slave's KME", who);
        o.links.push_back(way);
        if (way->config->path.empty()) continue;
        std::vector<std::string> nodes = way->config->path;
        if (way->config->a != o.at->config->name) std::ranges::reverse(nodes);
        for (auto& node : nodes) node = quote_json(node);
        o.path_extension = fmt::format(R"({{"warifu_path":[{}]}})", fmt::join(nodes, ","));
    }
    return std::nullopt;
}

std::optional<kme_answer> kme_network::check_extensions(order& o, const etsi014::key_request& wanted) const {
    const bool relayed = !o.path_extension.empty();
    const auto met = [&](const extension& e) { return supported(e) && (e.value == R"("any")" || !relayed); };
    if (!std::ranges::all_of(wanted.mandatory, supported))
        return error_answer(400, etsi014::text_mandatory_unsupported);
    if (!std::ranges::all_of(wanted.mandatory, met)) return error_answer(400, etsi014::text_mandatory_unmet);
    // What is optional is no reason to refuse: the container says that it was not handled.
    if (!std::ranges::all_of(wanted.optional, met)) o.note = etsi014::text_optional_unhandled;
    return std::nullopt;
}

std::optional<kme_answer> kme_network::take_stock(order& o) {
    const auto now = steady_clock::now();
    const std::uint64_t bytes = o.number * o.size;
    const auto empty = [&](std::string_view why) {
        return error_answer(config_.empty_status, "Not enough key material available", {{"reason", quote_json(why)}});
    };
    for (link* l : o.links) {
        const auto& c = *l->config;
        const std::string& other = c.a == o.at->config->name ? c.b : c.a;
        const auto remote = remotes_.find(other);
        if (faults_.happens(fault_kind::link_down, o.at->config->name, c.a, c.b) ||
            ((c.listen || c.connect) && (remote == remotes_.end() || !remote->second->connected())))
            return error_answer(503, "the QKD link is down", {{"target_KME_ID", quote_json(other)}});
    }
    for (link* l : o.links)
        if (stock_of(*l, now) < 8 * bytes) return empty("the link has produced less key");
    for (const auto& [name, slaves] : o.slaves) {
        const auto there = kmes_.find(name);
        if (there != kmes_.end() &&
            there->second.waiting_size + bytes * slaves.size() > config_.limits.pending_size_max)
            return empty("too many keys wait to be fetched by their slaves");
    }
    for (link* l : o.links) l->stock.take(8 * bytes, now);
    return std::nullopt;
}

std::shared_ptr<const key_bytes> kme_network::fresh_bytes(std::size_t size) {
    const auto made = std::make_shared<key_bytes>(size);
    (void)random_->fill(made->span());  // AES-256-CTR does not run dry
    return made;
}

key_delivery_batch kme_network::cut_batch(const order& o, const std::string& name,
                                          const std::vector<shared_key>& keys) {
    key_delivery_batch batch;
    batch.master = o.master;
    batch.slaves = o.slaves.at(name);
    batch.keys = keys;
    batch.id_extension = o.path_extension;
    std::size_t recipients = 0;
    for (const auto& [where, slaves] : o.slaves) recipients += slaves.size();
    if (recipients > 1) batch.key_extension = fmt::format(R"({{"warifu_recipients":{}}})", recipients);
    if (faults_.happens(fault_kind::wrong_keys, name, o.at->config->name, name))
        for (auto& key : batch.keys) key.bytes = fresh_bytes(o.size);
    return batch;
}

awaitable<kme_answer> kme_network::fill(order o) {
    (void)random_->begin_chunk();  // a fresh AES key for each request
    std::vector<shared_key> keys;
    for (std::size_t i = 0; i < o.number; ++i) keys.push_back({random_uuid<key_id>(), fresh_bytes(o.size)});
    std::string key_extension;
    for (const auto& [name, slaves] : o.slaves) {
        const auto batch = std::make_shared<const key_delivery_batch>(cut_batch(o, name, keys));
        key_extension = batch->key_extension;
        result<void> taken;
        if (kmes_.contains(name))
            taken = receive(name, *batch);
        else
            taken = co_await remotes_.at(name)->deliver(batch, deadline_in_ms(link_timeout_ms));
        // The slave's end may have them or not: the master's never will.
        if (!taken) co_return error_answer(503, fmt::format("the QKD link failed: {}", taken.error().text));
    }
    std::vector<etsi014::key_to_send> out;
    for (const auto& key : keys) out.push_back({key.id, key.bytes->view(), o.path_extension, key_extension});
    std::string note = R"({"warifu_claim":"simulated")";
    if (!o.note.empty()) note += fmt::format(R"(,"warifu_note":{})", quote_json(o.note));
    kme_answer answer;
    answer.body = etsi014::encode_key_container(out, note + "}");
    o.at->keys_encrypted += o.number;
    co_return answer;
}

result<void> kme_network::receive(const std::string& name, const key_delivery_batch& batch) {
    const auto found = kmes_.find(name);
    if (found == kmes_.end()) return fail(errc::not_found, "no such KME here");
    kme& at = found->second;
    std::uint64_t size = 0;
    for (const auto& key : batch.keys) size += key.bytes->view().size() * batch.slaves.size();
    if (at.waiting_size + size > config_.limits.pending_size_max)
        return fail(errc::no_space, "too many keys wait to be fetched by their slaves");
    for (const auto& slave : batch.slaves)
        if (std::ranges::find(at.config->saes, slave) == at.config->saes.end())
            return fail(errc::not_found, fmt::format("no SAE {} here", slave));
    const auto origin = std::make_shared<const key_origin>(batch.master, batch.id_extension, batch.key_extension);
    const auto expires = deadline(steady_clock::now() + std::chrono::milliseconds(config_.limits.key_lifetime_ms));
    for (const auto& key : batch.keys) {
        for (const auto& slave : batch.slaves)
            at.waiting.emplace(key.id, waiting_key{slave, origin, key.bytes, expires});
        at.expiry.emplace_back(expires, key.id);
    }
    at.waiting_size += size;
    // Fetched keys leave their entries behind.
    if (at.expiry.size() > 2 * at.waiting.size() + 4096)
        std::erase_if(at.expiry, [&](const auto& entry) { return !at.waiting.contains(entry.second); });
    return {};
}

}  // namespace warifu::kme_sim
