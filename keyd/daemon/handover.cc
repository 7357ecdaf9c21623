#include "keyd/daemon/handover.h"

#include <algorithm>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "fs/base/clock.h"
#include "keyd/limits.h"

namespace warifu {
namespace {

constexpr std::size_t read_step = 128U << 10U;  // is looked at while it is in the second-level cache
constexpr auto idle_max = std::chrono::seconds(5);

}  // namespace

struct handover::mapping {
    claim_queue::consumer from = 0;
    dev_t device = 0;
    ino_t inode = 0;
    bytes_span bytes;
    deadline used = steady_clock::now();

    mapping() = default;
    mapping(const mapping&) = delete;
    mapping& operator=(const mapping&) = delete;
    ~mapping() {
        if (!bytes.empty()) ::munmap(bytes.data(), bytes.size());
    }

    result<void> map(int memory, std::size_t size) {
        static const std::string name = "lent memory";
        void* place = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        if (place == MAP_FAILED) return fail_errno("map", name);
        bytes = bytes_span(static_cast<std::byte*>(place), size);
        ::madvise(place, size, MADV_DONTDUMP);
        if (::madvise(place, size, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) return fail_errno("fill", name);
        return {};
    }
};

handover::handover() = default;
handover::~handover() = default;

result<std::shared_ptr<handover::mapping>> handover::borrow(claim_queue::consumer from, int memory, std::size_t size) {
    struct stat status{};
    if (::fstat(memory, &status) != 0) return fail_errno("look at", "lent memory");
    const auto now = steady_clock::now();
    std::erase_if(kept_, [&](const auto& one) { return now - one->used > idle_max; });
    const auto known = std::ranges::find_if(kept_, [&](const auto& one) {
        return one->from == from && one->device == status.st_dev && one->inode == status.st_ino;
    });
    if (known != kept_.end()) {
        if ((*known)->bytes.size() >= size) {
            (*known)->used = now;
            return *known;
        }
        kept_.erase(known);
    }
    const auto fresh = std::make_shared<mapping>();
    fresh->from = from;
    fresh->device = status.st_dev;
    fresh->inode = status.st_ino;
    TRY_VOID(fresh->map(memory, size));
    std::size_t kept_size = size;
    for (const auto& one : kept_) kept_size += one->bytes.size();
    if (kept_size <= kept_mappings_max) kept_.push_back(fresh);
    return fresh;
}

result<void> handover::fill(claim_queue::consumer from, int memory, const std::vector<handover_piece>& pieces) {
    std::uint64_t wanted = 0;
    for (const auto& piece : pieces) wanted += piece.size;
    TRY(const auto target, borrow(from, memory, wanted));
    std::uint64_t at = 0;
    for (const auto& piece : pieces) {
        TRY(const unique_fd source, open_file(piece.place.path, O_RDONLY));
        for (std::uint64_t done = 0; done < piece.size;) {
            const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(read_step, piece.size - done));
            // The consumer may write here at any time, and would deceive itself alone. Sealed memory never shrinks.
            const bytes_span step = target->bytes.subspan(at, size);
            TRY_VOID(read_at(source.get(), piece.place.offset + done, step, piece.place.path));
            TRY_VOID(check_not_hollow(step, piece.place.path));
            done += size;
            at += size;
        }
    }
    return {};
}

void handover::forget(claim_queue::consumer from) {
    std::erase_if(kept_, [from](const auto& one) { return one->from == from; });
}

}  // namespace warifu
