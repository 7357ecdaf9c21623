#include "fs/files/redo_log.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_set>

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr std::uint64_t magic = 0x7761726966755244;
constexpr std::uint32_t version = 1;
constexpr std::size_t header_size = 16384;
constexpr std::size_t kept_outcome_count = 128;  // the ring keeps what finds no place here until it is answered

thread_local std::uint64_t current_request = 0;

std::uint64_t aligned(std::uint64_t size) {
    return (size + 7) & ~std::uint64_t{7};
}

bool changes_data(redo_kind kind) {
    return kind == redo_kind::write || kind == redo_kind::allocate || kind == redo_kind::copy_range ||
           kind == redo_kind::set_attributes;
}

}  // namespace

// magic, version, starts    what it is, and how many daemons used it
// head, tail                the ring's ends, as positions
// committed, captured       numbers that a recovered volume may be at: of the last durable commit, of the one under way
// missed                    the highest number of an operation that found no room; 0: none
// greeting, greeting_reply  FUSE_INIT
// outcomes                  done, not told, and no longer in the ring; request 0: free
struct redo_log::header {
    std::uint64_t magic;
    std::uint32_t version, starts;
    std::uint64_t capacity;
    std::atomic<std::uint64_t> head, tail;
    std::atomic<std::uint64_t> committed, captured, missed;
    std::uint32_t greeting_size, greeting_reply_size;
    std::array<std::byte, redo_greeting_size_max> greeting, greeting_reply;
    struct kept {
        std::uint64_t request, number, size;
        redo_kind kind;
    };
    std::array<kept, kept_outcome_count> outcomes;
};

struct redo_log::entry {
    std::uint64_t size;  // with this header
    std::atomic<redo_kind> kind;
    std::atomic<std::uint32_t> answered;
    std::uint64_t request;
    std::atomic<std::uint64_t> sequence;
    std::uint64_t number, a, b;
    std::int64_t seconds;
    std::uint32_t nanoseconds, flags;
    std::uint64_t payload_size;

    std::byte* payload() { return reinterpret_cast<std::byte*>(this + 1); }
};

result<int> redo_log::make_memory(std::size_t ring_size) {
    static_assert(sizeof(header) <= header_size);
    const std::size_t size = header_size + ring_size;
    const int fd = ::memfd_create("warifu-redo", MFD_CLOEXEC);
    if (fd < 0) return fail(errc::io_error, fmt::format("memfd_create: {}", std::strerror(errno)));
    void* mapped = MAP_FAILED;
    if (::ftruncate(fd, static_cast<off_t>(size)) == 0)
        mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    // The mapping stays as long as the process: its lock keeps the pages in memory between two daemons. Where memory
    // cannot be locked, harden_process() has made sure that there is no swap.
    if (mapped != MAP_FAILED) static_cast<void>(::mlock(mapped, size));
    if (mapped != MAP_FAILED) return fd;
    const int code = errno;
    ::close(fd);
    return fail(errc::io_error, fmt::format("{} bytes of shared memory: {}", size, std::strerror(code)));
}

result<std::unique_ptr<redo_log>> redo_log::open(int fd) {
    struct stat at{};
    if (::fstat(fd, &at) != 0 || at.st_size < static_cast<off_t>(header_size))
        return fail(errc::bad_format, "this is no redo log");
    const auto size = static_cast<std::size_t>(at.st_size);
    void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) return fail(errc::io_error, fmt::format("mmap: {}", std::strerror(errno)));
    auto log = std::unique_ptr<redo_log>(new redo_log(static_cast<std::byte*>(mapped), size));
    header& head = log->head_;
    if (head.magic == 0) {
        head.version = version;
        head.capacity = size - header_size;
        head.magic = magic;
    }
    if (head.magic != magic || head.version != version || head.capacity != size - header_size)
        return fail(errc::bad_format, "the redo log is of another version");
    ++head.starts;
    log->note_inherited();
    return log;
}

redo_log::redo_log(std::byte* memory, std::size_t size)
    : memory_(memory), size_(size), head_(*reinterpret_cast<header*>(memory)) {}

redo_log::~redo_log() {
    ::munmap(memory_, size_);
}

std::uint32_t redo_log::starts() const {
    return head_.starts;
}

void redo_log::keep_greeting(bytes_view request) {
    WARIFU_ASSERT(request.size() <= redo_greeting_size_max);
    std::ranges::copy(request, head_.greeting.begin());
    head_.greeting_size = static_cast<std::uint32_t>(request.size());
}

void redo_log::keep_greeting_reply(bytes_view reply) {
    WARIFU_ASSERT(reply.size() <= redo_greeting_size_max);
    std::ranges::copy(reply, head_.greeting_reply.begin());
    head_.greeting_reply_size = static_cast<std::uint32_t>(reply.size());
}

bytes_view redo_log::greeting() const {
    return bytes_view(head_.greeting).first(head_.greeting_size);
}

bytes_view redo_log::greeting_reply() const {
    return bytes_view(head_.greeting_reply).first(head_.greeting_reply_size);
}

redo_log::entry& redo_log::at(position where) const {
    return *reinterpret_cast<entry*>(memory_ + header_size + where % head_.capacity);
}

redo_log::position redo_log::next(position where) const {
    const std::uint64_t left = head_.capacity - where % head_.capacity;
    return where + (left < sizeof(entry) ? left : at(where).size);  // a rest too small for an entry is skipped
}

bool redo_log::has_room(std::size_t size) const {
    return used() + sizeof(entry) + size + redo_margin <= head_.capacity;
}

std::uint64_t redo_log::used() const {
    return head_.head.load() - head_.tail.load();
}

std::optional<redo_log::position> redo_log::append(const redo_operation& operation) {
    const std::uint64_t size = aligned(sizeof(entry) + operation.payload.size());
    // A write to a place of its own may be done twice.
    const bool twice = operation.kind == redo_kind::write && (operation.flags & redo_appends) == 0;
    const std::uint64_t request = twice ? 0 : current_request;
    position where = 0;
    {
        const std::lock_guard lock(mutex_);
        where = head_.head.load();
        const std::uint64_t left = head_.capacity - where % head_.capacity;
        const std::uint64_t filler = left < size ? left : 0;
        if (used() + filler + size > head_.capacity) {
            head_.missed = std::max(head_.missed.load(), operation.sequence);
            return std::nullopt;
        }
        if (filler >= sizeof(entry)) {
            at(where).size = filler;
            at(where).kind = redo_kind::filler;
        }
        where += filler;
        entry& fresh = at(where);
        fresh.size = size;
        fresh.kind = redo_kind::unfinished;
        fresh.answered = request == 0 ? 1 : 0;
        fresh.request = request;
        head_.head.store(where + size, std::memory_order_release);
        if (request != 0) {
            const auto earlier = unanswered_.find(request);  // a request may take two steps: the last one counts
            if (earlier != unanswered_.end() && earlier->second.at) at(*earlier->second.at).answered = 1;
            unanswered_[request] = {{operation.kind, operation.number, operation.b}, where, false};
        }
    }
    entry& fresh = at(where);
    fresh.sequence = operation.sequence;
    fresh.number = operation.number;
    fresh.a = operation.a;
    fresh.b = operation.b;
    fresh.seconds = operation.time.seconds;
    fresh.nanoseconds = operation.time.nanoseconds;
    fresh.flags = operation.flags;
    fresh.payload_size = operation.payload.size();
    std::ranges::copy(operation.payload, fresh.payload());
    fresh.kind.store(operation.kind, std::memory_order_release);
    return where;
}

void redo_log::set_sequence(position where, std::uint64_t sequence) {
    at(where).sequence = sequence;
}

void redo_log::captured(std::uint64_t sequence) {
    head_.captured = sequence;
}

void redo_log::durable(std::uint64_t sequence) {
    const std::lock_guard lock(mutex_);
    head_.committed = sequence;
    if (head_.missed.load() <= sequence) head_.missed = 0;
    if (has_inherited_ && steady_clock::now() >= forget_at_) forget_inherited();
    trim();
}

bool redo_log::is_complete() const {
    return head_.missed.load() == 0;
}

/// REQUIRES mutex_ held.
void redo_log::trim() {
    position where = head_.tail.load();
    while (where < head_.head.load()) {
        if (head_.capacity - where % head_.capacity < sizeof(entry)) {
            where = next(where);
            continue;
        }
        entry& e = at(where);
        const redo_kind kind = e.kind.load(std::memory_order_acquire);
        if (kind == redo_kind::unfinished) break;
        const position after = where + e.size;
        if (kind != redo_kind::filler) {
            const std::uint64_t sequence = e.sequence.load();
            if (sequence == redo_unsealed || sequence > head_.committed.load()) break;
            if (e.answered.load() == 0 && !keep_outcome(e, where)) break;
            wipe(bytes_span(e.payload(), e.payload_size));
        }
        where = after;
        head_.tail = where;
    }
    head_.tail = where;
}

/// Its request has no reply yet: what it did moves to the header. REQUIRES mutex_ held.
bool redo_log::keep_outcome(entry& e, position where) {
    const auto known = unanswered_.find(e.request);
    if (known == unanswered_.end()) return true;
    const auto free = std::ranges::find(head_.outcomes, 0U, &header::kept::request);
    if (free == head_.outcomes.end()) return false;
    WARIFU_ASSERT(known->second.at == where);
    free->number = e.number;
    free->size = e.b;
    free->kind = e.kind;
    free->request = e.request;
    known->second.at.reset();
    return true;
}

void redo_log::work_on(std::uint64_t request) {
    current_request = request;
}

std::uint64_t redo_log::working_on() {
    return current_request;
}

std::optional<redo_log::outcome> redo_log::done_before() const {
    const std::lock_guard lock(mutex_);
    if (!has_inherited_) return std::nullopt;
    const auto known = unanswered_.find(current_request);
    if (known == unanswered_.end() || !known->second.inherited) return std::nullopt;
    return known->second.what;
}

void redo_log::asked_again() {
    const std::lock_guard lock(mutex_);
    forget_at_ = deadline_in_ms(redo_forget_ms);
}

void redo_log::answered(std::uint64_t request) {
    const std::lock_guard lock(mutex_);
    const auto known = unanswered_.find(request);
    if (known == unanswered_.end()) return;
    if (known->second.at) {
        at(*known->second.at).answered = 1;
    } else {
        const auto kept = std::ranges::find(head_.outcomes, request, &header::kept::request);
        if (kept != head_.outcomes.end()) *kept = {};
    }
    unanswered_.erase(known);
}

/// What an earlier daemon did without telling, by request.
void redo_log::note_inherited() {
    const std::lock_guard lock(mutex_);
    for (const auto& kept : head_.outcomes)
        if (kept.request != 0) unanswered_[kept.request] = {{kept.kind, kept.number, kept.size}, std::nullopt, true};
    for (position where = head_.tail.load(); where < head_.head.load(); where = next(where)) {
        if (head_.capacity - where % head_.capacity < sizeof(entry)) continue;
        entry& e = at(where);
        if (e.kind.load() == redo_kind::unfinished) e.kind = redo_kind::filler;
        if (e.kind.load() == redo_kind::filler || e.answered.load() != 0) continue;
        unanswered_[e.request] = {{e.kind, e.number, e.b}, where, true};
    }
    has_inherited_ = !unanswered_.empty();
}

/// The kernel has sent again whatever had no reply long ago: the rest had one. REQUIRES mutex_ held.
void redo_log::forget_inherited() {
    for (auto it = unanswered_.begin(); it != unanswered_.end();) {
        if (!it->second.inherited) {
            ++it;
            continue;
        }
        if (it->second.at) at(*it->second.at).answered = 1;
        const auto kept = std::ranges::find(head_.outcomes, it->first, &header::kept::request);
        if (kept != head_.outcomes.end()) *kept = {};
        it = unanswered_.erase(it);
    }
    has_inherited_ = false;
}

result<void> redo_log::prepare(std::uint64_t sequence) {
    if (head_.starts == 1) {  // nothing to do again
        head_.committed = head_.captured = sequence;
        return {};
    }
    if (head_.missed.load() > sequence)
        return fail(errc::too_large, "more was not durable than the redo log could hold");
    if (sequence != head_.committed.load() && sequence != head_.captured.load())
        return fail(errc::conflict,
                    "the volume is not where the redo log begins: another machine wrote it, or a "
                    "commit is there in part");
    head_.committed = head_.captured = sequence;
    head_.missed = 0;
    // What was done to a file's bytes after a write that is done again must be done again too, in order; each sets
    // bytes, sizes and times to what they were, whatever they are now.
    std::unordered_set<inode_number> again;
    for (position where = head_.tail.load(); where < head_.head.load(); where = next(where)) {
        if (head_.capacity - where % head_.capacity < sizeof(entry)) continue;
        entry& e = at(where);
        const redo_kind kind = e.kind.load();
        if (kind == redo_kind::filler || e.sequence.load() == redo_void) continue;
        if (e.sequence.load() == redo_unsealed || e.sequence.load() > sequence) {
            if (kind == redo_kind::write) again.insert(e.number);
            e.sequence = redo_to_do;
        } else if (changes_data(kind) && again.contains(e.number)) {
            if (kind == redo_kind::set_attributes) e.flags |= redo_data_only;
            e.sequence = redo_to_do;
        }
    }
    return {};
}

result<void> redo_log::for_each_to_do(const std::function<result<void>(position, const redo_operation&)>& what) {
    const position end = head_.head.load();
    for (position where = head_.tail.load(); where < end; where = next(where)) {
        if (where < head_.tail.load()) continue;  // dropped meanwhile by a commit
        if (head_.capacity - where % head_.capacity < sizeof(entry)) continue;
        entry& e = at(where);
        if (e.kind.load() == redo_kind::filler || e.sequence.load() != redo_to_do) continue;
        redo_operation operation;
        operation.kind = e.kind;
        operation.number = e.number;
        operation.a = e.a;
        operation.b = e.b;
        operation.time = {e.seconds, e.nanoseconds};
        operation.sequence = e.sequence;
        operation.flags = e.flags;
        operation.payload = bytes_view(e.payload(), e.payload_size);
        TRY_VOID(what(where, operation));
    }
    return {};
}

}  // namespace warifu
