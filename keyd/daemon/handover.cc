#include "keyd/daemon/handover.h"

#include <algorithm>
#include <fcntl.h>
#include <optional>
#include <sys/mman.h>
#include <sys/stat.h>

namespace warifu {
namespace {

constexpr std::uint64_t copy_step = 128U << 10U;  // stays in the second-level cache until it is looked at or written
constexpr std::uint64_t disk_step = channel_window_size_max;  // a disk is fast when it is asked for much at once

}  // namespace

struct handover::mapping {
    claim_queue::consumer from = 0;
    dev_t device = 0;
    ino_t inode = 0;
    bytes_span bytes;
    std::size_t populated = 0;
    deadline used;

    mapping() = default;
    mapping(const mapping&) = delete;
    mapping& operator=(const mapping&) = delete;
    ~mapping() {
        if (!bytes.empty()) ::munmap(bytes.data(), bytes.size());
    }
    bool map(int memory, std::size_t size) {
        void* place = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        if (place == MAP_FAILED) return false;
        bytes = bytes_span(static_cast<std::byte*>(place), size);
        ::madvise(place, size, MADV_DONTDUMP);
        return true;
    }
    /// All at once is faster than page by page as they are read into; nothing depends on it.
    void populate(std::size_t size) {
        if (size <= populated) return;
        ::madvise(bytes.data(), size, MADV_POPULATE_WRITE);
        populated = size;
    }
};

struct handover::disk_read {
    explicit disk_read(handover& owner) : owner_(owner) { owner_.reads_disk_ = true; }
    disk_read(const disk_read&) = delete;
    disk_read& operator=(const disk_read&) = delete;
    ~disk_read() {
        owner_.last_disk_read_ = steady_clock::now();
        owner_.reads_disk_ = false;
    }

  private:
    handover& owner_;
};

handover::handover(steady_clock::duration idle_max) : idle_max_(idle_max) {}
handover::~handover() = default;

/// Null: it is not mapped.
std::shared_ptr<handover::mapping> handover::borrow(claim_queue::consumer from, int memory, std::size_t size) {
    struct stat status{};
    if (::fstat(memory, &status) != 0) return nullptr;
    const auto whole = static_cast<std::size_t>(status.st_size);
    if (whole < size || whole > channel_window_size_max) return nullptr;
    const auto known = std::ranges::find_if(kept_, [&](const auto& one) {
        return one->from == from && one->device == status.st_dev && one->inode == status.st_ino;
    });
    auto out = known == kept_.end() ? nullptr : *known;
    if (!out) {
        forget_idle();
        std::size_t kept_size = whole;
        for (const auto& one : kept_) kept_size += one->bytes.size();
        if (kept_size > kept_mappings_max) return nullptr;
        out = std::make_shared<mapping>();
        out->from = from;
        out->device = status.st_dev;
        out->inode = status.st_ino;
        if (!out->map(memory, whole)) return nullptr;
        kept_.push_back(out);
    }
    out->used = steady_clock::now();
    out->populate(size);
    return out;
}

result<void> handover::fill(claim_queue::consumer from, int memory, const std::vector<handover_piece>& pieces) {
    std::uint64_t wanted = 0;
    for (const auto& piece : pieces) wanted += piece.size;
    const auto target = borrow(from, memory, wanted);
    buffer bounce;
    std::uint64_t at = 0;
    for (const auto& piece : pieces) {
        TRY(const unique_fd source, open_file(piece.place.path, O_RDONLY));
        const bool cold = is_cold(source.get(), piece.place.offset, piece.size);
        std::optional<disk_read> reading;
        if (cold) reading.emplace(*this);
        const auto read = cold ? read_cold : read_at;
        const std::uint64_t step_max = std::min(piece.size, cold ? disk_step : copy_step);
        if (!target && bounce.size() < step_max) bounce = buffer(static_cast<std::size_t>(step_max));
        for (std::uint64_t done = 0; done < piece.size;) {
            const auto size = static_cast<std::size_t>(std::min(step_max, piece.size - done));
            // The consumer may write to mapped memory at any time, and would deceive itself alone.
            const bytes_span step = target ? target->bytes.subspan(at, size) : bounce.span(0, size);
            TRY_VOID(read(source.get(), piece.place.offset + done, step, piece.place.path));
            TRY_VOID(check_not_hollow(step, piece.place.path));
            if (!target) TRY_VOID(write_at(memory, at, step, "lent memory"));
            done += size;
            at += size;
        }
    }
    return {};
}

deadline handover::last_disk_read() const {
    return reads_disk_ ? steady_clock::now() : last_disk_read_.load();
}

void handover::forget(claim_queue::consumer from) {
    std::erase_if(kept_, [from](const auto& one) { return one->from == from; });
}

void handover::forget_idle() {
    const deadline since = steady_clock::now() - idle_max_;
    std::erase_if(kept_, [since](const auto& one) { return one->used < since; });
}

}  // namespace warifu
