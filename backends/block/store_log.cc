#include "backends/block/store_log.h"

#include "fs/base/assert.h"

namespace warifu {

std::size_t log_writer::batch_size_max(std::uint32_t segment_sectors) {
    const std::uint64_t room = segment_sectors - 1;
    const std::uint64_t count = divide_up(room, std::uint64_t{log_batch_size_max / sector_size});
    return room / count * sector_size - batch_header_size;
}

std::uint64_t log_writer::segments_for(std::uint64_t entry_bytes, std::uint32_t segment_sectors) {
    const std::size_t batch = batch_size_max(segment_sectors);
    const std::uint64_t batches = (segment_sectors - 1) / batch_sectors(batch);
    // A batch ends before the first entry that does not fit.
    return divide_up(entry_bytes, batches * (batch - std::min(log_entry_size_max, batch / 2)));
}

bool log_writer::needs_segment(std::size_t entry_bytes) const {
    return at_.used + batch_sectors(entry_bytes) > segment_sectors_;
}

task<> log_writer::write(bytes_view entries) {
    WARIFU_ASSERT(entries.size() <= batch_size_max(segment_sectors_));
    const bool fresh = needs_segment(entries.size());
    const std::uint32_t sectors = batch_sectors(entries.size());
    const std::uint32_t front = fresh ? 1 : 0;
    if (fresh) {
        WARIFU_ASSERT(spare_.has_value());
        at_.segments.push_back(at_.next);
        ++at_.number;
        at_.next = *std::exchange(spare_, std::nullopt);
        at_.used = 0;
    }
    const std::size_t size = (front + sectors) * sector_size;
    if (scratch_.size() < size) scratch_ = buffer(size);
    if (fresh) {
        segment_header header;
        header.store = store_;
        header.number = at_.number;
        header.sector = at_.segments.back();
        header.next = at_.next;
        const byte_vector encoded = encode_segment_header(header);
        std::memcpy(scratch_.data(), encoded.data(), sector_size);
    }
    batch_header header;
    header.store = store_;
    header.sequence = at_.batch;
    header.segment = at_.number;
    encode_batch(scratch_.span(front * sector_size, sectors * sector_size), header, entries);
    std::vector<sector_output> list(1);
    list[0].first = at_.segments.back() + at_.used;
    list[0].from.push_back(scratch_.view(0, size));
    at_.used += front + sectors;
    ++at_.batch;
    return disk_.write(std::move(list));
}

log_reader::log_reader(device& disk, const superblock& block)
    : disk_(disk), store_(block.uuid), segment_sectors_(block.segment_sectors), first_sector_(block.log_sector) {
    at_.number = block.log_segment;
    at_.batch = block.log_batch;
}

/// True when a segment of that number lies there; it is then the current one.
task<bool> log_reader::load(std::uint64_t sector, std::uint64_t number) {
    if (sector < data_first || sector > disk_.sector_count() - segment_sectors_) co_return false;
    CO_TRY(buffer bytes, co_await disk_.read_sectors(extent{sector, segment_sectors_}));
    const auto header = decode_segment_header(bytes.view(0, sector_size));
    if (!header || header->store != store_ || header->number != number || header->sector != sector) co_return false;
    segment_ = std::move(bytes);
    at_.segments.push_back(sector);
    at_.number = number;
    at_.next = header->next;
    at_.used = 1;
    co_return true;
}

bool log_reader::is_ours(const batch_header& header, std::uint64_t segment) const {
    return header.store == store_ && header.segment == segment;
}

result<std::optional<decoded_batch>> log_reader::parse_here() {
    const bytes_view rest = segment_.view(at_.used * sector_size, segment_.size() - at_.used * sector_size);
    const auto header = peek_batch(rest);
    if (!header || !is_ours(*header, at_.number) || header->sequence != at_.batch) return std::nullopt;
    auto batch = decode_batch(rest);
    if (batch) {
        at_.used += batch->header.sector_count;
        ++at_.batch;
        return std::optional(std::move(*batch));
    }
    // A torn batch ends the log; one that was written whole and makes no sense does not.
    if (batch.error().code == errc::bad_checksum) return std::nullopt;
    if (rest.size() < header->sector_count * sector_size) return std::nullopt;
    return fail(std::move(batch).error());
}

bool log_reader::holds_later_batch(bytes_view sectors, std::uint64_t segment, std::uint32_t from) const {
    for (std::size_t at = from * sector_size; at < sectors.size(); at += sector_size) {
        const bytes_view rest = sectors.subspan(at);
        const auto header = peek_batch(rest);
        if (!header || !is_ours(*header, segment) || header->sequence <= at_.batch) continue;
        if (decode_batch(rest)) return true;
    }
    return false;
}

task<std::optional<decoded_batch>> log_reader::next() {
    if (at_.segments.empty()) {
        CO_TRY(const bool found, co_await load(first_sector_, at_.number));
        if (!found) co_return fail(errc::bad_checksum, "log damaged: its first segment is not there");
    }
    CO_TRY(auto here, parse_here());
    if (here) co_return here;
    log_position before = at_;
    buffer kept = std::move(segment_);
    CO_TRY(const bool moved, co_await load(before.next, before.number + 1));
    if (moved) {
        CO_TRY(auto first, parse_here());
        if (first) co_return first;
        if (holds_later_batch(segment_.view(), at_.number, 1))
            co_return fail(errc::bad_checksum, "log damaged: good batches behind a bad one");
    }
    segment_ = std::move(kept);
    at_ = std::move(before);
    if (holds_later_batch(segment_.view(), at_.number, at_.used))
        co_return fail(errc::bad_checksum, "log damaged: good batches behind a bad one");
    co_return std::optional<decoded_batch>();
}

}  // namespace warifu
