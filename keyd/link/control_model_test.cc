// An exhaustive small-state exploration of the control pad's rule. Two ends, a few slots; at every step either keyd may
// crash, a message may be lost, one end may be restored from an older copy once, and an adversary on the network may
// repeat any message in clear that it has seen and open connections of its own. It cannot make a MAC. Invariant: no
// (slot, half, mask) ever serves two different messages *that somebody could still accept under that slot*, and
// without an adversary none serves two messages at all.
//
// What is durable and what is not is modelled; which slot may be taken when is the session's rule.

#include <deque>
#include <gtest/gtest.h>
#include <unordered_set>

#include "fs/base/codec.h"
#include "keyd/link/control_state.h"

namespace warifu {
namespace {

constexpr unsigned hello_slots = 2;
constexpr unsigned work_slots = 1;
constexpr unsigned slots = hello_slots + work_slots;
constexpr unsigned all_hello = (1U << hello_slots) - 1;

/// How far a greeting has come, at either end of a connection.
enum class at : std::uint8_t { nothing, called, offered, confirmed, answered, session };

struct world {
    // durable: slots that are unspent
    std::array<std::uint8_t, 2> unspent{(1U << slots) - 1, (1U << slots) - 1};
    std::array<std::uint8_t, 2> copy{0xff, 0xff};  // 0xff: none
    bool restored = false;
    // volatile
    at caller = at::nothing, listener = at::nothing;
    std::uint8_t call_has = 0;                  // hello slots that the call told
    std::uint8_t caller_slot = 0xff, listener_slot = 0xff;
    std::uint8_t offer = 0xff;                  // on offer at the listener
    bool offer_used = false;
    std::uint8_t next = 0xff;                   // work slot under way
    bool caller_next = false, listener_next = false;
    // the network and the truth
    std::uint8_t proof_b = 0, proof_a = 0;      // slots whose proof the adversary has seen
    std::array<std::array<std::uint8_t, slots>, 2> used{};  // masks used, by half and slot: 0, 1 or 2 (too many)
    bool bad = false;

    std::string key() const {
        writer out;
        for (int i = 0; i < 2; ++i) out.put_be(unspent[std::size_t(i)]).put_be(copy[std::size_t(i)]);
        for (const std::uint8_t v :
             {std::uint8_t(restored), std::uint8_t(caller), std::uint8_t(listener), call_has, caller_slot,
              listener_slot, offer, std::uint8_t(offer_used), next, std::uint8_t(caller_next),
              std::uint8_t(listener_next), proof_b, proof_a})
            out.put_be(v);
        for (const auto& half : used)
            for (const auto v : half) out.put_be(v);
        return std::string(as_text(out.view()));
    }
};

class explorer {
  public:
    explicit explorer(bool adversary) : adversary_(adversary) {}

    std::size_t run() {
        push(world{});
        while (!queue_.empty() && !testing::Test::HasFailure()) {
            const world w = std::move(queue_.front());
            queue_.pop_front();
            honest_steps(w);
            session_steps(w);
            faults(w);
            if (adversary_) adversary_steps(w);
        }
        return seen_.size();
    }
    std::size_t reuses_nobody_accepts() const { return harmless_; }

  private:
    static constexpr std::size_t a = 0, b = 1;
    static bool has(std::uint8_t set, unsigned slot) { return (set >> slot & 1U) != 0; }
    static void spend(std::uint8_t& set, unsigned slot) { set = static_cast<std::uint8_t>(set & ~(1U << slot)); }

    /// An end makes a MAC with the next mask of a slot: in a session each message has a mask of its own, so only a
    /// second greeting (or a second session) in a slot can repeat one.
    void use(world& w, std::size_t half, unsigned slot) {
        auto& count = w.used[half][slot];
        if (count != 0) {
            // Repeated. Could the other end accept anything under this slot?
            const std::size_t other = half == a ? b : a;
            const bool alive = has(w.unspent[other], slot) ||
                               (other == a ? w.caller != at::nothing && w.caller_slot == slot
                                           : w.listener != at::nothing && w.listener_slot == slot);
            if (!adversary_ || alive) w.bad = true;
            else ++harmless_;
        }
        count = 1;
    }
    void push(world w) {
        ASSERT_FALSE(w.bad) << "a byte of control pad served two messages";
        if (seen_.insert(w.key()).second) queue_.push_back(std::move(w));
    }
    /// The first failed check of a connection closes it at both ends; messages under way are lost with it.
    static void hang_up(world& w) {
        w.caller = w.listener = at::nothing;
        w.caller_slot = w.listener_slot = w.next = 0xff;
        w.caller_next = w.listener_next = false;
        w.call_has = 0;
    }

    void honest_steps(const world& w) {
        if (w.caller == at::nothing && w.listener == at::nothing) {
            world n = w;
            n.caller = at::called;
            n.call_has = w.unspent[a] & all_hello;
            push(n);
        }
        if (w.caller == at::called && w.listener == at::nothing) offer(w, w.call_has, true);
        if (w.listener == at::offered && w.caller == at::called) {
            world n = w;
            if (!has(n.unspent[a], n.listener_slot)) hang_up(n);
            else {
                spend(n.unspent[a], n.listener_slot);
                n.caller_slot = n.listener_slot;
                n.caller = at::confirmed;
                n.proof_a = static_cast<std::uint8_t>(n.proof_a | 1U << n.caller_slot);
            }
            push(n);
        }
        if (w.listener == at::offered && w.caller == at::confirmed) {
            world n = w;
            if (n.offer != n.listener_slot || n.offer_used) hang_up(n);
            else {
                n.offer_used = true;
                use(n, b, n.listener_slot);
                n.listener = at::answered;
            }
            push(n);
        }
        if (w.listener == at::answered && w.caller == at::confirmed) {  // the answer verifies: it is to this very call
            world n = w;
            use(n, a, n.caller_slot);
            n.caller = at::session;
            push(n);
        }
        if (w.listener == at::answered && w.caller == at::session) {
            world n = w;
            n.listener = at::session;
            push(n);
        }
    }
    /// The listener answers a call that tells `unspent`; `ours`: on the connection that is modelled.
    void offer(const world& w, std::uint8_t unspent, bool ours) {
        if (w.offer != 0xff && !w.offer_used && has(unspent, w.offer)) {
            world n = w;
            give(n, ours);
            push(n);
            return;
        }
        for (unsigned slot = 0; slot < hello_slots; ++slot) {
            if (!has(unspent, slot) || !has(w.unspent[b], slot)) continue;
            world n = w;
            spend(n.unspent[b], slot);
            n.offer = static_cast<std::uint8_t>(slot);
            n.offer_used = false;
            push(n);  // dies before it says so, or the message is lost
            give(n, ours);
            push(n);
        }
    }
    static void give(world& n, bool ours) {
        n.proof_b = static_cast<std::uint8_t>(n.proof_b | 1U << n.offer);
        if (!ours) return;
        n.listener_slot = n.offer;
        n.listener = at::offered;
    }
    void session_steps(const world& w) {
        if (w.caller != at::session) return;
        const unsigned slot = hello_slots;  // the one work slot
        if (!w.caller_next && has(w.unspent[a], slot)) {
            world n = w;
            spend(n.unspent[a], slot);
            push(n);  // dies before it says so
            n.caller_next = true;
            n.next = static_cast<std::uint8_t>(slot);
            push(n);
        }
        if (w.listener == at::session && w.caller_next && !w.listener_next) {
            world n = w;
            if (!has(n.unspent[b], n.next)) hang_up(n);
            else {
                spend(n.unspent[b], n.next);
                push(n);
                n.listener_next = true;
            }
            push(n);
        }
        if (w.listener_next && w.used[b][slot] == 0) {
            world n = w;
            use(n, b, slot);
            push(n);
        } else if (w.listener_next && w.caller_next && w.used[a][slot] == 0) {
            world n = w;
            use(n, a, slot);
            push(n);
        }
    }
    void faults(const world& w) {
        world n = w;
        hang_up(n);  // the connection is cut, or the caller crashes
        push(n);
        n.offer = 0xff;  // the listener crashes
        n.offer_used = false;
        push(n);
        for (const std::size_t end : {a, b}) {
            if (w.copy[a] == 0xff && w.copy[b] == 0xff) {
                world c = w;
                c.copy[end] = w.unspent[end];
                push(c);
            }
            if (w.copy[end] != 0xff && !w.restored) {
                world r = w;
                hang_up(r);
                if (end == b) {
                    r.offer = 0xff;
                    r.offer_used = false;
                }
                r.unspent[end] = w.copy[end];
                r.restored = true;
                push(r);
            }
        }
    }
    void adversary_steps(const world& w) {
        for (std::uint8_t told = 1; told <= all_hello; ++told) offer(w, told, false);  // calls, and sees what comes
        // Shows the caller an offer that it saw once, and takes its confirmation; no answer can follow.
        for (unsigned slot = 0; slot < hello_slots; ++slot) {
            if (w.caller == at::called && has(w.proof_b, slot) && has(w.unspent[a], slot)) {
                world n = w;
                spend(n.unspent[a], slot);
                n.proof_a = static_cast<std::uint8_t>(n.proof_a | 1U << slot);
                push(n);
                hang_up(n);
                push(n);
            }
            // Repeats the caller's confirmation on a connection of its own: the listener answers.
            if (w.offer == slot && !w.offer_used && has(w.proof_a, slot)) {
                world n = w;
                n.offer_used = true;
                use(n, b, slot);
                push(n);
            }
        }
    }

    bool adversary_;
    std::deque<world> queue_;
    std::unordered_set<std::string> seen_;
    std::size_t harmless_ = 0;
};

TEST(control_model, no_byte_serves_twice_whatever_crashes_is_lost_or_restored) {
    explorer all(false);
    EXPECT_GT(all.run(), 1000U);
}

TEST(control_model, an_adversary_that_repeats_clear_messages_gains_nothing) {
    explorer all(true);
    EXPECT_GT(all.run(), 10'000U);
    // The proof is needed: a listener restored from a copy can be made to answer twice in a slot that the caller is
    // through with.
    EXPECT_GT(all.reuses_nobody_accepts(), 0U);
}

}  // namespace
}  // namespace warifu
