#pragma once
// Chunks on their way to the sites: gives runs of file bytes their place (a chunk of their own, or a piece of the
// packing chunk), serves reads of them from memory until put_chunk() returned, and puts them, a few at once.
//
// Words: the *packing chunk* collects pieces of many files until it is full or a commit takes it; a chunk is *named*
// when the journal record of a commit lists it; a *failed* chunk could not be put and waits for refit().
//
// Why a failed chunk gets a new id: a second split would draw other randomness, and sites that already hold a share of
// the first refuse different bytes under the same id.

#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "fs/files/dirty_budget.h"
#include "fs/files/inode_table.h"
#include "fs/volume/volume.h"

namespace warifu {

struct chunk_in_flight {
    enum class phase : std::uint8_t { filling, waiting, putting, done, failed };

    chunk_id id;
    // Guarded by chunk_writer::mutex_ while filling, unchanging afterwards.
    std::vector<slice> pieces;
    std::uint32_t units = 0;
    std::size_t bytes = 0;   // secret bytes
    std::size_t memory = 0;  // capacity of the buffers
    // Guarded by chunk_writer::mutex_.
    std::vector<inode_number> owners;  // files that may refer to it
    // Written on the core thread; filling -> waiting by whoever closes it.
    std::atomic<phase> state = phase::filling;
    std::optional<error> failure;  // core thread
    bool on_its_way = false;       // core thread: a commit may name it
};
using chunk_pointer = std::shared_ptr<chunk_in_flight>;

class chunk_writer {
  public:
    /// `on_failure` is called on the core thread after a put failed.
    chunk_writer(asio::io_context& core, volume& v, dirty_budget& budget, std::function<void()> on_failure);

    // ---- names_lock held ----
    /// Where a run of `size` bytes for file_offset will be. Nothing is changed but that a packing chunk without room is
    /// closed.
    extent place(std::uint64_t file_offset, std::uint32_t size);
    /// The run joins the chunk that place() said. The budget already counts it; `memory` is what it counts there.
    void add(const extent& where, slice bytes, std::size_t memory, inode_number owner);
    /// Sends the packing chunk off.
    void close_packing();
    /// Every closed chunk that no commit took yet.
    std::vector<chunk_pointer> take_unnamed();
    /// The commit did not happen.
    void return_unnamed(std::vector<chunk_pointer> chunks);
    /// Moves the pieces of failed chunks that are still referred to into new chunks, under new ids, and drops the rest.
    result<void> refit_failed(const inode_table& inodes);
    /// After a commit: only files with bytes in chunks that failed since keep their errors.
    void forget_mended();

    // ---- any thread ----
    /// The piece's bytes while they are in memory; empty otherwise.
    slice find(const chunk_id& chunk, std::uint16_t piece) const;
    /// Another file refers to the chunk now (copy_range).
    void add_owner(const chunk_id& chunk, inode_number owner);
    /// Why bytes of this file did not get to the sites; nothing when they did or may still.
    std::optional<error> failure_of(inode_number number) const;
    bool has_failures() const { return failed_count_.load() != 0; }
    /// Buffer capacity of chunks (the packing chunk too), of what the budget counts.
    std::size_t memory() const { return memory_.load(std::memory_order_relaxed); }
    void forget_failure(inode_number number);

    // ---- core thread ----
    /// Waits until a commit may name all of them; the first error if one failed.
    task<> wait_sent(std::vector<chunk_pointer> chunks);
    /// Waits until none of them is being put.
    awaitable<void> wait_put(std::vector<chunk_pointer> chunks);
    /// No put is started any more.
    void abandon() { abandoned_ = true; }
    std::uint64_t chunks_put() const { return chunks_put_.load(); }
    std::uint64_t puts_failed() const { return puts_failed_.load(); }

  private:
    void close(const chunk_pointer& chunk);
    void start_puts();
    awaitable<void> put_one(chunk_pointer chunk);
    void drop(const chunk_pointer& chunk);
    result<void> refit(const chunk_pointer& failed, const inode_table& inodes);
    result<void> refit_file(const chunk_pointer& failed, const chunk_pointer& fresh, inode_number owner,
                            const inode_table& inodes, std::unordered_map<std::uint16_t, extent>& moved);

    asio::io_context& core_;
    volume& volume_;
    dirty_budget& budget_;
    std::function<void()> on_failure_;
    const std::size_t own_chunk_size_;  // runs of at least this size are not packed

    // Guarded by names_lock.
    chunk_pointer packing_;
    std::vector<chunk_pointer> unnamed_;

    mutable std::mutex mutex_;
    std::unordered_map<chunk_id, chunk_pointer> chunks_;  // guarded by mutex_
    std::unordered_map<inode_number, error> failures_;    // guarded by mutex_
    std::atomic<std::size_t> failed_count_ = 0;           // files in failures_
    std::atomic<std::size_t> memory_ = 0;

    // Core thread.
    std::deque<chunk_pointer> queue_;
    std::size_t puts_running_ = 0;
    std::atomic<bool> abandoned_ = false;
    event put_done_;
    std::atomic<std::uint64_t> chunks_put_ = 0, puts_failed_ = 0;
};

}  // namespace warifu
