#include "keyd/lent_memory.h"

#include <algorithm>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fs/base/assert.h"
#include "fs/base/limits.h"
#include "keyd/limits.h"

namespace warifu {
namespace {

constexpr std::size_t page_size = 4096;
constexpr std::size_t memory_size = channel_window_size_max;  // of what is kept
constexpr int seals_needed = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
constexpr int seals_against_writing = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;

}  // namespace

result<std::unique_ptr<lent_memory>> lent_memory::make(std::size_t size) {
    static const std::string name = "a memory descriptor";
    unique_fd memory(::memfd_create("warifu-pad", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory.is_open()) return fail_errno("make", name);
    if (::ftruncate(memory.get(), static_cast<off_t>(size)) != 0) return fail_errno("size", name);
    if (::fcntl(memory.get(), F_ADD_SEALS, seals_needed) != 0) return fail_errno("seal", name);
    return std::unique_ptr<lent_memory>(new lent_memory(std::move(memory), size));
}

lent_memory::~lent_memory() {
    if (!mapped_.empty()) ::munmap(mapped_.data(), mapped_.size());
}

/// Maps so many bytes, whole pages, in place of those that are mapped. Fresh pages come all at once; where that cannot
/// be, they come when they are read.
result<void> lent_memory::map(std::size_t size) {
    const std::size_t before = mapped_.size();
    void* place = before == 0 ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0)
                              : ::mremap(mapped_.data(), before, size, MREMAP_MAYMOVE);
    if (place == MAP_FAILED) return fail_errno("map", "a memory descriptor");
    mapped_ = bytes_span(static_cast<std::byte*>(place), size);
    ::madvise(place, size, MADV_DONTDUMP);
    if (size > before) ::madvise(mapped_.data() + before, size - before, MADV_POPULATE_WRITE);
    return {};
}

result<bytes_span> lent_memory::filled(std::size_t size) {
    WARIFU_ASSERT(size > 0 && size <= size_);
    const std::size_t pages_end = (size + page_size - 1) / page_size * page_size;
    if (pages_end > mapped_.size()) TRY_VOID(map(pages_end));
    if (mapped_.size() > 2 * pages_end) {
        // Not by madvise, which leaves locked memory alone.
        const auto from = static_cast<off_t>(pages_end), surplus = static_cast<off_t>(mapped_.size() - pages_end);
        if (::fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, surplus) == 0)
            TRY_VOID(map(pages_end));
    }
    return mapped_.first(size);
}

result<std::unique_ptr<lent_memory>> memory_shelf::take(std::size_t size) {
    if (size > pad_window_size_max) return fail(errc::bad_argument, "no window is so large");
    if (size > memory_size) return lent_memory::make(size);
    {
        const std::lock_guard guard(mutex_);
        auto best = unused_.end();
        for (auto it = unused_.begin(); it != unused_.end(); ++it) {
            const std::size_t here = (*it)->taken(), there = best == unused_.end() ? 0 : (*best)->taken();
            const bool is_better = there >= size ? here >= size && here <= there : here >= there;
            if (is_better) best = it;
        }
        if (best != unused_.end()) {
            auto memory = std::move(*best);
            unused_.erase(best);
            taken_ -= memory->taken();
            return memory;
        }
    }
    return lent_memory::make(memory_size);
}

void memory_shelf::put_back(std::unique_ptr<lent_memory> memory) {
    if (memory->size() != memory_size) return;
    std::vector<std::unique_ptr<lent_memory>> out;  // given up when the lock is free again
    const std::lock_guard guard(mutex_);
    taken_ += memory->taken();
    unused_.push_back(std::move(memory));
    while (taken_ > shelf_size_max || unused_.size() > shelf_count_max) {
        taken_ -= unused_.front()->taken();
        out.push_back(std::move(unused_.front()));
        unused_.erase(unused_.begin());
    }
}

result<void> check_lent_memory(int fd, std::uint64_t size) {
    if (fd < 0) return fail(errc::busy, "no memory came with a claim");
    const int seals = ::fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & seals_needed) != seals_needed || (seals & seals_against_writing) != 0)
        return fail(errc::bad_argument, "a claim lends sealed memory that can be written");
    struct statfs where{};
    if (::fstatfs(fd, &where) != 0 || where.f_type != TMPFS_MAGIC)
        return fail(errc::bad_argument, "a claim lends memory of ordinary pages");
    const int mode = ::fcntl(fd, F_GETFL);
    if (mode < 0 || (mode & O_ACCMODE) != O_RDWR || (mode & O_APPEND) != 0)
        return fail(errc::bad_argument, "a claim lends memory for reading and writing");
    TRY(const std::uint64_t there, file_size(fd, "lent memory"));
    if (there < size || there > pad_window_size_max)
        return fail(errc::bad_argument, "a claim lends as much memory as it wants key");
    return {};
}

}  // namespace warifu
