#include "keyd/daemon/handover.h"

#include <algorithm>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace warifu {
namespace {

constexpr std::size_t copy_step = 512U << 10U;  // stays in the second-level cache between the read and the write

}  // namespace

result<unique_fd> copy_to_memory(const std::vector<handover_piece>& pieces) {
    static const std::string name = "a memory descriptor";
    unique_fd memory(::memfd_create("warifu-pad", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory.is_open()) return fail_errno("make", name);
    // Written through the file interface: whole pages are filled without being cleared or mapped first.
    buffer step(copy_step);
    std::uint64_t at = 0;
    for (const auto& piece : pieces) {
        TRY(const unique_fd source, open_file(piece.place.path, O_RDONLY));
        for (std::uint64_t done = 0; done < piece.size;) {
            const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(copy_step, piece.size - done));
            TRY_VOID(read_at(source.get(), piece.place.offset + done, step.span(0, size), piece.place.path));
            TRY_VOID(check_not_hollow(step.view(0, size), piece.place.path));
            TRY_VOID(write_at(memory.get(), at, step.view(0, size), name));
            done += size;
            at += size;
        }
    }
    if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        return fail_errno("seal", name);
    return memory;
}

}  // namespace warifu
