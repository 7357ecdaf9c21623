#include "keyd/kme_sim/network.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "fs/base/assert.h"
#include "keyd/etsi014/json_reader.h"
#include "keyd/etsi014/limits.h"
#include "keyd/kme_sim/limits.h"
#include "keyd/kme_sim/target.h"

namespace warifu::kme_sim {

using etsi014::extension;
using etsi014::quote_json;

namespace {

constexpr std::string_view claim_extension = R"({"warifu_claim":"simulated"})";

kme_answer json_answer(unsigned status, const std::string& text) {
    kme_answer out;
    out.status = status;
    out.body = buffer::copy_of(as_bytes_view(text));
    return out;
}

kme_answer html_answer(std::uint64_t status) {
    kme_answer out = json_answer(static_cast<unsigned>(status),
                                 "<!DOCTYPE html>\n<html><body><h1>Something went wrong</h1></body></html>\n");
    out.type = "text/html";
    return out;
}

/// GET's query as a request's body would have it. The text of the error is for a 400.
result<etsi014::key_request> request_of(const request_target& target) {
    etsi014::key_request out;
    for (const auto& [name, value] : target.query) {
        if (name != "number" && name != "size")
            return fail(errc::bad_format, fmt::format("unknown parameter {}", name));
        auto& to = name == "number" ? out.number : out.size;
        std::uint32_t number = 0;
        const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), number);
        if (to || ec != std::errc() || end != value.data() + value.size())
            return fail(errc::bad_format, fmt::format("parameter {}: expected one integer", name));
        to = number;
    }
    return out;
}

}  // namespace

kme_network::kme_network(asio::any_io_executor executor, network_config config)
    : executor_(std::move(executor)), config_(std::move(config)) {
    for (const auto& kme : config_.kmes) {
        if (!kme.remote) kmes_[kme.name].config = &kme;
        for (const auto& sae : kme.saes) sae_at_[sae] = &kme;
    }
    const std::uint64_t capacity = config_.limits.keys_stored_max * config_.limits.key_size;
    for (const auto& one : config_.links) {
        // A link between two processes has a stock at each end, of half its rate and size.
        const bool split = one.listen || one.connect;
        const std::uint64_t rate = split ? one.rate / 2 : one.rate;
        links_.emplace_back(one, rate, split ? capacity / 2 : capacity);
    }
}

kme_answer kme_network::error_answer(unsigned status, std::string_view message, std::vector<extension> details) const {
    return json_answer(status, etsi014::encode_error({std::string(message), std::move(details)}));
}

const kme_config* kme_network::config_of(const std::string& sae) const {
    const auto found = sae_at_.find(sae);
    return found == sae_at_.end() ? nullptr : found->second;
}

kme_network::link* kme_network::find_link(const std::string& a, const std::string& b) {
    for (auto& l : links_) {
        if ((l.config->a == a && l.config->b == b) || (l.config->a == b && l.config->b == a)) return &l;
    }
    return nullptr;
}

std::uint64_t kme_network::stock_of(link& l, deadline now) {
    const fault* changed = faults_.find(fault_kind::rate, {}, l.config->a, l.config->b);
    const bool split = l.config->listen || l.config->connect;
    const std::uint64_t usual = split ? l.config->rate / 2 : l.config->rate;
    // A rate fault of zero means no key at all, a link's own rate of zero means no limit.
    const std::uint64_t wanted = changed != nullptr ? changed->value : usual;
    if (changed != nullptr && wanted == 0) {
        l.stock.set_rate(1, now);
        l.rate_now = 1;
    } else if (wanted != l.rate_now) {
        l.stock.set_rate(wanted, now);
        l.rate_now = wanted;
    }
    return l.stock.bits(now);
}

void kme_network::expire(kme& at, deadline now) {
    if (faults_.find(fault_kind::expired, at.config->name) != nullptr && !at.waiting.empty() &&
        faults_.happens(fault_kind::expired, at.config->name))
        for (auto& [when, id] : at.expiry) when = now;
    while (!at.expiry.empty() && at.expiry.front().first <= now) {
        const auto [first, last] = at.waiting.equal_range(at.expiry.front().second);
        for (auto it = first; it != last;) {
            at.waiting_size -= it->second.bytes->view().size();
            ++at.keys_expired;
            it = at.waiting.erase(it);
        }
        at.expiry.pop_front();
    }
}

awaitable<kme_answer> kme_network::handle(std::string name, kme_request request) {
    const auto found = kmes_.find(name);
    WARIFU_ASSERT(found != kmes_.end());
    kme& at = found->second;
    ++at.requests;
    expire(at, steady_clock::now());
    const std::uint64_t delay = faults_.happens(fault_kind::slow, name).value_or(0);
    kme_answer answer;
    if (const auto status = faults_.happens(fault_kind::html, name)) {
        answer = html_answer(*status);
    } else if (faults_.happens(fault_kind::unavailable, name)) {
        answer = error_answer(503, "the KME is not available");
    } else {
        const bool delivers = request.target.find("_keys") != std::string::npos;
        answer = co_await dispatch(at, std::move(request));
        if (delivers && answer.status == 200 && faults_.happens(fault_kind::lost, name)) answer.close_unanswered = true;
    }
    answer.delay_ms = static_cast<std::uint32_t>(delay);
    co_return answer;
}

awaitable<kme_answer> kme_network::dispatch(kme& at, kme_request request) {
    if (std::ranges::find(at.config->saes, request.sae) == at.config->saes.end())
        co_return error_answer(401, "the SAE of this certificate is not registered at this KME",
                               {{"SAE_ID", quote_json(request.sae)}});
    const auto target = parse_target(request.target);
    if (!target) co_return error_answer(404, "no such resource");
    if (target->method == "status") {
        if (request.post) {
            auto answer = error_answer(405, "Get status is a GET");
            answer.allow = "GET";
            co_return answer;
        }
        co_return status(at, request.sae, target->sae);
    }
    if (target->method == "enc_keys") co_return co_await answer_enc_keys(at, target->sae, std::move(request));
    co_return answer_dec_keys(at, target->sae, request);
}

awaitable<kme_answer> kme_network::answer_enc_keys(kme& at, std::string slave, kme_request request) {
    const auto target = parse_target(request.target);
    auto wanted = request.post ? etsi014::decode_key_request(request.body) : request_of(*target);
    if (request.post && !target->query.empty())
        wanted = fail(errc::bad_format, "parameters of a POST belong into its body");
    if (!wanted) co_return error_answer(400, wanted.error().text);
    auto checked = check_order(at, slave, request.sae, *wanted);
    if (!checked) co_return std::move(checked.error());
    co_return co_await fill(std::move(*checked));
}

kme_answer kme_network::answer_dec_keys(kme& at, const std::string& master, const kme_request& request) {
    result<std::vector<key_id>> ids = fail(errc::bad_format, "expected one key_ID");
    const auto target = parse_target(request.target);
    if (request.post) {
        ids = etsi014::decode_key_ids(request.body, config_.limits.keys_per_request_max);
    } else if (target->query.size() == 1 && target->query[0].first == "key_ID") {
        const auto bytes = uuid_from_text(target->query[0].second);
        if (bytes)
            ids = std::vector<key_id>{key_id{*bytes}};
        else
            ids = fail(errc::bad_format, "key_ID: expected a UUID");
    }
    if (!ids) return error_answer(400, ids.error().text);
    return dec_keys(at, request.sae, master, *ids);
}

kme_answer kme_network::status(kme& at, const std::string& master, const std::string& slave) {
    const kme_config* other = config_of(slave);
    if (other == nullptr || slave == master)
        return error_answer(400, "unknown slave_SAE_ID", {{"slave_SAE_ID", quote_json(slave)}});
    const auto& l = config_.limits;
    etsi014::key_status out;
    out.source_kme = at.config->name;
    out.target_kme = other->name;
    out.master_sae = master;
    out.slave_sae = slave;
    out.key_size = l.key_size;
    out.key_size_min = l.key_size_min;
    out.key_size_max = l.key_size_max;
    out.keys_stored_max = l.keys_stored_max;
    out.keys_per_request_max = l.keys_per_request_max;
    out.additional_saes_max = l.additional_saes_max;
    out.extension = claim_extension;
    link* way = find_link(at.config->name, other->name);
    if (other == at.config)
        out.keys_stored = l.keys_stored_max;
    else if (way != nullptr)
        out.keys_stored = stock_of(*way, steady_clock::now()) / l.key_size;
    return json_answer(200, etsi014::encode_key_status(out));
}

/// All or none: a missing key must not cost the others.
kme_answer kme_network::dec_keys(kme& at, const std::string& slave, const std::string& master,
                                 const std::vector<key_id>& ids) {
    using iterator = decltype(at.waiting)::iterator;
    std::vector<iterator> found;
    std::vector<extension> missing;
    bool denied = false;
    for (const auto& id : ids) {
        const auto [first, last] = at.waiting.equal_range(id);
        const auto mine = std::find_if(first, last, [&](const auto& entry) {
            return entry.second.slave == slave && entry.second.origin->master == master;
        });
        if (mine != last)
            found.push_back(mine);
        else if (first != last)
            denied = true;
        else if (missing.size() < etsi014::extension_count_limit)
            missing.push_back({"key_ID", quote_json(to_text(id))});
    }
    if (denied) return error_answer(401, "this SAE was not named when the keys were requested");
    if (found.size() < ids.size()) return error_answer(400, etsi014::text_keys_not_found, std::move(missing));
    std::vector<etsi014::key_to_send> out;
    for (const auto& it : found) {
        const auto& key = it->second;
        out.push_back({it->first, key.bytes->view(), key.origin->id_extension, key.origin->key_extension});
    }
    kme_answer answer;
    answer.body = etsi014::encode_key_container(out, claim_extension);
    for (const auto& it : found) {
        at.waiting_size -= it->second.bytes->view().size();
        at.waiting.erase(it);
    }
    at.keys_decrypted += found.size();
    return answer;
}

result<nlohmann::ordered_json> kme_network::admin(const std::string& command) {
    if (command == "clear") {
        faults_.clear();
        return nlohmann::ordered_json{{"faults", nlohmann::ordered_json::array()}};
    }
    if (command.starts_with("fault ")) {
        TRY(auto wanted, parse_fault(std::string_view(command).substr(6)));
        const auto known = [&](const std::string& name) {
            return name.empty() || std::ranges::find(config_.kmes, name, &kme_config::name) != config_.kmes.end();
        };
        for (const auto* name : {&wanted.kme, &wanted.link_a, &wanted.link_b})
            if (!known(*name)) return fail(errc::bad_argument, fmt::format("no KME is named {}", *name));
        TRY_VOID(faults_.add(std::move(wanted)));
    } else if (command != "status") {
        return fail(errc::bad_argument,
                    "expected status, clear or fault KIND [kme=...] [link=...,...] [value=...] "
                    "[count=...]");
    }
    nlohmann::ordered_json out;
    out["claim"] = "simulated";
    out["faults"] = nlohmann::ordered_json::array();
    for (const auto& f : faults_.all()) out["faults"].push_back(to_text(f));
    out["kmes"] = nlohmann::ordered_json::array();
    for (const auto& [name, k] : kmes_) {
        out["kmes"].push_back({{"name", name},
                               {"saes", k.config->saes},
                               {"requests", k.requests},
                               {"keys_encrypted", k.keys_encrypted},
                               {"keys_decrypted", k.keys_decrypted},
                               {"keys_expired", k.keys_expired},
                               {"keys_waiting", k.waiting.size()},
                               {"bytes_waiting", k.waiting_size}});
    }
    out["links"] = nlohmann::ordered_json::array();
    for (auto& l : links_) {
        const std::uint64_t bits = stock_of(l, steady_clock::now());
        out["links"].push_back({{"between", {l.config->a, l.config->b}}, {"rate", l.rate_now}, {"stock_bits", bits}});
    }
    return out;
}

}  // namespace warifu::kme_sim
