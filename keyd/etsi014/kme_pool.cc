#include "keyd/etsi014/kme_pool.h"

#include <algorithm>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "keyd/etsi014/limits.h"

namespace warifu::etsi014 {

class kme_pool::place {
  public:
    explicit place(kme& of) : of_(&of) { ++of_->in_use; }
    place(const place&) = delete;
    place& operator=(const place&) = delete;
    ~place() {
        --of_->in_use;
        of_->freed.set();
    }

  private:
    kme* of_;
};

kme_pool::kme_pool(asio::any_io_executor executor, std::shared_ptr<ssl::context> tls, std::vector<https_url> urls,
                   unsigned connections_max, std::uint32_t request_timeout_ms)
    : executor_(std::move(executor)),
      tls_(std::move(tls)),
      connections_max_(connections_max),
      request_timeout_ms_(request_timeout_ms),
      close_wanted_(executor_) {
    for (auto& url : urls) kmes_.emplace_back(std::move(url), executor_);
}

/// Those that work, in the configuration's order; then the others, the one whose penalty ends first in front.
std::vector<std::size_t> kme_pool::order() const {
    std::vector<std::size_t> all(kmes_.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    const auto rank = [this](std::size_t i) {
        return std::pair(kmes_[i].penalty_ms == 0 ? deadline::min() : kmes_[i].penalty_until, i);
    };
    std::ranges::sort(all, {}, rank);
    return all;
}

/// A KME that failed is not asked before its penalty is over.
awaitable<void> kme_pool::await_turn(std::size_t index, deadline until) {
    const deadline allowed = std::min(kmes_[index].penalty_until, until);
    if (kmes_[index].penalty_ms > 0 && allowed > steady_clock::now()) co_await pause(allowed);
}

awaitable<bool> kme_pool::pause(deadline until) {
    co_await close_wanted_.wait(until);
    co_return !closed_;
}

task<kme_pool::reply> kme_pool::ask(https_request request, std::size_t body_max, deadline until) {
    result<reply> best = fail(errc::timed_out, "the deadline passed before a KME was asked");
    bool waited = false;
    if (closed_) co_return fail(errc::cancelled, "no KME is asked any more");
    for (const std::size_t index : order()) {
        // Only the first is worth waiting for: if it is under a penalty, all are.
        if (kmes_[index].penalty_ms > 0 && steady_clock::now() < kmes_[index].penalty_until) {
            if (waited || best) continue;
            waited = true;
            co_await await_turn(index, until);
        }
        if (closed_ || steady_clock::now() >= until) break;
        if (index != 0) ++counters_.failovers;
        const deadline own = std::min(until, deadline_in_ms(request_timeout_ms_));
        auto answer = co_await ask_one(index, request, body_max, own);
        auto judged = judge(index, std::move(answer));
        const bool final = judged && judged->answer.status != 503 && judged->answer.status != 429;
        if (judged || !best) best = std::move(judged);
        if (final) break;
    }
    co_return best;
}

/// Turns answers that say nothing but that the KME is no good into errors, and remembers who works.
result<kme_pool::reply> kme_pool::judge(std::size_t index, result<https_answer> answer) {
    const std::string who = kmes_[index].url.text();
    if (!answer) {
        ++counters_.failures;
        punish(index);
        return fail(std::move(answer).error());
    }
    const unsigned status = answer->status;
    if (status >= 300 && status < 400) {
        ++counters_.failures;
        punish(index);
        return fail(errc::bad_format, fmt::format("{}: redirects ({}), which is refused", who, status));
    }
    if (status < 200 || (status >= 500 && status != 503)) {
        ++counters_.failures;
        punish(index);
        return fail(errc::unreachable, fmt::format("{}: HTTP status {}", who, status));
    }
    worked(index);
    reply out;
    out.answer = std::move(*answer);
    out.kme = index;
    return out;
}

task<https_answer> kme_pool::ask_one(std::size_t index, https_request request, std::size_t body_max, deadline until) {
    kme& one = kmes_[index];
    while (one.in_use >= connections_max_) {
        one.freed.reset();
        if (!co_await one.freed.wait(until))
            co_return fail(errc::timed_out, fmt::format("{}: no connection became free in time", one.url.text()));
        if (closed_) co_return fail(errc::cancelled, "no KME is asked any more");
    }
    const place counted(one);
    while (!one.idle.empty() && !closed_) {
        auto connection = std::move(one.idle.front());
        one.idle.pop_front();
        if (!connection->reusable()) continue;
        ++counters_.requests;
        auto answer = co_await exchange(*connection, request, body_max, until);
        if (answer && connection->reusable() && !closed_) one.idle.push_front(std::move(connection));
        // A connection may be closed while idle just as it is used again: then a fresh one is worth a try.
        const bool stale = !answer && answer.error().code == errc::unreachable && !connection->answer_begun();
        if (!stale || closed_ || steady_clock::now() >= until) co_return answer;
    }
    CO_TRY(auto connection, co_await connect(index, until));
    if (closed_) co_return fail(errc::cancelled, "no KME is asked any more");
    ++counters_.requests;
    auto answer = co_await exchange(*connection, std::move(request), body_max, until);
    if (answer && connection->reusable() && !closed_) one.idle.push_front(std::move(connection));
    co_return answer;
}

task<https_answer> kme_pool::exchange(https_connection& on, https_request request, std::size_t body_max,
                                      deadline until) {
    busy_.insert(&on);
    auto answer = co_await on.exchange(std::move(request), body_max, until);
    busy_.erase(&on);
    co_return answer;
}

task<std::unique_ptr<https_connection>> kme_pool::connect(std::size_t index, deadline until) {
    const deadline own = std::min(until, deadline_in_ms(connect_timeout_ms));
    auto connection = co_await https_connection::open(executor_, tls_, kmes_[index].url, own);
    if (connection) ++counters_.connections_made;
    co_return connection;
}

void kme_pool::punish(std::size_t index) {
    kme& one = kmes_[index];
    one.idle.clear();
    one.penalty_ms = std::clamp(2 * one.penalty_ms, penalty_min_ms, penalty_max_ms);
    one.penalty_until = deadline_in_ms(one.penalty_ms);
}

void kme_pool::worked(std::size_t index) {
    kmes_[index].penalty_ms = 0;
    if (current_ != index && kmes_.size() > 1) spdlog::info("KME {} answers", kmes_[index].url.text());
    current_ = index;
    probe_better(index);
}

/// The way back: a KME that stands before the one in use is tried in the background when its penalty is over.
void kme_pool::probe_better(std::size_t than) {
    for (std::size_t i = 0; i < than; ++i) {
        kme& one = kmes_[i];
        if (one.penalty_ms == 0 || one.probing || steady_clock::now() < one.penalty_until) continue;
        one.probing = true;
        asio::co_spawn(executor_, probe(shared_from_this(), i), asio::detached);
    }
}

awaitable<void> kme_pool::probe(std::shared_ptr<kme_pool> self, std::size_t index) {
    kme& one = self->kmes_[index];
    auto connection = co_await self->connect(index, deadline_in_ms(connect_timeout_ms));
    one.probing = false;
    if (self->closed_) co_return;
    if (!connection) {
        self->punish(index);
        co_return;
    }
    one.penalty_ms = 0;
    if (one.idle.size() < self->connections_max_) one.idle.push_back(std::move(*connection));
}

void kme_pool::close() {
    closed_ = true;
    close_wanted_.set();
    for (auto* one : busy_) one->abort();
    for (auto& one : kmes_) {
        one.idle.clear();
        one.freed.set();
    }
}

}  // namespace warifu::etsi014
