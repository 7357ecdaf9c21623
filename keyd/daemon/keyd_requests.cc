// What each request does. Handlers run on the core thread; only hand_over and take_random leave it, to copy bytes.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "fs/base/limits.h"
#include "keyd/daemon/keyd.h"
#include "keyd/lent_memory.h"

namespace warifu {

using namespace keyd_protocol;

void keyd::wake_waiters() {
    for (const auto& [stream, waiting] : waiting_)
        for (const auto& one : waiting.queue.waiting()) waiting.wakers.at(one.id)->set();
}

std::size_t keyd::waiting_claim_count() const {
    std::size_t count = 0;
    for (const auto& [stream, waiting] : waiting_) count += waiting.queue.size();
    return count;
}

/// Attempts until it works, the time is over or the consumer is gone. Who waits attempts in the order of claim_queue; a
/// claim that finds nothing for itself does not hold up those behind it.
template <typename Attempt>
auto keyd::with_key(client_ptr from, stream_name stream, key_use use, std::uint32_t wait_ms, Attempt attempt)
    -> awaitable<decltype(attempt())> {
    using outcome = decltype(attempt());
    const auto until = deadline_in_ms(wait_ms);
    if (waiting_.size() > 2 * pad_stream_count_max)  // names that no stream has
        std::erase_if(waiting_, [](const auto& entry) { return entry.second.queue.empty(); });
    auto& waiting = waiting_[stream];
    if (!waiting.queue.must_wait(from->number, use)) {
        outcome first = attempt();
        if (first || first.error().code != errc::no_key || wait_ms == 0) co_return first;
    }
    if (waiting_claim_count() >= keyd_waiting_claims_max)
        co_return outcome(fail(errc::busy, "too many claims wait for key"));
    const auto place = waiting.queue.enter(from->number, use);
    const auto ready = std::make_shared<event>(core_);
    waiting.wakers.emplace(place->id, ready);
    outcome last = fail(errc::no_key, "no key came within the time-out");
    for (;;) {
        const bool woken = co_await ready->wait(until);
        ready->reset();
        if (from->closed || stopping_) {
            last = fail(errc::cancelled, "the consumer is gone");
            break;
        }
        last = attempt();
        if (last || last.error().code != errc::no_key) break;
        if (!woken) {
            ++count_.claims_timed_out;
            last = fail(errc::no_key, "no key came within the time-out: " + last.error().text);
            break;
        }
    }
    waiting.wakers.erase(place->id);
    waiting.queue.leave(place);
    co_return last;
}

std::optional<std::uint64_t> keyd::key_rate(const stream_name& stream) {
    std::optional<std::uint64_t> sum;
    if (links_) {
        for (const auto& service : links_->services()) {
            if (service->options().own != stream.sender || service->options().peer != stream.receiver) continue;
            auto& known = flows_[stream];
            const auto short_answers = service->counters().kme_short;
            if (std::exchange(known.short_answers, short_answers) != short_answers)
                known.service.ran_short(steady_clock::now());
            sum = static_cast<std::uint64_t>(known.service.per_second());
        }
    }
    for (const auto& source : sources_)
        if (const auto rate = source->key_rate(stream)) sum = sum.value_or(0) + *rate;
    return sum;
}

void keyd::take(const stream_name& stream, const held_window& window) {
    held_bytes_ += window.range.size;
    budgets_[stream].took(window.session, window.range.size);
}

void keyd::give_back(const stream_name& stream, const held_window& window) {
    held_bytes_ -= window.range.size;
    budgets_[stream].gave_back(window.session, window.range.size);
    erase_wanted_.set();
}

void keyd::burn(const stream_name& stream, const held_window& window) {
    const auto burnt = pool_->burn(stream, window.range);
    if (!burnt) spdlog::error("keyd {}: {}", options_.site, burnt.error().message());
    give_back(stream, window);
}

/// Copies pad bytes into memory that a consumer lent, beside the flush of their marks. Both are done when this returns.
awaitable<result<void>> keyd::fill(client_ptr from, unique_fd lent, std::vector<handover_piece> pieces) {
    auto work = [this, number = from->number, lent = std::move(lent), pieces = std::move(pieces)] {
        return handover_.fill(number, lent.get(), pieces);
    };
    const auto arrival = start_in(copier_, core_, std::move(work));
    // Behind the claims that have come by now: the first flush serves them all, the others find nothing to do.
    co_await asio::post(core_, asio::use_awaitable);
    const auto durable = pool_->flush();
    const auto filled = co_await arrival->take();
    if (from->closed) forget_memory(*from);
    if (!*filled) read_failed(filled->error());
    co_return durable ? *filled : durable;
}

void keyd::forget_memory(const client& from) {
    asio::post(copier_, [this, number = from.number] { handover_.forget(number); });
}

void keyd::read_failed(const error& why) {
    ++count_.reads_failed;
    spdlog::error("keyd {}: {}", options_.site, why.message());
}

/// Copies a window that is marked. It belongs to the consumer once the copy is complete and the mark durable.
awaitable<keyd::answer> keyd::hand_over(client_ptr from, stream_name stream, held_window window, unique_fd lent) {
    const pad_range range = window.range;
    take(stream, window);
    const auto place = pool_->place_of(stream, range);
    result<void> copied = fail(errc::not_found);
    if (place) {
        std::vector<handover_piece> pieces{handover_piece{*place, range.size}};
        copied = co_await fill(from, std::move(lent), std::move(pieces));
    } else {
        copied = fail(place.error());
        read_failed(place.error());
    }
    if (!copied || from->closed) {
        burn(stream, window);
        co_return failure(copied ? error(errc::cancelled) : copied.error());
    }
    from->windows.emplace(window_place(std::move(stream), range.offset), window);
    co_return keyd_protocol::window{range};
}

awaitable<keyd::answer> keyd::on(client_ptr, greet) {
    co_return greeted{options_.site, pool_->strength()};
}

namespace {

std::unexpected<error> witness_missing() {
    return fail(errc::no_key, "after the start the peers' memory of this ledger is waited for");
}

}  // namespace

result<pad_range> keyd::claim(const client_ptr& from, const claim_send& m) {
    if (waits_for_witnesses()) return witness_missing();
    if (held_bytes_ + m.size_min > keyd_window_bytes_max) return fail(errc::no_key, "too many windows are out");
    std::uint64_t want = std::min(m.size_want, keyd_window_bytes_max - held_bytes_);
    const auto known = budgets_.find(m.stream);
    window_budget untouched;
    if (m.use != key_use::control) {
        auto& budget = known == budgets_.end() ? untouched : known->second;
        budget.set_rate(key_rate(m.stream));
        want = budget.grant(m.session, m.size_min, want, steady_clock::now());
        if (want == 0) return fail(errc::no_key, "as much is out as a crash may burn");
    }
    const auto own = from->reserved.find(m.stream);
    const pad_promises promised{own == from->reserved.end() ? 0 : own->second.size,
                                reserved_by_others(from.get(), m.stream)};
    TRY(const auto range, pool_->claim_send(m.stream, m.session, m.size_min, want, m.use, promised));
    if (m.use != key_use::control) budgets_[m.stream].granted(m.session, range.size, steady_clock::now());
    if (own != from->reserved.end()) own->second.size -= std::min(own->second.size, range.size);
    waiting_[m.stream].queue.served(from->number, m.use, range.size, from->weight);
    flows_[m.stream].out.add(static_cast<double>(range.size), steady_clock::now());
    return range;
}

awaitable<keyd::answer> keyd::on(client_ptr from, claim_send m, unique_fd lent) {
    auto attempt = [this, from, m] { return claim(from, m); };
    if (m.size_want > pad_window_size_max || m.size_min > m.size_want || m.size_min == 0)
        co_return failure(error(errc::bad_argument, "the window's sizes make no sense"));
    if (const auto usable = check_lent_memory(lent.get(), m.size_want); !usable) co_return failure(usable.error());
    const auto range = co_await with_key(from, m.stream, m.use, m.wait_ms, attempt);
    if (!range) co_return failure(range.error());
    if (from->closed) {  // nothing left keyd: the window was never used
        const auto back = pool_->release(m.stream, *range, range->offset);
        co_return failure(back ? error(errc::cancelled) : back.error());
    }
    const held_window granted{*range, m.session};
    co_return co_await hand_over(std::move(from), std::move(m.stream), granted, std::move(lent));
}

awaitable<keyd::answer> keyd::on(client_ptr from, claim_receive m, unique_fd lent) {
    if (const auto usable = check_lent_memory(lent.get(), m.range.size); !usable) co_return failure(usable.error());
    if (held_bytes_ + m.range.size > keyd_window_bytes_max && m.range.size <= pad_window_size_max)
        co_return failure(error(errc::busy, "too many windows are out"));
    const auto claimed = pool_->claim_receive(m.stream, m.session, m.range);
    erase_wanted_.set();  // a refused window, or rests of old blocks, may have been burnt
    if (!claimed) co_return failure(claimed.error());
    const held_window granted{m.range, m.session};
    flows_[m.stream].out.add(static_cast<double>(m.range.size), steady_clock::now());
    co_return co_await hand_over(std::move(from), std::move(m.stream), granted, std::move(lent));
}

awaitable<keyd::answer> keyd::on(client_ptr, skip_to m) {
    const std::uint64_t before = pool_->available(m.stream);
    const auto skipped = pool_->skip_to(m.stream, m.offset);
    if (m.stream.sender == options_.site) count_.skipped_bytes += before - pool_->available(m.stream);
    erase_wanted_.set();
    if (!skipped) co_return failure(skipped.error());
    co_return done{};
}

awaitable<keyd::answer> keyd::on(client_ptr, next_free m) {
    const auto free = pool_->next_free(m.stream, m.from);
    if (!free) co_return failure(free.error());
    co_return offset{*free};
}

awaitable<keyd::answer> keyd::on(client_ptr from, take_hello m) {
    auto attempt = [this, m]() -> result<hello_slot> {
        if (waits_for_witnesses()) return witness_missing();
        return pool_->take_hello_slot(m.stream);
    };
    // A queue of its own: who waits for a hello slot must not hold up who wants data. (No site's name has a blank.)
    const stream_name queue{m.stream.sender, m.stream.receiver + " hello"};
    const auto slot = co_await with_key(std::move(from), queue, key_use::control, m.wait_ms, attempt);
    erase_wanted_.set();
    if (!slot) co_return failure(slot.error());
    co_return hello{slot->offset, slot->key};
}

awaitable<keyd::answer> keyd::on(client_ptr, peek_hello m) {
    const auto slot = pool_->peek_hello_slot(m.stream, m.offset);
    ++count_.hello_looks;
    if (!slot) co_return failure(slot.error());
    co_return hello{slot->offset, slot->key};
}

awaitable<keyd::answer> keyd::on(client_ptr, spend_hello m) {
    const auto spent = pool_->spend_hello_slot(m.stream, m.offset);
    if (spent) ++count_.hello_verified;
    erase_wanted_.set();
    if (!spent) co_return failure(spent.error());
    co_return done{};
}

awaitable<keyd::answer> keyd::on(client_ptr from, release m) {
    const auto held = from->windows.find(window_place(m.stream, m.window.offset));
    if (held == from->windows.end() || held->second.range != m.window)
        co_return failure(error(errc::not_found, "this consumer holds no such window"));
    const auto released = pool_->release(m.stream, m.window, m.used_to);
    if (!released) co_return failure(released.error());
    give_back(m.stream, held->second);
    if (const auto found = from->reserved.find(m.stream); found != from->reserved.end()) {
        reservation& own = found->second;  // what comes back had been taken from it
        own.size = std::max(own.size, std::min(own.wanted, own.size + m.window.end() - m.used_to));
    }
    flows_[m.stream].out.add(-static_cast<double>(m.window.end() - m.used_to), steady_clock::now());
    from->windows.erase(held);
    wake_waiters();
    co_return done{};
}

awaitable<keyd::answer> keyd::on(client_ptr, available m) {
    if (!options_.peers.empty() && std::ranges::count(options_.peers, m.peer) == 0)
        co_return failure(error(errc::not_found, "there is no link to site " + m.peer));
    const stream_name out{options_.site, m.peer};
    const stream_name in{m.peer, options_.site};
    co_return stock{pool_->available(out), pool_->available(in), pool_->strength()};
}

awaitable<keyd::answer> keyd::on(client_ptr from, take_random m, unique_fd lent) {
    if (const auto usable = check_lent_memory(lent.get(), m.size); !usable) co_return failure(usable.error());
    const stream_name own{options_.site, options_.site};
    auto attempt = [this, m]() -> result<std::vector<pad_range>> {
        if (waits_for_witnesses()) return witness_missing();
        return pool_->claim_random(m.size, session_id{});
    };
    const auto ranges = co_await with_key(from, own, key_use::interactive, m.wait_ms, attempt);
    if (!ranges) co_return failure(ranges.error());
    flows_[own].out.add(static_cast<double>(m.size), steady_clock::now());
    std::vector<handover_piece> pieces;
    result<void> copied = fail(errc::not_found);
    for (const auto& range : *ranges) {
        const auto place = pool_->place_of(own, range);
        if (place) pieces.push_back(handover_piece{*place, range.size});
    }
    if (pieces.size() != ranges->size())
        read_failed(copied.error());
    else
        copied = co_await fill(from, std::move(lent), std::move(pieces));
    for (const auto& range : *ranges) {
        const auto closed = pool_->release(own, range, range.end());
        if (!closed) co_return failure(closed.error());
    }
    erase_wanted_.set();
    if (!copied) co_return failure(copied.error());
    co_return window{pad_range{ranges->front().offset, m.size}};
}

awaitable<keyd::answer> keyd::on(client_ptr from, hold m) {
    const auto found = unclaimed_.find(window_place(m.stream, m.range.offset));
    if (found == unclaimed_.end() || found->second.range != m.range || found->second.session != m.session)
        co_return failure(error(errc::not_found, "no such window waits for its consumer"));
    from->windows.emplace(found->first, found->second);
    unclaimed_.erase(found);
    ++count_.windows_reclaimed;
    co_return done{};
}

awaitable<keyd::answer> keyd::on(client_ptr from, abandon m) {
    const auto held = from->windows.find(window_place(m.stream, m.range.offset));
    if (held == from->windows.end() || held->second.range != m.range)
        co_return failure(error(errc::not_found, "this consumer holds no such window"));
    burn(m.stream, held->second);
    from->windows.erase(held);
    ++count_.windows_abandoned;
    wake_waiters();
    co_return done{};
}

awaitable<keyd::answer> keyd::on(client_ptr from, weigh m) {
    if (m.weight == 0 || m.weight > claim_weight_max)
        co_return failure(error(errc::bad_argument, "a weight is a number from 1 to 1000"));
    from->weight = m.weight;
    co_return done{};
}

/// What claims of data by `who` leave alone, beside the reserves.
std::uint64_t keyd::reserved_by_others(const client* who, const stream_name& stream) const {
    std::uint64_t sum = 0;
    for (const auto& one : clients_)
        if (const auto found = one->reserved.find(stream); one.get() != who && found != one->reserved.end())
            sum += found->second.size;
    return sum;
}

/// Never more than there is, and not less than before while that is there. When there is not enough for all who want
/// some, a consumer's grows only up to its part by weight.
std::uint64_t keyd::reserve_for(client& who, const stream_name& stream, std::uint64_t wanted) {
    const auto less = [](std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; };
    const std::uint64_t bulk_reserve = options_.bulk_reserve.value_or(options_.control_reserve);
    std::uint64_t weights = who.weight, others = 0, others_want = 0;
    for (const auto& one : clients_) {
        const auto found = one->reserved.find(stream);
        if (one.get() == &who || found == one->reserved.end()) continue;
        weights += one->weight;
        others += found->second.size;
        others_want += std::max(found->second.size, found->second.wanted);
    }
    const std::uint64_t enough = options_.control_reserve + bulk_reserve + others_want + wanted;
    const std::uint64_t usable = less(pool_->usable(stream, enough), options_.control_reserve);
    const std::uint64_t stock = less(usable, bulk_reserve);
    auto& own = who.reserved[stream];
    std::uint64_t most = wanted;
    if (stock < others_want + wanted && others < others_want) {
        const double weight = static_cast<double>(who.weight) / static_cast<double>(weights);
        most = std::max(own.size, static_cast<std::uint64_t>(static_cast<double>(stock) * weight));
    }
    const std::uint64_t keeps = std::min(own.size, less(usable, others));  // whoever came into the bulk reserve
    own = {wanted, std::min(wanted, std::max(std::min(most, less(stock, others)), keeps))};
    return own.size;
}

awaitable<keyd::answer> keyd::on(client_ptr from, reserve m) {
    if (m.stream.sender != options_.site || m.stream.receiver == options_.site)
        co_return failure(error(errc::bad_argument, "only the sender of a stream reserves of it"));
    if (!options_.peers.empty() && std::ranges::count(options_.peers, m.stream.receiver) == 0)
        co_return failure(error(errc::not_found, "there is no link to site " + m.stream.receiver));
    if (from->reserved.size() >= pad_stream_count_max && !from->reserved.contains(m.stream))
        co_return failure(error(errc::too_large, "more streams than there can be"));
    const std::uint64_t size = reserve_for(*from, m.stream, std::min(m.size, reservation_size_max));
    if (m.size == 0) from->reserved.erase(m.stream);
    wake_waiters();  // what this consumer gave up, others may claim
    co_return reserved{size};
}

awaitable<keyd::answer> keyd::on(client_ptr, status) {
    co_return text{describe().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

}  // namespace warifu
