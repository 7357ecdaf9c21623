#pragma once
// What was promised to programs and is not durable yet, kept outside of the process: a ring of operations in shared
// memory (a memfd) that outlives a daemon that crashes. The next daemon opens the volume at its last commit and does
// again what the ring holds, so that programs that go on working on the mount miss nothing: no name, no byte, no open
// file. It does not survive the machine; fsync is what does.
//
// Which operations a recovered volume holds is told by RocksDB's sequence numbers: each entry carries the number after
// its own mutation, and a volume that was opened at number S holds exactly the entries up to S. A write has no number
// until its bytes were sealed (fs/files/README.md).
//
// Memory: header, then the ring. Entries are contiguous, 8-byte aligned; host byte order (it never leaves the machine).
// It holds plaintext: entries are wiped when they are dropped, and whoever makes the memory locks it.
//
// Thread safety: any thread, except what says otherwise. Its mutex is a leaf.

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "fs/base/bytes.h"
#include "fs/base/clock.h"
#include "fs/metadata/name_space.h"

namespace warifu {

enum class redo_kind : std::uint32_t {
    unfinished = 0,  // reserved, not copied: its daemon died before it told anybody
    filler = 1,      // up to the end of the ring
    create = 2,
    link = 3,
    unlink = 4,
    remove_directory = 5,
    rename = 6,
    set_attributes = 7,
    set_attribute = 8,
    remove_attribute = 9,
    write = 10,
    allocate = 11,
    copy_range = 12,
};

/// One operation. What the fields mean depends on its kind: redo.cc.
struct redo_operation {
    redo_kind kind = redo_kind::filler;
    inode_number number = 0;  // of the inode that it made or changed
    std::uint64_t a = 0, b = 0;
    time_stamp time;
    std::uint64_t sequence = 0;  // 0: not sealed
    std::uint32_t flags = 0;
    bytes_view payload;
};

inline constexpr std::uint64_t redo_unsealed = 0;
inline constexpr std::uint64_t redo_to_do = ~std::uint64_t{0};  // must be done again
inline constexpr std::uint64_t redo_void = 1;                   // nobody can see its effect any more
inline constexpr std::uint32_t redo_data_only = 1;              // flag: only what it did to size and times
inline constexpr std::uint32_t redo_appends = 2;                // flag of a write: at the end, wherever that was
inline constexpr std::size_t redo_margin = 12U << 20U;          // of the ring, kept free of writes for names
inline constexpr std::size_t redo_size_min = 2 * redo_margin;
inline constexpr std::size_t redo_greeting_size_max = 1024;
inline constexpr std::uint32_t redo_forget_ms = 60'000;  // after asked_again(): of an earlier daemon's answers

class redo_log {
  public:
    using position = std::uint64_t;  // of an entry; counts up for ever

    /// A memfd of a header and `ring_size` bytes, locked in memory by the mapping that stays with this process.
    static result<int> make_memory(std::size_t ring_size);
    /// Maps it; a fresh one is set up. The descriptor stays the caller's. bad_format when it is another version's.
    static result<std::unique_ptr<redo_log>> open(int fd);
    ~redo_log();
    redo_log(const redo_log&) = delete;
    redo_log& operator=(const redo_log&) = delete;

    /// How many daemons used it, this one included.
    std::uint32_t starts() const;
    /// The kernel's first request and the reply to it: a later daemon of the same mount never sees them. At most
    /// redo_greeting_size_max bytes each.
    void keep_greeting(bytes_view request);
    void keep_greeting_reply(bytes_view reply);
    bytes_view greeting() const;
    bytes_view greeting_reply() const;

    // ---- while serving ----
    /// Whether a write of this size may be accepted.
    bool has_room(std::size_t size) const;
    /// Copies it in, for the request that this thread works on. nullopt: no room; the log is incomplete until
    /// `sequence` is durable.
    std::optional<position> append(const redo_operation& operation);
    void set_sequence(position at, std::uint64_t sequence);
    /// A commit takes everything up to `sequence`. REQUIRES names_lock held.
    void captured(std::uint64_t sequence);
    /// That commit is durable: drops what nobody needs any more.
    void durable(std::uint64_t sequence);
    bool is_complete() const;
    std::uint64_t used() const;

    // ---- requests ----
    /// The request that this thread works on from now on; 0: none. A number of the kernel, without its resend bit.
    static void work_on(std::uint64_t request);
    static std::uint64_t working_on();
    struct outcome {
        redo_kind kind;
        inode_number number;
        std::uint64_t size;  // write, copy_range: bytes
    };
    /// What an earlier daemon did for this thread's request without telling; nothing when it was not done.
    std::optional<outcome> done_before() const;
    /// The kernel was told to send again what has no reply.
    void asked_again();
    /// The kernel has the reply.
    void answered(std::uint64_t request);

    // ---- replay: one thread, before serving ----
    /// Decides what must be done again on a volume that holds everything up to `sequence`. conflict when that is not
    /// one of the states that a crash can leave; too_large when the ring was too small for what was not durable.
    result<void> prepare(std::uint64_t sequence);
    /// Every entry that is to be done, in order; `what` sets its sequence.
    result<void> for_each_to_do(const std::function<result<void>(position, const redo_operation&)>& what);

  private:
    struct header;
    struct entry;
    struct kept_outcome {
        outcome what;
        std::optional<position> at;  // in the ring; else in the header's table
        bool inherited;
    };
    redo_log(std::byte* memory, std::size_t size);
    entry& at(position where) const;
    position next(position where) const;
    void note_inherited();
    void trim();
    bool keep_outcome(entry& e, position where);
    void forget_inherited();

    std::byte* const memory_;
    const std::size_t size_;
    header& head_;
    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, kept_outcome> unanswered_;  // guarded by mutex_; by request
    deadline forget_at_ = deadline::max();                        // guarded by mutex_
    bool has_inherited_ = false;                                  // guarded by mutex_
};

}  // namespace warifu
