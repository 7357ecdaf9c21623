#include "backends/remote/remote_link.h"

namespace warifu {
namespace {

constexpr unsigned skips_in_a_row_max = 16;

bool may_repeat(verb what) {
    return what != verb::reserve;  // a second reservation would count twice
}

}  // namespace

remote_link::remote_link(asio::any_io_executor executor, remote_store_options options)
    : executor_(executor),
      options_(std::move(options)),
      slots_(std::clamp(options_.connection_count, 1U, 2U)),
      up_(executor),
      attempted_(executor),
      settled_(executor),
      stopped_(executor) {}

void remote_link::start() {
    const auto run = [](std::shared_ptr<remote_link> self, std::size_t index) -> awaitable<void> {
        co_await self->maintain(index);
    };
    for (std::size_t i = 0; i < slots_.size(); ++i)
        asio::co_spawn(executor_, run(shared_from_this(), i), asio::detached);
}

bool remote_link::connected() const {
    return std::ranges::any_of(slots_, [](const slot& s) { return s.open && s.open->is_open(); });
}

error remote_link::why_not() const {
    if (stopping_) return error(errc::cancelled, "the store was stopped");
    const bool is_clear = last_error_.code == errc::no_key || last_error_.code == errc::denied ||
                          last_error_.code == errc::not_found || last_error_.code == errc::bad_version;
    const std::string text = options_.peer_site + " is not connected: " + last_error_.message();
    return error(is_clear ? last_error_.code : errc::unreachable, text);
}

bool remote_link::waits_for_key() const {
    if (!connected()) return !stopping_ && last_error_.code == errc::no_key;
    const auto starved = [](const slot& s) { return s.open && s.open->is_open() && s.open->is_starved(); };
    return std::ranges::any_of(slots_, starved);
}

void remote_link::report() {
    const bool now = connected();
    if (now) {
        up_.set();
    } else {
        up_.reset();
    }
    if (std::exchange(reported_, now) != now && observer) observer(now);
}

task<std::shared_ptr<connection>> remote_link::connect(std::size_t index) {
    const deadline until = deadline_in_ms(greeting_timeout_ms);
    const bool is_local = !options_.unix_path.empty();
    std::shared_ptr<stream> socket;
    if (is_local) {
        CO_TRY(socket, co_await connect_unix(options_.unix_path, until));
    } else {
        CO_TRY(socket, co_await connect_tcp(options_.host, options_.port, until));
    }
    initiator_options how;
    how.mode = is_local ? transport::plain : transport::otp;
    how.own_site = options_.own_site;
    how.peer_site = options_.peer_site;
    how.volume = options_.volume;
    how.process = options_.process;
    how.broker = is_local ? nullptr : options_.broker;
    CO_TRY(auto peer, co_await greet(socket, std::move(how), until));
    connection_options options;
    options.key_wait_ms = options_.key_wait;
    options.on_closed = [weak = weak_from_this(), index](const error& why) {
        if (const auto self = weak.lock()) self->lost(index, why);
    };
    co_return connection::start(socket, std::move(peer), std::move(options));
}

/// Connects one slot again and again.
awaitable<void> remote_link::maintain(std::size_t index) {
    std::uint32_t delay_ms = 0;
    unsigned skips = 0;
    while (!stopping_) {
        auto connected = co_await connect(index);
        attempted_.set();
        if (stopping_) {
            if (connected) (*connected)->abort(error(errc::cancelled));
            break;
        }
        if (connected) {
            ++counters_.connects;
            auto closed = std::make_shared<event>(executor_);
            slots_[index].open = *connected;
            slots_[index].closed = closed;
            connected->reset();
            settled_.set();
            report();
            delay_ms = skips = 0;
            co_await closed->wait();
            continue;
        }
        last_error_ = connected.error();
        ++counters_.connect_failures;
        // Both ends skipped to key that they share: at once again, but not for ever.
        if (last_error_.code == errc::conflict && ++skips <= skips_in_a_row_max) continue;
        settled_.set();
        report();
        delay_ms = std::clamp(delay_ms * 2, reconnect_delay_min_ms,
                              std::max(options_.reconnect_delay_max, reconnect_delay_min_ms));
        co_await stopped_.wait(deadline_in_ms(delay_ms));
    }
}

void remote_link::count_closed(const connection& c) {
    const auto counters = c.counters();
    counters_.pad_sent += counters.pad_sent;
    counters_.pad_received += counters.pad_received;
    counters_.verification_failures += counters.frames.forged + counters.frames.replayed + counters.frames.out_of_place;
}

void remote_link::lost(std::size_t index, const error& why) {
    last_error_ = why;
    if (why.code != errc::cancelled) ++counters_.connections_lost;
    const auto gone = std::exchange(slots_[index].open, nullptr);
    if (gone) count_closed(*gone);
    if (!connected()) settled_.reset();
    if (slots_[index].closed) slots_[index].closed->set();
    report();
}

remote_store_counters remote_link::counters() const {
    remote_store_counters out = counters_;
    for (const slot& s : slots_) {
        if (!s.open) continue;
        const auto counters = s.open->counters();
        out.pad_sent += counters.pad_sent;
        out.pad_received += counters.pad_received;
        out.pad_in_hand += counters.pad_in_hand;
    }
    return out;
}

/// Control requests take the first connection that is open, data the one with the fewest requests.
std::shared_ptr<connection> remote_link::pick(key_use use) const {
    std::shared_ptr<connection> best;
    for (const slot& s : slots_) {
        if (!s.open || !s.open->is_open()) continue;
        if (use == key_use::control) return s.open;
        if (!best || s.open->requests_in_flight() < best->requests_in_flight()) best = s.open;
    }
    return best;
}

task<answered> remote_link::call_once(verb what, message_body body, std::uint32_t answer_size_max, deadline until) {
    const auto c = pick(use_of(what, body.size()));
    if (!c) co_return fail(why_not());
    CO_TRY(auto message, co_await c->call(what, std::move(body), answer_size_max, until));
    answered out;
    out.message = std::move(message);
    out.process = c->peer_process();
    co_return out;
}

task<answered> remote_link::call(verb what, message_body body, std::size_t answer_size_max) {
    const auto self = shared_from_this();
    const deadline until = deadline_in_ms(options_.request_timeout);
    const auto answer_max = static_cast<std::uint32_t>(std::min(answer_size_max, response_size_max));
    if (stopping_) co_return fail(why_not());
    if (!connected() && !attempted_.is_set()) co_await attempted_.wait(until);
    if (!connected()) co_return fail(why_not());
    ++counters_.requests;
    auto answer = co_await call_once(what, body, answer_max, until);
    if (answer || answer.error().code != errc::unreachable || !may_repeat(what)) co_return answer;
    // Only what was on its way when the connection broke waits for the next one; everybody else fails fast.
    co_await settled_.wait(std::min(until, deadline_in_ms(reconnect_delay_max_ms)));
    if (stopping_ || !connected()) co_return answer;
    ++counters_.repeats;
    co_return co_await call_once(what, std::move(body), answer_max, until);
}

awaitable<bool> remote_link::wait_connected(deadline until) {
    const auto self = shared_from_this();
    while (!connected()) {
        if (stopping_ || !co_await up_.wait(until)) co_return false;
    }
    co_return true;
}

awaitable<void> remote_link::stop(deadline until) {
    const auto self = shared_from_this();
    stopping_ = true;
    stopped_.set();
    for (std::size_t i = 0; i < slots_.size(); ++i)
        if (const auto c = slots_[i].open) co_await c->close(until);
    report();
}

void remote_link::cut() {
    observer = nullptr;
    stopping_ = true;
    stopped_.set();
    for (slot& s : slots_)
        if (const auto c = s.open) c->abort(error(errc::unreachable, "the store was destroyed"));
}

}  // namespace warifu
