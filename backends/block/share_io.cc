// Shares on the device: writing, revising, reading, checking.

#include <algorithm>

#include "backends/block/block_core.h"
#include "backends/block/sector_crc.h"
#include "backends/store_rules.h"
#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr std::size_t direct_size_min = 64U << 10U;  // smaller pieces are cheaper to copy than to scatter

bool is_aligned(bytes_view bytes) {
    return reinterpret_cast<std::uintptr_t>(bytes.data()) % sector_size == 0;
}

/// The pieces as whole sectors: large aligned ones where they are, the rest (and last sectors) copied and padded with
/// zeros.
struct sector_stream {
    buffer bounce;
    std::vector<bytes_view> views;  // each a whole number of sectors; neighbours in memory are joined
    std::uint64_t sectors = 0;

    void add(bytes_view view) {
        if (view.empty()) return;
        sectors += view.size() / sector_size;
        if (!views.empty() && views.back().data() + views.back().size() == view.data())
            views.back() = bytes_view(views.back().data(), views.back().size() + view.size());
        else
            views.push_back(view);
    }
};

std::size_t direct_size(bytes_view piece) {
    return piece.size() >= direct_size_min && is_aligned(piece) ? piece.size() / sector_size * sector_size : 0;
}

sector_stream make_stream(const std::vector<slice>& pieces) {
    sector_stream out;
    std::size_t copied = 0;
    for (const slice& piece : pieces) copied += round_up(piece.size() - direct_size(piece.view()), sector_size);
    out.bounce = buffer(copied);
    std::size_t at = 0;
    for (const slice& piece : pieces) {
        const std::size_t direct = direct_size(piece.view());
        out.add(piece.view().first(direct));
        const bytes_view rest = piece.view().subspan(direct);
        if (rest.empty()) continue;
        const bytes_span place = out.bounce.span(at, round_up(rest.size(), sector_size));
        std::memcpy(place.data(), rest.data(), rest.size());
        std::memset(place.data() + rest.size(), 0, place.size() - rest.size());
        out.add(place);
        at += place.size();
    }
    return out;
}

/// Distributes `views`, in order, over `extents`. REQUIRES: equal totals.
std::vector<sector_output> lay_out(const std::vector<bytes_view>& views, const extent_list& extents) {
    std::vector<sector_output> out;
    std::size_t view = 0, used = 0;
    for (const extent& e : extents) {
        sector_output one;
        one.first = e.first;
        std::size_t left = e.count * sector_size;
        while (left > 0) {
            const std::size_t taken = std::min(left, views[view].size() - used);
            one.from.push_back(views[view].subspan(used, taken));
            left -= taken;
            used += taken;
            if (used == views[view].size()) ++view, used = 0;
        }
        out.push_back(std::move(one));
    }
    WARIFU_ASSERT(view == views.size());
    return out;
}

std::vector<sector_io> lay_into(bytes_span memory, const extent_list& extents) {
    std::vector<sector_io> out;
    std::size_t at = 0;
    for (const extent& e : extents) {
        sector_io one;
        one.first = e.first;
        one.into.push_back(memory.subspan(at, e.count * sector_size));
        at += e.count * sector_size;
        out.push_back(std::move(one));
    }
    return out;
}

}  // namespace

/// Gives back what `extents` has more than `size_of(run count)` sectors; fewer runs may need fewer sectors.
void block_core::trim(extent_list& extents, const std::function<std::uint64_t(std::size_t)>& size_of) {
    for (std::uint64_t wanted = size_of(extents.size()); wanted < sectors_of(extents);
         wanted = size_of(extents.size())) {
        space_.give_back(part_of(extents, wanted, sectors_of(extents) - wanted));
        extents = part_of(extents, 0, wanted);
    }
}

void block_core::keep_head(const placed_ptr& share, std::shared_ptr<const share_head> head) {
    cached_head entry;
    entry.share = share;
    entry.size = head->memory_size();
    share->head = std::move(head);
    head_cache_size_ += entry.size;
    head_cache_.push_back(std::move(entry));
    while (head_cache_size_ > head_cache_size_max) {  // second chance
        cached_head oldest = std::move(head_cache_.front());
        head_cache_.pop_front();
        const auto held = oldest.share.lock();
        if (held && std::exchange(held->head_was_used, false)) {
            head_cache_.push_back(std::move(oldest));
            continue;
        }
        if (held) held->head.reset();
        head_cache_size_ -= oldest.size;
    }
}

task<std::shared_ptr<const share_head>> block_core::load_head(volume_ptr volume, chunk_id chunk, placed_ptr share) {
    if (const auto arrival = share->arrival) co_await arrival->wait();
    if (share->head) {
        share->head_was_used = true;
        co_return share->head;
    }
    buffer bytes(share->head_sectors * sector_size);
    CO_TRY_VOID(co_await disk_->read(lay_into(bytes.span(), part_of(share->extents, 0, share->head_sectors))));
    auto head = decode_share_head(bytes.view());
    const bool good = head && share_head_checksum(bytes.view()) == share->head_checksum && head->store == block_.uuid &&
                      head->volume == volume->id && head->chunk == chunk && head->extents == share->extents;
    if (!good) {
        count_media_error();
        co_return fail(errc::bad_checksum, "the medium changed the head of a share");
    }
    auto out = std::make_shared<const share_head>(std::move(*head));
    if (!share->head) keep_head(share, out);
    co_return out;
}

task<std::vector<slice>> block_core::read_ranges(placed_ptr share, std::shared_ptr<const share_head> head,
                                                 std::vector<share_range> ranges) {
    CO_TRY_VOID(check_ranges(head->description, ranges));
    const auto& sizes = head->description.piece_sizes;
    std::vector<std::uint64_t> firsts(sizes.size());
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        firsts[i] = sum;
        sum += divide_up(sizes[i], sector_size);
    }
    std::vector<buffer> buffers(ranges.size());
    std::vector<sector_io> list;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        const share_range& range = ranges[i];
        if (range.part == side_part || range.size == 0) continue;
        const std::uint64_t first = firsts[range.part] + range.offset / sector_size;
        const std::uint64_t count = divide_up(range.offset % sector_size + range.size, sector_size);
        buffers[i] = buffer(count * sector_size);
        auto part = lay_into(buffers[i].span(), part_of(share->extents, share->head_sectors + first, count));
        for (sector_io& one : part) list.push_back(std::move(one));
    }
    const auto done = co_await disk_->read(std::move(list));
    if (!done) {
        count_media_error();
        co_return fail(errc::bad_checksum, "the medium cannot read this share");
    }
    std::vector<slice> out;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        const share_range& range = ranges[i];
        if (range.part == side_part || range.size == 0) {
            const bytes_view side = head->side;
            out.emplace_back(buffer::copy_of(range.size == 0 ? bytes_view() : side.subspan(range.offset, range.size)));
            continue;
        }
        const std::uint64_t first = firsts[range.part] + range.offset / sector_size;
        if (!sectors_match(buffers[i].view(), std::span(head->sector_checksums).subspan(first))) {
            count_media_error();
            co_return fail(errc::bad_checksum, "the medium changed this share");
        }
        out.push_back(slice(std::move(buffers[i])).part(range.offset % sector_size, range.size));
    }
    co_return out;
}

share_head block_core::head_for(const volume_state& volume, const share_put& put, std::uint32_t generation) const {
    share_head head;
    head.store = block_.uuid;
    head.volume = volume.id;
    head.chunk = put.chunk;
    head.generation = generation;
    head.description.index = put.index;
    head.description.policy = put.policy;
    head.description.side_size = static_cast<std::uint32_t>(put.side.size());
    for (const slice& piece : put.pieces)
        head.description.piece_sizes.push_back(static_cast<std::uint32_t>(piece.size()));
    head.side.assign(put.side.view().begin(), put.side.view().end());
    return head;
}

task<block_core::unwritten_share> block_core::place_share(share_head head, std::vector<slice> pieces, room kind) {
    sector_stream stream = make_stream(pieces);
    const auto size_of = [&](std::size_t extents) {
        return share_head_sectors(extents, head.description.piece_sizes.size(), stream.sectors, head.side.size()) +
               stream.sectors;
    };
    CO_TRY(head.extents, co_await allocate(size_of(1), kind));
    if (size_of(head.extents.size()) != size_of(1)) {
        space_.give_back(head.extents);  // many runs make the head longer
        CO_TRY(head.extents, co_await allocate(size_of(extent_count_max), kind));
        trim(head.extents, size_of);
    }
    head.sector_checksums = sector_checksums(stream.views);
    encoded_head encoded = encode_share_head(head);
    std::vector<bytes_view> views{encoded.bytes.view()};
    views.insert(views.end(), stream.views.begin(), stream.views.end());
    unwritten_share out;
    out.list = lay_out(views, head.extents);
    out.placed = placed_from(std::move(head), encoded);
    out.pieces = std::move(pieces);
    out.head = std::move(encoded.bytes);
    out.bounce = std::move(stream.bounce);
    co_return out;
}

task<placed_ptr> block_core::write_share(share_head head, std::vector<slice> pieces, room kind) {
    CO_TRY(auto fresh, co_await place_share(std::move(head), std::move(pieces), kind));
    CO_TRY_VOID(co_await write_new(std::move(fresh.list), fresh.placed->extents));
    co_return std::move(fresh.placed);
}

task<> block_core::write_logged(unwritten_share share) {
    const batch_ptr batch = pending_;
    const auto arrival = std::make_shared<event>(executor_);
    share.placed->arrival = arrival;
    ++batch->writes;
    const auto done = co_await disk_->write(std::move(share.list));
    if (!done) fail_store(done.error());
    share.placed->arrival.reset();
    arrival->set();
    if (--batch->writes == 0) batch->written.set();
    co_return done;
}

task<> block_core::write_new(std::vector<sector_output> list, extent_list place) {
    const auto done = co_await disk_->write(std::move(list));
    if (done) co_return result<void>{};
    count_media_error();
    free_unlogged(place);
    co_return fail(done.error());
}

placed_ptr block_core::placed_from(share_head head, const encoded_head& encoded) {
    auto placed = std::make_shared<placed_share>();
    placed->generation = head.generation;
    placed->head_checksum = encoded.checksum;
    placed->head_sectors = static_cast<std::uint32_t>(encoded.bytes.size() / sector_size);
    placed->extents = head.extents;
    keep_head(placed, std::make_shared<const share_head>(std::move(head)));
    return placed;
}

/// A new head without the removed pieces, beside the old one; the pieces that stay are not touched.
task<placed_ptr> block_core::write_revision(volume_ptr volume, chunk_id chunk, placed_ptr old, share_removal removal) {
    CO_TRY(const auto old_head, co_await load_head(volume, chunk, old));
    share_head head = *old_head;
    ++head.generation;
    for (const std::uint32_t piece : removal.pieces) head.description.piece_sizes[piece] = 0;
    for (const share_range& range : removal.side_ranges)
        std::fill_n(head.side.begin() + range.offset, range.size, std::byte{0});
    extent_list data;
    std::vector<std::uint32_t> checksums;
    std::uint64_t at = 0;
    for (std::size_t i = 0; i < head.description.piece_sizes.size(); ++i) {
        const std::uint64_t count = divide_up(old_head->description.piece_sizes[i], sector_size);
        if (head.description.piece_sizes[i] != 0) {
            for (const extent& e : part_of(old->extents, old->head_sectors + at, count)) data.push_back(e);
            const auto first = old_head->sector_checksums.begin() + static_cast<std::ptrdiff_t>(at);
            checksums.insert(checksums.end(), first, first + static_cast<std::ptrdiff_t>(count));
        }
        at += count;
    }
    data = joined(data);
    head.sector_checksums = std::move(checksums);
    const auto size_of = [&](std::size_t extents) {
        return share_head_sectors(extents + data.size(), head.description.piece_sizes.size(),
                                  head.sector_checksums.size(), head.side.size());
    };
    CO_TRY(extent_list place, co_await allocate(size_of(extent_count_max), room::remove));
    if (place.size() + data.size() > extent_count_max) {
        space_.give_back(place);
        co_return placed_ptr();  // in too many runs: the caller writes the share anew
    }
    trim(place, size_of);
    head.extents = place;
    head.extents.insert(head.extents.end(), data.begin(), data.end());
    const encoded_head encoded = encode_share_head(head);
    const std::vector<bytes_view> views{encoded.bytes.view()};
    CO_TRY_VOID(co_await write_new(lay_out(views, place), place));
    co_return placed_from(std::move(head), encoded);
}

task<> block_core::verify_share(volume_ptr volume, chunk_id chunk, placed_ptr share) {
    CO_TRY(const auto head, co_await load_head(volume, chunk, share));
    const std::uint64_t count = head->sector_checksums.size();
    constexpr std::uint64_t step = (1U << 20U) / sector_size;
    for (std::uint64_t at = 0; at < count; at += step) {
        const std::uint64_t now = std::min(step, count - at);
        buffer bytes(now * sector_size);
        CO_TRY_VOID(
            co_await disk_->read(lay_into(bytes.span(), part_of(share->extents, share->head_sectors + at, now))));
        if (!sectors_match(bytes.view(), std::span(head->sector_checksums).subspan(at)))
            co_return fail(errc::bad_checksum, "a share is not whole");
    }
    co_return result<void>{};
}

}  // namespace warifu
