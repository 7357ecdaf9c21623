// Erasure: spent bytes whose window is closed are overwritten; a block that is wholly spent loses its file.
#include <fcntl.h>

#include "fs/base/limits.h"
#include "keyd/pool/pool.h"

namespace warifu {

void pool::touch(std::uint16_t stream, std::uint64_t offset) {
    const auto& blocks = state_.streams()[stream].blocks;
    const auto it = blocks.upper_bound(offset);
    if (it != blocks.begin()) touched_.emplace(stream, std::prev(it)->first);
}

/// A used-up block stays for its hello slots only while its stream is short of them.
bool pool::may_retire(const stream_state& stream, const block_state& block) const {
    if (block.free_bytes() != 0) return false;
    const auto window = stream.open.lower_bound(block.header.range.offset);
    if (window != stream.open.end() && window->first < block.end()) return false;
    const std::uint64_t here = block.hello_slots_free();
    const std::uint64_t keep =
        stream.name.sender == options_.site ? hello_slots_kept_by_sender : hello_slots_kept_by_receiver;
    return here == 0 || stream.hello_slots_free - here >= keep;
}

std::optional<erase_job> pool::make_erasure(std::uint16_t index, std::uint64_t offset) {
    const auto& stream = state_.streams()[index];
    const auto found = stream.blocks.find(offset);
    if (found == stream.blocks.end()) return std::nullopt;
    const auto& block = found->second;
    erase_job job{index, offset, block_path(block.header.id), {}, may_retire(stream, block)};
    if (job.remove && block.hello_slots_free() != 0 && !record(hello_spent{index, {offset, block.header.hello_size}}))
        return std::nullopt;  // the ledger failed: nothing more happens until the restart
    interval_set due(~std::size_t{0});
    for (const auto& piece : block.spent.intervals()) due.add(piece.begin, piece.end);
    for (const auto& piece : block.hello_spent.intervals()) due.add(piece.begin, piece.end);
    for (auto it = stream.open.lower_bound(offset); it != stream.open.end() && it->first < block.end(); ++it)
        due.subtract(it->second.range.offset, it->second.range.end());
    for (const auto& piece : block.erased.intervals()) due.subtract(piece.begin, piece.end);
    for (const auto& piece : due.intervals()) job.ranges.push_back(pad_range{piece.begin, piece.size()});
    if (job.ranges.empty() && !job.remove) return std::nullopt;
    return job;
}

std::vector<erase_job> pool::take_erasures() {
    std::vector<erase_job> jobs;
    for (auto it = touched_.begin(); it != touched_.end();) {
        if (erasing_.contains(*it)) {
            ++it;
            continue;
        }
        if (auto job = make_erasure(it->first, it->second)) {
            erasing_.insert(*it);
            jobs.push_back(std::move(*job));
        }
        it = touched_.erase(it);
    }
    return jobs;
}

result<void> run_erasure(const erase_job& job) {
    TRY(const unique_fd fd, open_file(job.path, O_RDWR | O_NOFOLLOW));
    for (const auto& range : job.ranges)
        TRY_VOID(erase_range(fd.get(), pad_header_size + (range.offset - job.block), range.size, job.path));
    if (job.remove) TRY_VOID(remove_file(job.path));
    return {};
}

result<void> pool::erased(const erase_job& job) {
    erasing_.erase({job.stream, job.block});
    if (job.remove) {
        TRY_VOID(record(block_gone{job.stream, job.block}));
        return {};
    }
    for (const auto& range : job.ranges) TRY_VOID(record(range_erased{job.stream, range}));
    return {};
}

void pool::erase_failed(const erase_job& job) {
    erasing_.erase({job.stream, job.block});
}

result<void> pool::erase_now() {
    for (auto jobs = take_erasures(); !jobs.empty(); jobs = take_erasures()) {
        for (const auto& job : jobs) {
            auto done = run_erasure(job);
            if (!done) {
                erase_failed(job);
                return done;
            }
            TRY_VOID(erased(job));
        }
    }
    return {};
}

}  // namespace warifu
