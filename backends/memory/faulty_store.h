#pragma once
// A decorator that makes any store fail, hang, answer late, lose answers or lie: the site that tests of the upper
// layers need. Shipped with the stores; nothing outside of tests uses it.

#include <map>
#include <set>

#include "backends/share_store.h"
#include "fs/async/wait.h"

namespace warifu {

/// Thread: the inner store's core thread.
class faulty_store final : public share_store {
  public:
    faulty_store(asio::any_io_executor executor, std::shared_ptr<share_store> inner);

    // Switches; each may be changed at any time between calls.
    bool unreachable = false;                 // every call fails at once with `unreachable`
    bool full = false;                        // reserve and put fail with no_space
    std::chrono::milliseconds delay{0};       // before each call reaches the inner store
    std::optional<std::uint32_t> calls_left;  // after that many calls the store is unreachable (the crash of a site)
    std::uint32_t lose_answers = 0;           // the next so many changes are done, but answered with `unreachable`
    bool journal_fails = false;               // read_journal ends with timed_out
    bool journal_has_no_end = false;          // read_journal goes on for ever
    std::set<chunk_id> damaged_chunks;        // get answers bad_checksum
    bool lie_always = false;                  // get and read_journal flip a bit of every answer
    std::set<chunk_id> lying_chunks;          // get flips a bit of every part of these
    std::set<std::uint64_t> lying_records;    // read_journal flips a bit of these records' shares

    /// While hung, calls wait; they go on after release() or end with timed_out after the request time-out.
    void hang();
    void release();

    std::uint64_t call_count() const { return call_count_; }
    std::uint64_t journal_read_count() const { return journal_read_count_; }
    share_store& inner() { return *inner_; }

    task<store_state> state() override;
    task<> reserve(ballot authority, std::uint64_t size) override;
    task<> put(share_put share) override;
    task<std::vector<slice>> get(chunk_id chunk, std::vector<share_range> ranges) override;
    task<share_description> describe(chunk_id chunk) override;
    task<> remove(ballot authority, std::vector<share_removal> removals) override;
    task<std::vector<chunk_id>> list(chunk_id after, std::uint32_t count) override;
    task<> append(append_request request) override;
    task<std::vector<journal_entry>> read_journal(std::uint64_t from, std::uint32_t size_max) override;
    task<> cut_journal(ballot authority, std::uint64_t first) override;
    task<> promise(ballot b) override;
    task<> heartbeat(ballot authority, writer_identity writer) override;
    task<> pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) override;
    task<> sync() override;

  private:
    task<> enter();
    result<void> leave(result<void> answer);

    std::shared_ptr<share_store> inner_;
    event running_;
    std::uint64_t call_count_ = 0;
    std::uint64_t journal_read_count_ = 0;
};

}  // namespace warifu
