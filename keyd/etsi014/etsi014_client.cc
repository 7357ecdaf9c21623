#include "keyd/etsi014/etsi014_client.h"

#include <algorithm>
#include <fmt/format.h>
#include <unordered_map>
#include <unordered_set>

#include "fs/async/fan_out.h"
#include "keyd/etsi014/base64.h"
#include "keyd/etsi014/json_reader.h"
#include "keyd/etsi014/kme_pool.h"
#include "keyd/etsi014/limits.h"
#include "keyd/etsi014/messages.h"

namespace warifu {
namespace {

using namespace etsi014;
using keys = std::vector<delivered_key>;

/// An SAE ID as one step of a path.
std::string path_step(std::string_view id) {
    std::string out;
    for (const char c : id) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           std::string_view("-._~").find(c) != std::string_view::npos;
        out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
}

bool contains_any(std::string text, std::initializer_list<std::string_view> words) {
    for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    return std::ranges::any_of(words, [&](std::string_view word) { return text.find(word) != std::string::npos; });
}

/// What an error answer says, on one line: the standard's message, or the beginning of whatever came.
struct refusal {
    unsigned status = 0;
    std::string text;
    std::vector<key_id> named;  // key_IDs in its details
};
refusal read_refusal(const https_answer& answer) {
    refusal out;
    out.status = answer.status;
    const auto said = decode_error(answer.text());
    const std::string raw = said ? said->message : std::string(answer.text().substr(0, message_text_limit));
    for (const char c : raw.substr(0, message_text_limit)) out.text += c >= ' ' && c != '\x7f' ? c : ' ';
    if (!said) return out;
    for (const auto& detail : said->details) {
        if (detail.name != "key_ID" || detail.value.size() != 38) continue;
        const auto id = uuid_from_text(std::string_view(detail.value).substr(1, 36));
        if (id) out.named.push_back(key_id{*id});
    }
    return out;
}

/// "Not enough key" comes as 503, 429, or as 400 with a text.
bool says_empty(const refusal& r) {
    if (r.status == 503 || r.status == 429) return true;
    return r.status == 400 &&
           contains_any(r.text, {"not enough", "insufficient", "no key", "exhausted", "not available"});
}

bool says_not_found(const refusal& r) {
    if (r.status == 404 || r.status == 403 || r.status == 410) return true;
    return r.status == 400 && contains_any(r.text, {"not found", "unknown key", "expired", "not exist", "no such key"});
}

class client_impl final : public etsi014_client {
  public:
    client_impl(asio::any_io_executor executor, etsi014_options options, std::shared_ptr<kme_pool> pool)
        : executor_(std::move(executor)), options_(std::move(options)), pool_(std::move(pool)) {
        base_ = fmt::format("/api/v1/keys/{}/", path_step(options_.peer_sae));
    }
    ~client_impl() override { pool_->close(); }
    void cancel() override { pool_->close(); }

    task<delivery_status> status(deadline until) override;
    task<keys> enc_keys(std::size_t count, std::size_t size, deadline until) override;
    task<keys> dec_keys(std::vector<key_id> ids, deadline until) override;
    etsi014_counters counters() const override { return pool_->counters(); }
    std::string current_url() const override { return pool_->current_url(); }

  private:
    /// One call's work, shared by the requests that it is split into.
    struct call {
        std::size_t left = 0;     // enc: keys not yet asked for
        std::size_t size = 0;     // enc: bytes of a key
        std::size_t batch = 1;    // keys of one request
        std::size_t got = 0;      // keys delivered so far
        std::vector<key_id> ids;  // dec: not yet asked for
        std::unordered_set<key_id> seen;
        std::optional<error> failed;
        std::optional<error> refused;  // dec: a refusal of a single key that is not just "not found"
    };
    enum class turn { go_on, again, wait, done };

    task<key_status> fetch_status(deadline until);
    task<delivery_status> limits(deadline until);
    task<keys> enc_worker(call& work, deadline until);
    result<turn> take_encrypted(call& work, std::size_t count, const kme_pool::reply& reply, keys& out);
    task<keys> dec_worker(call& work, deadline until);
    result<turn> take_decrypted(call& work, std::vector<key_id>& asked, const kme_pool::reply& reply, keys& out);
    static turn learn_missing(std::vector<key_id>& asked, const refusal& said);
    task<std::vector<keys>> in_parallel(call& work, std::size_t workers, bool encrypting, deadline until);
    error denied_by(const kme_pool::reply& reply, const refusal& said);
    error bad_answer(const kme_pool::reply& reply, const std::string& what);
    /// Waits before the KME is asked again; false: the deadline comes first, or the end.
    awaitable<bool> back_off(std::uint32_t& delay_ms, deadline until);

    asio::any_io_executor executor_;
    etsi014_options options_;
    std::shared_ptr<kme_pool> pool_;
    std::string base_;
    std::optional<delivery_status> limits_;
    deadline limits_until_{};
    std::size_t size_seen_ = 0;  // the largest key of the last dec_keys answer; 0: none yet
};

error client_impl::denied_by(const kme_pool::reply& reply, const refusal& said) {
    ++pool_->counters().refusals;
    return error(errc::denied, fmt::format("{} answers {}: {}", options_.urls[reply.kme], said.status, said.text));
}

error client_impl::bad_answer(const kme_pool::reply& reply, const std::string& what) {
    auto& counters = pool_->counters();
    ++counters.failures;
    ++counters.bad_answers;
    pool_->punish(reply.kme);
    return error(errc::bad_format, fmt::format("{}: {}", options_.urls[reply.kme], what));
}

awaitable<bool> client_impl::back_off(std::uint32_t& delay_ms, deadline until) {
    delay_ms = std::clamp(2 * delay_ms, retry_delay_min_ms, retry_delay_max_ms);
    const auto wake = deadline_in_ms(delay_ms);
    co_return co_await pool_->pause(std::min(wake, until)) && wake < until;
}

task<key_status> client_impl::fetch_status(deadline until) {
    std::uint32_t delay = 0;
    while (true) {
        https_request request;
        request.target = base_ + "status";
        CO_TRY(const auto reply, co_await pool_->ask(request, error_body_limit, until));
        if (reply.answer.status / 100 == 2) {
            auto read = decode_key_status(reply.answer.text());
            if (!read) co_return fail(bad_answer(reply, read.error().text));
            if (read->key_size_max / 8 == 0 || read->keys_per_request_max == 0 ||
                read->key_size_min > read->key_size_max)
                co_return fail(bad_answer(reply, "status: limits that allow no key"));
            co_return std::move(*read);
        }
        const auto said = read_refusal(reply.answer);
        if (!says_empty(said)) co_return fail(denied_by(reply, said));
        ++pool_->counters().empty;
        if (!co_await back_off(delay, until))
            co_return fail(errc::unreachable, fmt::format("the KME answers {}: {}", said.status, said.text));
    }
}

task<delivery_status> client_impl::status(deadline until) {
    CO_TRY(const auto said, co_await fetch_status(until));
    delivery_status out;
    out.source_kme = said.source_kme;
    out.target_kme = said.target_kme;
    out.key_size = said.key_size / 8;
    out.key_size_min = std::max<std::uint64_t>(1, divide_up(said.key_size_min, 8));
    out.key_size_max = std::min<std::uint64_t>(said.key_size_max / 8, key_size_limit);
    out.keys_stored = said.keys_stored;
    out.keys_stored_max = said.keys_stored_max;
    out.keys_per_request_max = std::min<std::uint64_t>(said.keys_per_request_max, key_count_limit);
    limits_ = out;
    limits_until_ = deadline_in_ms(status_age_max_ms);
    co_return out;
}

task<delivery_status> client_impl::limits(deadline until) {
    if (limits_ && steady_clock::now() < limits_until_) co_return *limits_;
    co_return co_await status(until);
}

task<keys> client_impl::enc_keys(std::size_t count, std::size_t size, deadline until) {
    if (count == 0 || size == 0) co_return fail(errc::bad_argument, "no key is asked for");
    CO_TRY(const auto limit, co_await limits(until));
    if (size < limit.key_size_min || size > limit.key_size_max) {
        co_return fail(errc::bad_argument, fmt::format("the KME delivers keys of {} to {} bytes, not of {}",
                                                       limit.key_size_min, limit.key_size_max, size));
    }
    call work;
    work.left = count;
    work.size = size;
    work.batch = std::clamp<std::size_t>(options_.request_size_max / size, 1, limit.keys_per_request_max);
    const std::size_t workers = std::min<std::size_t>(options_.connections_max, divide_up(count, work.batch));
    CO_TRY(auto parts, co_await in_parallel(work, workers, true, until));
    keys out;
    for (auto& part : parts) std::ranges::move(part, std::back_inserter(out));
    pool_->counters().keys_encrypted += out.size();
    if (out.empty()) co_return fail(work.failed.value_or(error(errc::no_key, "no key was delivered")));
    co_return out;
}

task<std::vector<keys>> client_impl::in_parallel(call& work, std::size_t workers, bool encrypting, deadline until) {
    fan_out<keys> running(executor_);
    for (std::size_t i = 0; i < workers; ++i)
        running.start(i, encrypting ? enc_worker(work, until) : dec_worker(work, until));
    co_await running.wait_all();  // each ends by the deadline, and they refer to `work`
    std::vector<keys> parts;
    for (auto& [index, part] : running.done())
        if (part) parts.push_back(std::move(*part));
    co_return parts;
}

/// Asks until nothing is left. What is delivered counts even if a later request fails.
task<keys> client_impl::enc_worker(call& work, deadline until) {
    keys out;
    std::uint32_t delay = 0;
    std::size_t step = work.batch;
    while (work.left > 0 && !work.failed) {
        const std::size_t count = std::min(step, work.left);
        work.left -= count;
        key_request body;
        body.number = count;
        body.size = work.size * 8;
        https_request request;
        request.post = true;
        request.target = base_ + "enc_keys";
        request.body = encode_key_request(body);
        const std::size_t answer_max = count * (base64_size(work.size) + key_overhead_limit) + error_body_limit;
        const auto reply = co_await pool_->ask(std::move(request), answer_max, until);
        if (!reply) {
            work.failed = reply.error();
            break;
        }
        const auto next = take_encrypted(work, count, *reply, out);
        if (!next) work.failed = next.error();
        if (!next || *next == turn::done) break;
        if (*next == turn::go_on) continue;
        // Not enough for so many: fewer at once, and when there is not even one, what has come must do.
        work.left += count;
        if (count > 1) {
            step = count / 2;
        } else if (work.got > 0) {
            work.left = 0;
        } else if (!co_await back_off(delay, until) && !work.failed) {
            work.failed = error(errc::no_key, fmt::format("the KME had no key for {} in time", options_.peer_sae));
        }
    }
    co_return out;
}

result<client_impl::turn> client_impl::take_encrypted(call& work, std::size_t count, const kme_pool::reply& reply,
                                                      keys& out) {
    if (reply.answer.status / 100 != 2) {
        const auto said = read_refusal(reply.answer);
        if (says_empty(said)) {
            ++pool_->counters().empty;
            return turn::wait;
        }
        limits_.reset();  // perhaps they have changed
        if (said.status != 400) return fail(denied_by(reply, said));
        ++pool_->counters().refusals;
        return fail(errc::bad_argument, fmt::format("the KME answers 400: {}", said.text));
    }
    auto container = decode_key_container(reply.answer.text(), count, work.size);
    if (!container) return fail(bad_answer(reply, container.error().text));
    if (container->keys.empty()) {
        ++pool_->counters().empty;
        return turn::wait;
    }
    if (!container->multicast.empty()) return fail(bad_answer(reply, "keys that others got as well"));
    for (const auto& key : container->keys) {
        if (key.bytes().size() != work.size)
            return fail(bad_answer(reply, fmt::format("a key of {} bytes, not {}", key.bytes().size(), work.size)));
        if (work.seen.contains(key.id())) return fail(bad_answer(reply, "a key_ID that was delivered before"));
    }
    for (const auto& key : container->keys) work.seen.insert(key.id());
    work.got += container->keys.size();
    std::ranges::move(container->keys, std::back_inserter(out));
    return turn::go_on;
}

task<keys> client_impl::dec_keys(std::vector<key_id> ids, deadline until) {
    if (ids.empty()) co_return fail(errc::bad_argument, "no key is asked for");
    call work;
    std::unordered_map<key_id, std::size_t> place;
    for (std::size_t i = 0; i < ids.size(); ++i)
        if (place.emplace(ids[i], i).second) work.ids.push_back(ids[i]);
    CO_TRY(const auto limit, co_await limits(until));
    // Keys of unknown size: as many as fit if they are as large as those that came last.
    const std::size_t size = size_seen_ > 0 ? size_seen_ : limit.key_size_max;
    work.size = limit.key_size_max;
    work.batch = std::clamp<std::size_t>(options_.request_size_max / size, 1, limit.keys_per_request_max);
    std::ranges::reverse(work.ids);  // taken from the back
    const std::size_t workers = std::min<std::size_t>(options_.connections_max, divide_up(ids.size(), work.batch));
    CO_TRY(auto parts, co_await in_parallel(work, workers, false, until));
    keys out;
    for (auto& part : parts) std::ranges::move(part, std::back_inserter(out));
    std::ranges::sort(out, {}, [&](const delivered_key& key) { return place.at(key.id()); });
    pool_->counters().keys_decrypted += out.size();
    pool_->counters().keys_missing += place.size() - out.size();
    if (!out.empty()) co_return out;
    if (work.failed) co_return fail(*work.failed);
    // Each single key was refused, and for some the reason is not that they are gone.
    if (work.refused) co_return fail(*work.refused);
    co_return out;
}

/// A request fails as a whole when one key is missing: it is halved until the missing ones stand alone.
task<keys> client_impl::dec_worker(call& work, deadline until) {
    keys out;
    std::uint32_t delay = 0;
    std::vector<std::vector<key_id>> pending;
    while (!work.failed) {
        if (pending.empty()) {
            if (work.ids.empty()) break;
            const auto count = static_cast<std::ptrdiff_t>(std::min(work.batch, work.ids.size()));
            pending.emplace_back(work.ids.end() - count, work.ids.end());
            std::ranges::reverse(pending.back());
            work.ids.erase(work.ids.end() - count, work.ids.end());
        }
        auto asked = std::move(pending.back());
        pending.pop_back();
        https_request request;
        request.post = true;
        request.target = base_ + "dec_keys";
        request.body = encode_key_ids(asked);
        const std::size_t largest = std::min(asked.size() * base64_size(work.size), base64_size(container_size_limit));
        const std::size_t answer_max = largest + asked.size() * key_overhead_limit + error_body_limit;
        const auto reply = co_await pool_->ask(std::move(request), answer_max, until);
        if (!reply) {
            work.failed = reply.error();
            break;
        }
        const auto next = take_decrypted(work, asked, *reply, out);
        if (!next) {
            work.failed = next.error();
            break;
        }
        if (*next == turn::done) continue;
        if (*next == turn::wait && !co_await back_off(delay, until) && !work.failed)
            work.failed = error(errc::unreachable, "the KME could not deliver the keys in time");
        const std::size_t half = *next == turn::go_on ? divide_up(asked.size(), 2) : asked.size();
        const auto middle = asked.begin() + static_cast<std::ptrdiff_t>(half);
        if (middle != asked.end()) pending.emplace_back(middle, asked.end());
        pending.emplace_back(asked.begin(), middle);
    }
    co_return out;
}

/// done: all of them are settled. What `asked` still holds must be asked again: go_on: in halves, again: as it is,
/// wait: later.
result<client_impl::turn> client_impl::take_decrypted(call& work, std::vector<key_id>& asked,
                                                      const kme_pool::reply& reply, keys& out) {
    if (reply.answer.status / 100 != 2) {
        const auto said = read_refusal(reply.answer);
        if (said.status == 401) return fail(denied_by(reply, said));
        if (says_empty(said) && !says_not_found(said)) {
            ++pool_->counters().empty;
            return turn::wait;
        }
        ++pool_->counters().refusals;
        if (asked.size() > 1) {
            return says_not_found(said) ? learn_missing(asked, said) : turn::go_on;
        }
        if (!says_not_found(said)) {
            work.refused = error(said.status == 400 ? errc::bad_argument : errc::denied,
                                 fmt::format("the KME answers {}: {}", said.status, said.text));
        }
        return turn::done;
    }
    auto container = decode_key_container(reply.answer.text(), asked.size(), work.size);
    if (!container) return fail(bad_answer(reply, container.error().text));
    const std::unordered_set<key_id> wanted(asked.begin(), asked.end());
    const std::unordered_set<key_id> multicast(container->multicast.begin(), container->multicast.end());
    for (const auto& key : container->keys)
        if (!wanted.contains(key.id())) return fail(bad_answer(reply, "a key that was not asked for"));
    std::size_t largest = 0;
    for (auto& key : container->keys) {
        largest = std::max(largest, key.bytes().size());
        if (!multicast.contains(key.id())) out.push_back(std::move(key));
    }
    if (largest > 0) size_seen_ = largest;
    work.got += container->keys.size();
    return turn::done;
}

/// Takes out of `asked` what the refusal names as missing, if it names any of them.
client_impl::turn client_impl::learn_missing(std::vector<key_id>& asked, const refusal& said) {
    const std::unordered_set<key_id> gone(said.named.begin(), said.named.end());
    const auto erased = std::erase_if(asked, [&](const key_id& id) { return gone.contains(id); });
    if (asked.empty()) return turn::done;
    return erased > 0 ? turn::again : turn::go_on;
}

}  // namespace

result<std::unique_ptr<etsi014_client>> etsi014_client::create(asio::any_io_executor executor,
                                                               etsi014_options options) {
    const auto wrong = [](std::string text) { return fail(errc::bad_argument, std::move(text)); };
    if (options.urls.empty() || options.urls.size() > url_count_limit)
        return wrong(fmt::format("1 to {} KME URLs are needed", url_count_limit));
    std::vector<https_url> urls;
    for (const auto& text : options.urls) {
        TRY(auto url, parse_https_url(text));
        urls.push_back(std::move(url));
    }
    for (const auto* id : {&options.own_sae, &options.peer_sae})
        if (id->empty() || id->size() > sae_id_limit) return wrong("an SAE ID has 1 to 256 bytes");
    if (options.own_sae == options.peer_sae) return wrong("both SAE IDs are the same");
    if (options.connections_max < 1 || options.connections_max > connections_limit)
        return wrong(fmt::format("1 to {} connections per KME", connections_limit));
    if (options.request_timeout_ms == 0) return wrong("a request needs some time");
    const tls_files files{options.ca_file, options.certificate_file, options.key_file};
    TRY(auto tls, make_tls_context(files, tls_side::client));
    auto pool = std::make_shared<kme_pool>(executor, std::move(tls), std::move(urls), options.connections_max,
                                           options.request_timeout_ms);
    return std::make_unique<client_impl>(std::move(executor), std::move(options), std::move(pool));
}

}  // namespace warifu
