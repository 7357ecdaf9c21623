#include "fs/files/committer.h"

namespace warifu {

committer::committer(asio::io_context& core, asio::thread_pool& worker, volume& v, chunk_writer& writer,
                     dirty_budget& budget, std::uint32_t interval_ms, hooks calls)
    : core_(core),
      worker_(worker),
      volume_(v),
      writer_(writer),
      budget_(budget),
      interval_(std::chrono::milliseconds(interval_ms)),
      calls_(std::move(calls)),
      wake_(core.get_executor()),
      urgent_(core.get_executor()),
      stopped_(core.get_executor()) {}

std::uint64_t committer::changed() {
    last_change_ = generation_;
    arm();
    return generation_;
}

void committer::arm() {
    if (armed_.exchange(true)) return;
    asio::post(core_, [this] { wake_.set(); });
}

void committer::hurry() {
    if (hurried_.exchange(true)) return;
    asio::post(core_, [this] {
        seal_now_ = true;
        wake_.set();
        urgent_.set();
    });
}

std::optional<error> committer::fatal() const {
    const std::lock_guard lock(fatal_mutex_);
    return fatal_;
}

void committer::set_fatal(const error& why) {
    {
        const std::lock_guard lock(fatal_mutex_);
        if (!fatal_) fatal_ = why;
    }
    budget_.fail(why);
}

void committer::start() {
    running_ = true;
    asio::co_spawn(core_, run(), asio::detached);
}

awaitable<void> committer::run() {
    deadline last = steady_clock::now() - interval_;
    while (!stopping_) {
        co_await wake_.wait();
        co_await urgent_.wait(std::max(last + interval_, steady_clock::now() + interval_ / 16));
        if (stopping_ || fatal()) break;
        wake_.reset();
        urgent_.reset();
        hurried_ = false;
        armed_ = false;  // what comes after this is seen by the cut or arms again
        last = steady_clock::now();
        // Sealing the tails of files that are still being written costs small pieces, so a stream of fsyncs does not do
        // it each time.
        const bool seal = std::exchange(seal_now_, false) || last >= last_seal_ + interval_;
        if (seal)
            last_seal_ = last;
        else
            wake_.set();  // dirty tails may be left: come back when the interval is over
        if (!co_await attempt(seal, std::exchange(forced_, false)) && !fatal()) wake_.set();
    }
    running_ = false;
    const auto why = fatal();
    for (const auto& left : waiters_)
        left.answer->set(why ? fail(*why) : fail(errc::cancelled, "the file system is closed"));
    waiters_.clear();
    stopped_.set();
}

/// One commit if there is anything to commit. False when it failed.
awaitable<bool> committer::attempt(bool seal, bool forced) {
    const auto work = [this, seal, forced] { return std::make_shared<cut>(make_cut(seal, forced)); };
    const std::shared_ptr<cut> taken = co_await run_in(worker_, work);
    const std::vector<chunk_pointer> chunks = taken->chunks;
    auto outcome = taken->outcome;
    if (outcome && taken->edits) outcome = co_await make_durable(taken);
    if (!outcome) {
        ++commits_failed_;
        // A volume that lost its authority never takes anything again: nobody is to wait for it.
        const auto writable = volume_.check_writable();
        if (!writable && writable.error().code == errc::read_only) set_fatal(writable.error());
    }
    settle(taken->generation, outcome);
    co_await writer_.wait_put(chunks);  // answers that come after the commit's
    co_return outcome.has_value();
}

committer::cut committer::make_cut(bool seal, bool forced) {
    cut taken;
    if (seal) calls_.seal_dirty();
    const std::lock_guard names(volume_.names_lock());
    taken.generation = generation_;
    taken.outcome = calls_.refit_failed();
    if (!taken.outcome || (!forced && last_change_.load() <= committed_.load())) return taken;
    writer_.close_packing();
    taken.chunks = writer_.take_unnamed();
    taken.edits = volume_.capture();
    taken.mark = calls_.captured();
    ++generation_;
    return taken;
}

task<> committer::make_durable(std::shared_ptr<cut> taken) {
    auto put = co_await writer_.wait_sent(taken->chunks);
    if (!put) {
        co_await take_back(taken);
        co_return put;
    }
    std::vector<chunk_id> ids;
    ids.reserve(taken->chunks.size());
    for (const auto& chunk : taken->chunks) ids.push_back(chunk->id);
    auto outcome = co_await volume_.commit(std::move(taken->edits), std::move(ids));
    if (!outcome) {
        set_fatal(outcome.error());
        co_return outcome;
    }
    ++commits_;
    committed_ = taken->generation;
    calls_.durable(taken->mark);
    if (writer_.has_failures()) {
        const auto check = [this] {
            const std::lock_guard names(volume_.names_lock());
            writer_.forget_mended();
            return true;
        };
        co_await run_in(worker_, check);
    }
    co_return outcome;
}

/// The edits name chunks that are not at the sites: they wait in the volume for the next attempt.
awaitable<void> committer::take_back(std::shared_ptr<cut> taken) {
    const auto work = [this, taken] {
        const std::lock_guard names(volume_.names_lock());
        taken->edits = volume_.give_back(std::move(taken->edits));
        writer_.return_unnamed(std::move(taken->chunks));
        last_change_ = generation_;
        return taken->edits == nullptr;
    };
    if (!co_await run_in(worker_, work))
        set_fatal(error(errc::io_error, "a put failed and its commit cannot be repeated"));
}

void committer::force() {
    forced_ = true;
    wake_.set();
    urgent_.set();
}

task<> committer::wait(std::uint64_t ticket) {
    if (committed_.load() >= ticket) co_return result<void>{};
    if (auto why = fatal()) co_return fail(*why);
    if (!running_) co_return fail(errc::cancelled, "the file system is closed");
    auto answer = std::make_shared<promised<result<void>>>(core_.get_executor());
    waiters_.push_back({ticket, answer});
    wake_.set();
    urgent_.set();
    // Key or sites that do not come make the call fail, not hang; the bytes stay dirty, and the next call waits again
    // (contract D1).
    auto outcome = co_await answer->take(deadline_in_ms(key_wait_timeout_ms));
    if (outcome) co_return std::move(*outcome);
    std::erase_if(waiters_, [&](const waiter& one) { return one.answer == answer; });
    const std::string reason = volume_.status().reason;
    co_return fail(errc::timed_out, reason.empty() ? "the commit does not come to an end" : reason);
}

/// Answers who waits for this generation or an earlier one.
void committer::settle(std::uint64_t generation, const result<void>& outcome) {
    for (auto it = waiters_.begin(); it != waiters_.end();) {
        const bool answered = outcome ? it->ticket <= committed_.load() : it->ticket <= generation;
        if (!answered) {
            ++it;
            continue;
        }
        it->answer->set(outcome);
        it = waiters_.erase(it);
    }
}

awaitable<void> committer::stop() {
    stopping_ = true;
    wake_.set();
    urgent_.set();
    if (running_) co_await stopped_.wait();
}

}  // namespace warifu
