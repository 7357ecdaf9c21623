#pragma once
// Group commit: one commit at a time; who needs durability waits for the first one whose capture came after its
// request.
//
// Words: a *generation* is what one capture takes; it is counted up at each capture. A *ticket* is the generation that
// must be durable before its holder is answered. A *cut* is what a commit needs: captured edits and the chunks that
// they name.
//
// A cut: seal dirty files (each under its own hold of the namespace lock), refit failed chunks, then in one hold: close
// the packing chunk, take the list of chunks, capture. So everything that the edits name is in the list. Then, without
// locks: wait for the puts (small ones need only be on their way), commit. When a put failed the edits go back to the
// volume, the waiting get the error, and the next attempt carries the same edits and the mended ones in one record: no
// record ever names bytes that are not at the sites.

#include <atomic>
#include <list>

#include "fs/async/fan_out.h"
#include "fs/files/chunk_writer.h"

namespace warifu {

class committer {
  public:
    struct hooks {
        std::function<void()> seal_dirty;            // on the worker: the bytes of every dirty file join the namespace
        std::function<result<void>()> refit_failed;  // on the worker, names_lock held
        std::function<std::uint64_t()> captured;     // on the worker, names_lock held: a mark of what was captured,
        std::function<void(std::uint64_t)> durable;  // on the core thread: which is durable now
    };
    committer(asio::io_context& core, asio::thread_pool& worker, volume& v, chunk_writer& writer, dirty_budget& budget,
              std::uint32_t interval_ms, hooks calls);

    // ---- any thread ----
    /// The namespace changed. REQUIRES names_lock held. Returns the generation of the change.
    std::uint64_t changed();
    /// Bytes became dirty, or a put failed: a commit is due within the interval.
    void arm();
    /// Full budget: everything dirty should be on its way now.
    void hurry();
    /// The ticket for every change so far.
    std::uint64_t last_change() const { return last_change_.load(); }
    std::uint64_t committed() const { return committed_.load(); }
    std::uint64_t commits() const { return commits_.load(); }
    std::uint64_t commits_failed() const { return commits_failed_.load(); }
    /// Why nothing can be committed any more.
    std::optional<error> fatal() const;

    // ---- core thread ----
    void start();
    bool is_running() const { return running_; }
    /// A commit soon, even if nothing changed.
    void force();
    task<> wait(std::uint64_t ticket);
    /// After it nothing is committed any more. Waits for the commit in flight.
    awaitable<void> stop();

  private:
    struct cut {
        std::uint64_t generation = 0, mark = 0;
        std::vector<chunk_pointer> chunks;
        std::unique_ptr<captured_edits> edits;
        result<void> outcome;
    };
    awaitable<void> run();
    awaitable<bool> attempt(bool seal, bool forced);
    cut make_cut(bool seal, bool forced);
    task<> make_durable(std::shared_ptr<cut> taken);
    awaitable<void> take_back(std::shared_ptr<cut> taken);
    void settle(std::uint64_t generation, const result<void>& outcome);
    void set_fatal(const error& why);

    asio::io_context& core_;
    asio::thread_pool& worker_;
    volume& volume_;
    chunk_writer& writer_;
    dirty_budget& budget_;
    const steady_clock::duration interval_;
    hooks calls_;

    std::uint64_t generation_ = 1;  // guarded by names_lock: what the next capture takes
    std::atomic<std::uint64_t> last_change_ = 0, committed_ = 0, commits_ = 0, commits_failed_ = 0;
    std::atomic<bool> armed_ = false, hurried_ = false;

    mutable std::mutex fatal_mutex_;
    std::optional<error> fatal_;  // guarded by fatal_mutex_

    // Core thread.
    struct waiter {
        std::uint64_t ticket;
        std::shared_ptr<promised<result<void>>> answer;
    };
    std::list<waiter> waiters_;
    event wake_, urgent_, stopped_;
    bool seal_now_ = false, forced_ = false, stopping_ = false;
    std::atomic<bool> running_ = false;
    deadline last_seal_{};
};

}  // namespace warifu
