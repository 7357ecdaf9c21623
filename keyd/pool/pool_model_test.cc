// An exhaustive small-state exploration of the ledger protocol: two ends of one stream, two sender processes, windows
// of one to two units, and at every step the possibility that a keyd crashes (losing what was not flushed), a process
// dies, a message is lost, or one end is restored from an old copy. Invariant: no unit is ever sealed twice. The
// decisions, the records and their meaning are the real ones; disk and network are modelled.

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <optional>
#include <unordered_set>

#include "fs/base/codec.h"
#include "keyd/pool/pad_file.h"
#include "keyd/pool/pool_state.h"

namespace warifu {
namespace {

constexpr std::uint64_t unit = 20'480;
constexpr std::uint64_t units = 3;
constexpr std::uint64_t first = 4096;  // behind the hello region
constexpr std::size_t process_count_max = 2;

/// A keyd: what is durable, and what was recorded since.
struct keyd_model {
    pool_state durable;
    std::vector<ledger_record> pending;
    pool_state live;

    void record(const ledger_record& event) {
        pending.push_back(event);
        ASSERT_TRUE(live.apply(event));
    }
    void flush() {
        durable = live;
        pending.clear();
    }
    void record_durably(const ledger_record& event) {
        record(event);
        flush();
    }
    const stream_state& stream() const { return live.streams()[0]; }
    /// Only the first `kept` of the records that were not flushed survive; windows that were out are burnt.
    void crash(std::size_t kept) {
        live = durable;
        for (std::size_t i = 0; i < kept; ++i) ASSERT_TRUE(live.apply(pending[i]));
        flush();
        restart();
    }
    void restart() {
        while (!stream().open.empty()) {
            const auto range = stream().open.begin()->second.range;
            record(window_closed{0, range, range.end(), true});
        }
        flush();
    }
};

struct process_model {
    std::optional<pad_range> window;
    bool confirmed = false;  // by the receiver, under MAC
    std::uint64_t used_to = 0;
    bool receiver_holds = false;  // the receiving process has the window too
};

struct world {
    keyd_model sender, receiver;
    std::array<process_model, process_count_max> process;
    std::array<std::uint8_t, units> sealed{};
    std::optional<pool_state> sender_copy, receiver_copy;
    bool restored = false;

    std::string key() const {
        writer out;
        const auto add = [&](const pool_state& state) {
            for (const auto& record : state.snapshot())
                if (!std::holds_alternative<window_history>(record) && !std::holds_alternative<stream_totals>(record))
                    out.put_sized(encode_ledger_record(record));
        };
        for (const auto* end : {&sender, &receiver}) {
            add(end->durable);
            out.put_be<std::uint8_t>(0xff);
            for (const auto& record : end->pending) out.put_sized(encode_ledger_record(record));
        }
        for (const auto& p : process) {
            out.put_be(p.window ? p.window->offset : 0).put_be(p.window ? p.window->size : 0).put_be(p.used_to);
            out.put_be(static_cast<std::uint8_t>((p.confirmed ? 1 : 0) + (p.receiver_holds ? 2 : 0)));
        }
        for (const auto count : sealed) out.put_be(count);
        for (const auto* copy : {&sender_copy, &receiver_copy}) {
            out.put_be<std::uint8_t>(copy->has_value());
            if (*copy) add(**copy);
        }
        out.put_be<std::uint8_t>(restored);
        return std::string(as_text(out.view()));
    }
};

void burn(keyd_model& keyd, const pad_range& range) {
    const auto held = keyd.stream().open.find(range.offset);
    if (held != keyd.stream().open.end() && held->second.range == range)
        keyd.record(window_closed{0, range, range.end(), true});
}
void release(keyd_model& keyd, const pad_range& range, std::uint64_t used_to) {
    const auto held = keyd.stream().open.find(range.offset);
    if (held != keyd.stream().open.end() && held->second.range == range)
        keyd.record(window_closed{0, range, used_to, false});
}

class explorer {
  public:
    explicit explorer(std::size_t processes) : processes_(processes) {}

    std::size_t run(std::size_t state_max) {
        push(start());
        while (!queue_.empty() && seen_.size() < state_max && !testing::Test::HasFailure()) {
            const world w = std::move(queue_.front());
            queue_.pop_front();
            for (std::size_t p = 0; p < processes_; ++p) process_steps(w, p);
            keyd_steps(w);
        }
        complete_ = queue_.empty();
        return seen_.size();
    }
    bool complete() const { return complete_; }
    std::size_t conflicts() const { return conflicts_; }

  private:
    static world start() {
        world w;
        block_header block;
        block.id.bytes[0] = std::byte{1};
        block.stream = {"a", "b"};
        block.range = {0, 65'536};
        block.hello_size = hello_region_size(65'536);
        for (auto* end : {&w.sender, &w.receiver}) {
            end->record(stream_added{0, block.stream});
            end->record(block_imported{0, block, 0});
            end->flush();
        }
        return w;
    }
    void push(world w) {
        for (const auto count : w.sealed) ASSERT_LE(count, 1) << "a unit was sealed twice";
        if (seen_.insert(w.key()).second) queue_.push_back(std::move(w));
    }

    void process_steps(const world& w, std::size_t p) {
        const auto& process = w.process[p];
        if (!process.window) {
            claim(w, p);
            return;
        }
        if (!process.confirmed) propose(w, p);
        if (process.confirmed && process.used_to < process.window->end()) seal(w, p);
        finish(w, p);
        die(w, p);
    }
    void claim(const world& w, std::size_t p) {
        const auto range = choose_window(w.sender.stream(), unit, 2 * unit, 0);
        if (!range) return;
        world next = w;
        next.sender.record_durably(window_spent{0, *range, {}, key_use::bulk, 0});
        next.process[p] = process_model{*range, false, range->offset, false};
        push(std::move(next));
    }
    /// The receiver claims; its answer may be lost.
    void propose(const world& w, std::size_t p) {
        const pad_range range = *w.process[p].window;
        world next = w;
        if (check_receivable(w.receiver.stream(), range)) {
            next.receiver.record_durably(window_spent{0, range, {}, key_use::bulk, 0});
            next.process[p].receiver_holds = true;
            push(next);  // the confirmation is lost
            next.process[p].confirmed = true;
            push(std::move(next));
            return;
        }
        ++conflicts_;
        next.receiver.record_durably(range_burnt{0, range});
        const auto free = next_free_offset(next.receiver.stream(), range.offset);
        push(next);  // the answer is lost
        if (free) {
            ASSERT_GT(*free, range.offset);
            next.sender.record_durably(floor_raised{0, *free});
        }
        release(next.sender, range, range.offset);
        next.process[p] = {};
        push(std::move(next));
    }
    void seal(const world& w, std::size_t p) {
        world next = w;
        auto& process = next.process[p];
        ++next.sealed[(process.used_to - first) / unit];
        process.used_to += unit;
        push(std::move(next));
    }
    /// A clean end: the sender releases, and its final mark reaches the receiver or does not (then the window is burnt
    /// there).
    void finish(const world& w, std::size_t p) {
        const auto& process = w.process[p];
        world next = w;
        release(next.sender, *process.window, process.used_to);
        next.process[p] = {};
        world lost = next;
        if (process.receiver_holds) {
            release(next.receiver, *process.window, process.used_to);
            burn(lost.receiver, *process.window);
            push(std::move(lost));
        }
        push(std::move(next));
    }
    void die(const world& w, std::size_t p) {
        world next = w;
        burn(next.sender, *w.process[p].window);
        if (w.process[p].receiver_holds) burn(next.receiver, *w.process[p].window);
        next.process[p] = {};
        push(std::move(next));
    }

    /// Crashes; processes keep the windows that they hold. Restoring one end kills that end's processes.
    void keyd_steps(const world& w) {
        for (std::size_t kept = 0; kept <= w.sender.pending.size(); ++kept) {
            world next = w;
            next.sender.crash(kept);
            push(std::move(next));
        }
        for (std::size_t kept = 0; kept <= w.receiver.pending.size(); ++kept) {
            world next = w;
            next.receiver.crash(kept);
            push(std::move(next));
        }
        if (w.restored) return;
        if (!w.sender_copy && !w.receiver_copy) {
            world next = w;
            next.sender_copy = w.sender.durable;
            push(next);
            next.sender_copy.reset();
            next.receiver_copy = w.receiver.durable;
            push(std::move(next));
            return;
        }
        world next = w;
        auto& end = w.sender_copy ? next.sender : next.receiver;
        end.live = w.sender_copy ? *w.sender_copy : *w.receiver_copy;
        end.pending.clear();
        end.flush();
        end.restart();
        next.sender_copy.reset();
        next.receiver_copy.reset();
        next.restored = true;
        for (auto& process : next.process) {
            if (!process.window) continue;
            if (w.sender_copy && process.receiver_holds) burn(next.receiver, *process.window);
            if (w.receiver_copy) burn(next.sender, *process.window);
            process = {};
        }
        push(std::move(next));
    }

    std::size_t processes_;
    std::deque<world> queue_;
    std::unordered_set<std::string> seen_;
    std::size_t conflicts_ = 0;
    bool complete_ = false;
};

TEST(pool_model, no_unit_is_sealed_twice_by_one_process_at_a_time) {
    explorer all(1);
    const auto states = all.run(1'000'000);
    EXPECT_TRUE(all.complete());
    EXPECT_GT(states, 1'000U);
    EXPECT_GT(all.conflicts(), 100U) << "the exploration must reach refused windows";
}

/// All 180,000 states of two processes take a while: the whole is explored where WARIFU_LONG_TESTS is set, elsewhere
/// the states nearest to the start.
TEST(pool_model, no_unit_is_sealed_twice_by_two_processes) {
    const bool all_states = std::getenv("WARIFU_LONG_TESTS") != nullptr;
    explorer some(2);
    some.run(all_states ? 1'000'000 : 25'000);
    EXPECT_EQ(some.complete(), all_states);
    EXPECT_GT(some.conflicts(), 100U) << "the exploration must reach refused windows";
}

}  // namespace
}  // namespace warifu
