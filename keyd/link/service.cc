// Sessions: calling, answering, and who hears which message.
#include "keyd/link/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "fs/base/assert.h"

namespace warifu {

using namespace link_protocol;

link_service::link_service(asio::any_io_executor core, link_options options, std::shared_ptr<key_delivery> kme,
                           link_host& host)
    : core_(core),
      options_(std::move(options)),
      kme_(std::move(kme)),
      host_(host),
      store_(options_.directory, options_.own, options_.peer),
      offers_(options_.offer_interval_ms),
      demand_(options_.stock_target),
      sizer_(std::clamp(options_.block_size_max / 4096 * 4096, block_size_least, link_block_size_max)),
      storing_(core),
      stop_wanted_(core),
      ended_(core),
      room_(core),
      backoff_ms_(options_.backoff_min_ms) {}

result<std::shared_ptr<link_service>> link_service::start(asio::any_io_executor core, link_options options,
                                                          std::shared_ptr<key_delivery> kme, link_host& host) {
    std::shared_ptr<link_service> out(new link_service(std::move(core), std::move(options), std::move(kme), host));
    const auto opened = out->store_.open();
    if (!opened) {
        if (opened.error().code != errc::not_found) return fail(opened.error());
        out->last_error_ = opened.error().text;
    }
    TRY(out->paths_, path_records::open(out->options_.directory + "/" + out->options_.peer + ".paths"));
    out->witness_ = link_witness::open(out->options_.directory + "/" + out->options_.peer + ".witness");
    if (!out->witness_.last_error().empty()) spdlog::warn("link: {}", out->witness_.last_error());
    if (out->end() == link_end::caller) out->spawn(out->call_loop());
    return out;
}

void link_service::spawn(awaitable<void> work) {
    ++running_;
    asio::co_spawn(core_, std::move(work), [self = shared_from_this()](std::exception_ptr thrown) {
        if (thrown) std::rethrow_exception(thrown);
        if (--self->running_ == 0) self->ended_.set();
    });
}

void link_service::begin_stop() {
    stopping_ = true;
    stop_wanted_.set();
    kme_->cancel();
    if (session_) session_->close();
}

awaitable<bool> link_service::stop(deadline until) {
    const auto self = shared_from_this();
    begin_stop();
    while (running_ != 0) {
        ended_.reset();
        if (!co_await ended_.wait(until)) break;
    }
    co_return running_ == 0;
}

void link_service::report(const error& e) {
    if (e.message() != last_error_) spdlog::warn("link {} - {}: {}", options_.own, options_.peer, e.message());
    last_error_ = e.message();
}

awaitable<void> link_service::pause(std::uint32_t ms) {
    co_await stop_wanted_.wait(deadline_in_ms(ms));
}

pad_ends link_service::ends() const {
    return pad_ends{std::max(next_offset_, host_.level(outbound()).end), host_.level(inbound()).end};
}

awaitable<void> link_service::call_loop() {
    while (!stopping_) {
        const auto begun = steady_clock::now();
        const auto before = blocks_joined();
        auto session = co_await greet();
        if (session) {
            co_await serve(*session);
        } else {
            ++count_.sessions_failed;
            report(session.error());
        }
        // A greeting alone is no success: it costs a hello slot, and a block is what brings others.
        const bool good = session && (blocks_joined() != before ||
                                      steady_clock::now() - begun > std::chrono::milliseconds(link_session_good_ms));
        if (good) backoff_ms_ = options_.backoff_min_ms;
        if (!stopping_) co_await pause(backoff_ms_);
        const bool few = store_.state().hello_count() < control_hello_slots_target / 2;
        const std::uint32_t most = session && few ? link_session_backoff_max_ms : link_backoff_max_ms;
        if (!good) backoff_ms_ = std::min(backoff_ms_ * 2, std::max(most, options_.backoff_min_ms));
    }
}

task<link_service::session_ptr> link_service::greet() {
    CO_TRY_VOID(store_.take_enrolment());
    if (!store_.is_enrolled()) CO_TRY_VOID(store_.open());  // also after a save that failed
    CO_TRY(auto pipe, co_await options_.connect(deadline_in_ms(link_hello_timeout_ms)));
    auto session = co_await link_session::call(pipe, store_, ends());
    if (session) co_return session_ptr(std::move(*session));
    pipe->close();
    if (session.error().code == errc::io_error) CO_TRY_VOID(store_.open());
    co_return fail(session.error());
}

awaitable<void> link_service::adopt(std::shared_ptr<link_pipe> pipe, link_session::received_call from) {
    const auto self = shared_from_this();
    WARIFU_ASSERT(end() == link_end::listener);
    if (stopping_) co_return pipe->close();
    const auto enrolled = store_.take_enrolment();
    if (!enrolled) report(enrolled.error());
    if (enrolled && *enrolled) {
        // A session that runs has its lanes and its rounds from the control pad that has just gone.
        offers_.forget();
        if (!co_await end_session()) co_return pipe->close();
    }
    auto session = co_await link_session::answer(pipe, store_, offers_, std::move(from), ends());
    if (!session) {
        ++count_.greetings_refused;
        report(session.error());
        pipe->close();
        if (session.error().code == errc::io_error && !store_.open()) spdlog::error("{} is lost", store_.path());
        co_return;
    }
    session_ptr fresh = std::move(*session);
    if (co_await end_session()) spawn(serve(fresh));
    else fresh->close();
}

/// False: it does not end in time, or the service does.
awaitable<bool> link_service::end_session() {
    if (session_) session_->close();
    const auto until = deadline_in_ms(link_hello_timeout_ms);
    while (session_ && !stopping_ && steady_clock::now() < until) {
        ended_.reset();
        co_await ended_.wait(deadline_in_ms(options_.pause_ms));
    }
    co_return session_ == nullptr && !stopping_;
}

awaitable<void> link_service::serve(session_ptr session) {
    if (session_) co_return session->close();  // another call was answered at the same moment
    session_ = session;
    ++count_.sessions;
    last_error_.clear();
    told_gone_.reset();
    peer_state_ = {};
    peer_state_.inbound_end = session->peer_facts().inbound_end;
    next_offset_ = std::max({ends().outbound, session->peer_facts().inbound_end, next_offset_});
    next_slot_ = store_.state().next;
    spdlog::info("link {} - {}: connected", options_.own, options_.peer);
    spawn(master_loop(session));
    spawn(tell_state(session));
    while (session->is_open() && !stopping_) {
        auto in = co_await session->receive();
        const auto done = in ? dispatch(session, std::move(*in)) : result<void>(fail(in.error()));
        if (done) continue;
        if (done.error().code != errc::unreachable) ++count_.protocol_errors;
        if (!stopping_) report(done.error());
        break;
    }
    session->close();
    for (const auto& [number, round] : master_rounds_) {
        round->changed.set();
        round->outcome.set(fail(errc::unreachable, "a block was lost with its session"));
    }
    master_rounds_.clear();
    peer_rounds_.clear();
    room_.set();
    // A failed save is read back before the next greeting.
    const auto again = store_.open();
    if (!again) report(again.error());
    session_.reset();
    ended_.set();
}

/// With the key gone, or the fibre, nothing brings control pad and every message still takes some: what is left is
/// stretched to last for days.
std::uint32_t link_service::state_interval_ms() const {
    const std::size_t work = store_.state().work_count();
    if (work > control_work_slots_target / 2) return options_.state_interval_ms;
    return options_.state_interval_ms *
           (work > control_work_slots_target / 8 ? link_state_stretch_few : link_state_stretch_last);
}

awaitable<void> link_service::tell_state(session_ptr session) {
    std::optional<deadline> told;
    state last;
    while (session->is_open() && !stopping_) {
        const auto now = steady_clock::now();
        demand_.observe(now, host_.level(outbound()));
        state mine;
        mine.weight = demand_.weight();
        mine.available = host_.level(outbound()).available;
        mine.inbound_end = ends().inbound;
        mine.mark = host_.mark();
        if (!witness_.ledgers().empty()) {
            mine.witnessed = witness_.last();
            mine.witnessed_run = witness_.ledgers().back().run;
            mine.witnessed_before = witness_.before(mine.witnessed);
        }
        const bool changed = (mine.weight == 0) != (last.weight == 0) || mine.weight > last.weight + last.weight / 2 ||
                             mine.weight < last.weight / 2;
        const auto interval = state_interval_ms();
        const bool due = !told || now - *told >= std::chrono::milliseconds(interval);
        if (due || (changed && interval == options_.state_interval_ms) || tell_now_) {
            tell_now_ = false;
            const auto sent = co_await session->send(mine, deadline_in_ms(options_.answer_timeout_ms));
            if (!sent) co_return report(sent.error());
            last = mine;
            told = now;
        }
        settle_gone();
        const auto sent = co_await tell_gone(session);
        if (!sent) co_return report(sent.error());
        for (int i = 0; i < 10 && session->is_open() && !stopping_ && !tell_now_; ++i)
            co_await pause(options_.pause_ms);
    }
}

result<void> link_service::dispatch(const session_ptr& session, link_session::received in) {
    if (const auto* m = std::get_if<offer>(&in.message)) return on_offer(session, *m);
    if (const auto* m = std::get_if<have>(&in.message)) return on_have(*m);
    if (const auto* m = std::get_if<block>(&in.message)) return on_block(session, *m, in.key);
    if (const auto* m = std::get_if<stored>(&in.message)) return on_stored(session, *m, in.key);
    if (const auto* m = std::get_if<refused>(&in.message)) {
        on_refused(*m);
        return {};
    }
    if (const auto* m = std::get_if<abandon>(&in.message)) {
        peer_rounds_.erase(m->round);
        return {};
    }
    if (const auto* m = std::get_if<state>(&in.message)) {
        on_state(*m);
        return {};
    }
    if (auto* m = std::get_if<gone>(&in.message)) {
        on_gone(std::move(*m));
        return {};
    }
    return fail(errc::bad_format, "a message out of place");
}

void link_service::on_state(const state& m) {
    const bool new_run = m.mark.run != peer_state_.mark.run;
    peer_state_ = m;
    next_offset_ = std::max(next_offset_, m.inbound_end);
    const auto remembered = witness_.heard(m.mark, steady_clock::now());
    if (!remembered) report(remembered.error());
    tell_now_ = tell_now_ || new_run;
    const auto own = host_.mark();
    if (m.witnessed == own.id && m.witnessed_run == own.run) host_.witnessed(options_.peer, m.witnessed_before);
}

/// The sender's end chooses, so what the receiver's lacks or has spent is of no use to it from now on. The receiver
/// waits a while: a window that the sender has used up already may be on its way to be claimed here.
void link_service::on_gone(gone m) {
    if (!m.inbound.empty()) host_.give_up(outbound(), m.inbound);
    settle_gone();
    if (!inbound_gone_.empty() || m.outbound.empty()) return;
    inbound_gone_ = std::move(m.outbound);
    inbound_gone_at_ = steady_clock::now();
}

void link_service::settle_gone() {
    if (inbound_gone_.empty()) return;
    if (steady_clock::now() - inbound_gone_at_ < std::chrono::milliseconds(options_.gone_settle_ms)) return;
    host_.give_up(inbound(), std::exchange(inbound_gone_, {}));
}

/// Once the peer has told what it remembers of this end's ledger, which may turn out to be an older copy.
task<> link_service::tell_gone(const session_ptr& session) {
    const auto own = host_.mark();
    if (peer_state_.witnessed != own.id || peer_state_.witnessed_run != own.run) co_return result<void>{};
    const auto now = steady_clock::now();
    const bool often = state_interval_ms() == options_.state_interval_ms;
    const bool due =
        !told_gone_ || (often && now - *told_gone_ >= std::chrono::milliseconds(options_.gone_interval_ms));
    if (!due) co_return result<void>{};
    told_gone_ = now;
    gone mine;
    mine.outbound = host_.gone(outbound(), session->peer_facts().inbound_end);
    mine.inbound = host_.gone(inbound(), session->peer_facts().outbound_end);
    if (mine.outbound.empty() && mine.inbound.empty()) co_return result<void>{};
    co_return co_await session->send(std::move(mine), deadline_in_ms(options_.answer_timeout_ms));
}

link_service::assembled link_service::assemble(std::map<std::uint32_t, std::vector<delivered_key>>& batches,
                                               const round_split& split) {
    assembled out;
    out.control = buffer(static_cast<std::size_t>(split.control_size()));
    buffer pad(static_cast<std::size_t>(split.pad));
    const std::uint64_t total = split.control_size() + split.pad;
    std::uint64_t done = 0;
    for (auto& [number, keys] : batches) {
        for (auto& key : keys) {
            bytes_view rest = key.bytes();
            while (!rest.empty() && done < total) {
                const bool in_control = done < split.control_size();
                const bytes_span to = in_control
                                          ? out.control.span().subspan(static_cast<std::size_t>(done))
                                          : pad.span().subspan(static_cast<std::size_t>(done - split.control_size()));
                const std::size_t step = std::min(to.size(), rest.size());
                std::memcpy(to.data(), rest.data(), step);
                rest = rest.subspan(step);
                done += step;
            }
        }
        keys.clear();  // wiped
    }
    WARIFU_ASSERT(done == total);
    out.pad = slice(std::move(pad));
    return out;
}

nlohmann::json link_service::status() const {
    const bool asked = kme_status_.has_value();
    return {{"peer", options_.peer},
            {"connected", is_connected()},
            {"enrolled", store_.is_enrolled()},
            {"role", end() == link_end::caller ? "caller" : "listener"},
            {"claim", to_string(options_.strength)},
            {"stock_target", options_.stock_target},
            {"filling", demand_.wants()},
            {"use_rate", demand_.use_rate()},
            {"block_size", sizer_.size()},
            {"control_slots", {{"hello", store_.state().hello_count()}, {"work", store_.state().work_count()}}},
            {"kme", asked ? kme_status_->source_kme : ""},
            {"kme_keys_stored", asked ? kme_status_->keys_stored : 0},
            {"blocks_out", count_.blocks_out},
            {"blocks_in", count_.blocks_in},
            {"bytes_out", count_.bytes_out},
            {"bytes_in", count_.bytes_in},
            {"keys_out", count_.keys_out},
            {"keys_in", count_.keys_in},
            {"keys_lost", count_.keys_lost},
            {"sessions", count_.sessions},
            {"relays", paths_.nodes()},
            {"failures",
             {{"blocks_different", count_.blocks_different},
              {"blocks_refused", count_.blocks_refused},
              {"sessions_failed", count_.sessions_failed},
              {"greetings_refused", count_.greetings_refused},
              {"protocol_errors", count_.protocol_errors},
              {"kme_errors", count_.kme_errors},
              {"kme_short", count_.kme_short}}},
            {"last_error", last_error_}};
}

}  // namespace warifu
