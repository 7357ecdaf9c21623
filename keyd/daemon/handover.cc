#include "keyd/daemon/handover.h"

#include <algorithm>
#include <fcntl.h>

namespace warifu {
namespace {

constexpr std::size_t copy_step = 128U << 10U;  // stays in the second-level cache between the read and the write

}  // namespace

result<void> fill_memory(int memory, const std::vector<handover_piece>& pieces) {
    // Written through the file interface: the memory is the consumer's and is never mapped here.
    buffer step(copy_step);
    std::uint64_t at = 0;
    for (const auto& piece : pieces) {
        TRY(const unique_fd source, open_file(piece.place.path, O_RDONLY));
        for (std::uint64_t done = 0; done < piece.size;) {
            const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(copy_step, piece.size - done));
            TRY_VOID(read_at(source.get(), piece.place.offset + done, step.span(0, size), piece.place.path));
            TRY_VOID(check_not_hollow(step.view(0, size), piece.place.path));
            TRY_VOID(write_at(memory, at, step.view(0, size), "lent memory"));
            done += size;
            at += size;
        }
    }
    return {};
}

}  // namespace warifu
