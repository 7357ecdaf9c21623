// What each request does. Handlers run on the core thread; only hand_over and take_random leave it, to copy bytes.
#include <algorithm>
#include <spdlog/spdlog.h>

#include "fs/base/limits.h"
#include "keyd/daemon/keyd.h"

namespace warifu {

using namespace keyd_protocol;

bool keyd::must_queue(const stream_name& stream, key_use use) const {
    return std::ranges::any_of(waiters_,
                               [&](const auto& other) { return other->stream == stream && other->use <= use; });
}

std::list<std::shared_ptr<keyd::waiter>>::iterator keyd::enqueue(const stream_name& stream, key_use use) {
    const auto before = std::ranges::find_if(waiters_, [&](const auto& other) { return other->use > use; });
    return waiters_.insert(before, std::make_shared<waiter>(waiter{stream, use, event(core_)}));
}

void keyd::wake_waiters() {
    for (const auto& one : waiters_) one->ready.set();
}

/// Attempts until it works, the time is over or the consumer is gone. The most urgent use goes first, then who came
/// first.
template <typename Attempt>
auto keyd::with_key(client_ptr from, stream_name stream, key_use use, std::uint32_t wait_ms, Attempt attempt)
    -> awaitable<decltype(attempt())> {
    using outcome = decltype(attempt());
    const auto until = deadline_in_ms(wait_ms);
    if (!must_queue(stream, use)) {
        outcome first = attempt();
        if (first || first.error().code != errc::no_key || wait_ms == 0) co_return first;
    }
    if (waiters_.size() >= keyd_waiting_claims_max) co_return outcome(fail(errc::busy, "too many claims wait for key"));
    const auto place = enqueue(stream, use);
    const auto mine = *place;
    outcome last = fail(errc::no_key, "no key came within the time-out");
    for (;;) {
        const bool woken = co_await mine->ready.wait(until);
        mine->ready.reset();
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
    waiters_.erase(place);
    co_return last;
}

void keyd::burn(const stream_name& stream, const pad_range& range) {
    held_bytes_ -= range.size;
    const auto burnt = pool_->burn(stream, range);
    if (!burnt) spdlog::error("keyd {}: {}", options_.site, burnt.error().message());
    erase_wanted_.set();
}

/// Copies a window whose mark is durable. It belongs to the consumer once the copy is complete.
awaitable<keyd::answer> keyd::hand_over(client_ptr from, stream_name stream, pad_range range) {
    held_bytes_ += range.size;
    const auto place = pool_->place_of(stream, range);
    result<unique_fd> memory = fail(errc::not_found);
    if (place) {
        std::vector<handover_piece> pieces{handover_piece{*place, range.size}};
        auto work = [pieces = std::move(pieces)] { return copy_to_memory(pieces); };
        memory = co_await on_worker(copier_, std::move(work));
    } else {
        memory = fail(place.error());
    }
    if (!memory) {
        ++count_.reads_failed;
        spdlog::error("keyd {}: {}", options_.site, memory.error().message());
    }
    if (!memory || from->closed) {
        burn(stream, range);
        co_return failure(memory ? error(errc::cancelled) : memory.error());
    }
    from->windows.emplace(std::pair(std::move(stream), range.offset), range);
    answer out;
    out.body = window{range};
    out.fd = std::move(*memory);
    co_return out;
}

awaitable<keyd::answer> keyd::on(client_ptr, greet) {
    co_return answer{greeted{options_.site, pool_->strength()}, {}};
}

awaitable<keyd::answer> keyd::on(client_ptr from, claim_send m) {
    auto attempt = [this, m]() -> result<pad_range> {
        if (held_bytes_ + m.size_min > keyd_window_bytes_max) return fail(errc::no_key, "too many windows are out");
        const std::uint64_t want = std::min(m.size_want, keyd_window_bytes_max - held_bytes_);
        return pool_->claim_send(m.stream, m.session, m.size_min, want, m.use);
    };
    if (m.size_want > pad_window_size_max || m.size_min > m.size_want || m.size_min == 0)
        co_return failure(error(errc::bad_argument, "the window's sizes make no sense"));
    const auto range = co_await with_key(from, m.stream, m.use, m.wait_ms, attempt);
    if (!range) co_return failure(range.error());
    if (from->closed) {  // nothing left keyd: the window was never used
        const auto back = pool_->release(m.stream, *range, range->offset);
        co_return failure(back ? error(errc::cancelled) : back.error());
    }
    co_return co_await hand_over(std::move(from), std::move(m.stream), *range);
}

awaitable<keyd::answer> keyd::on(client_ptr from, claim_receive m) {
    if (held_bytes_ + m.range.size > keyd_window_bytes_max && m.range.size <= pad_window_size_max)
        co_return failure(error(errc::busy, "too many windows are out"));
    const auto claimed = pool_->claim_receive(m.stream, m.session, m.range);
    erase_wanted_.set();  // a refused window, or rests of old blocks, may have been burnt
    if (!claimed) co_return failure(claimed.error());
    co_return co_await hand_over(std::move(from), std::move(m.stream), m.range);
}

awaitable<keyd::answer> keyd::on(client_ptr, skip_to m) {
    const auto skipped = pool_->skip_to(m.stream, m.offset);
    erase_wanted_.set();
    if (!skipped) co_return failure(skipped.error());
    co_return answer{done{}, {}};
}

awaitable<keyd::answer> keyd::on(client_ptr, next_free m) {
    const auto free = pool_->next_free(m.stream, m.from);
    if (!free) co_return failure(free.error());
    co_return answer{offset{*free}, {}};
}

awaitable<keyd::answer> keyd::on(client_ptr from, take_hello m) {
    auto attempt = [this, m] { return pool_->take_hello_slot(m.stream); };
    // A queue of its own: who waits for a hello slot must not hold up who wants data. (No site's name has a blank.)
    const stream_name queue{m.stream.sender, m.stream.receiver + " hello"};
    const auto slot = co_await with_key(std::move(from), queue, key_use::control, m.wait_ms, attempt);
    erase_wanted_.set();
    if (!slot) co_return failure(slot.error());
    co_return answer{hello{slot->offset, slot->key}, {}};
}

awaitable<keyd::answer> keyd::on(client_ptr, peek_hello m) {
    const auto slot = pool_->peek_hello_slot(m.stream, m.offset);
    if (!slot) co_return failure(slot.error());
    co_return answer{hello{slot->offset, slot->key}, {}};
}

awaitable<keyd::answer> keyd::on(client_ptr, spend_hello m) {
    const auto spent = pool_->spend_hello_slot(m.stream, m.offset);
    erase_wanted_.set();
    if (!spent) co_return failure(spent.error());
    co_return answer{done{}, {}};
}

awaitable<keyd::answer> keyd::on(client_ptr from, release m) {
    const auto held = from->windows.find(std::pair(m.stream, m.window.offset));
    if (held == from->windows.end() || held->second != m.window)
        co_return failure(error(errc::not_found, "this consumer holds no such window"));
    const auto released = pool_->release(m.stream, m.window, m.used_to);
    if (!released) co_return failure(released.error());
    held_bytes_ -= m.window.size;
    from->windows.erase(held);
    erase_wanted_.set();
    wake_waiters();
    co_return answer{done{}, {}};
}

awaitable<keyd::answer> keyd::on(client_ptr, available m) {
    if (!options_.peers.empty() && std::ranges::count(options_.peers, m.peer) == 0)
        co_return failure(error(errc::not_found, "there is no link to site " + m.peer));
    const stream_name out{options_.site, m.peer};
    const stream_name in{m.peer, options_.site};
    co_return answer{stock{pool_->available(out), pool_->available(in), pool_->strength()}, {}};
}

awaitable<keyd::answer> keyd::on(client_ptr from, take_random m) {
    const stream_name own{options_.site, options_.site};
    auto attempt = [this, m] { return pool_->claim_random(m.size, session_id{}); };
    const auto ranges = co_await with_key(std::move(from), own, key_use::interactive, m.wait_ms, attempt);
    if (!ranges) co_return failure(ranges.error());
    std::vector<handover_piece> pieces;
    result<unique_fd> memory = fail(errc::not_found);
    for (const auto& range : *ranges) {
        const auto place = pool_->place_of(own, range);
        if (place) pieces.push_back(handover_piece{*place, range.size});
    }
    if (pieces.size() == ranges->size()) {
        auto work = [pieces = std::move(pieces)] { return copy_to_memory(pieces); };
        memory = co_await on_worker(copier_, std::move(work));
    }
    for (const auto& range : *ranges) {
        const auto closed = pool_->release(own, range, range.end());
        if (!closed) co_return failure(closed.error());
    }
    erase_wanted_.set();
    if (!memory) {
        ++count_.reads_failed;
        co_return failure(memory.error());
    }
    answer out;
    out.body = window{pad_range{ranges->front().offset, m.size}};
    out.fd = std::move(*memory);
    co_return out;
}

awaitable<keyd::answer> keyd::on(client_ptr, status) {
    co_return answer{text{status_json()}, {}};
}

}  // namespace warifu
