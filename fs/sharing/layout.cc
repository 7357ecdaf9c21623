#include "fs/sharing/layout.h"

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/bytes.h"

namespace warifu {

piece_layout::piece_layout(const scheme& shape, std::size_t size) : shape_(shape), size_(size) {
    WARIFU_ASSERT(size > 0 && size <= piece_size_max);
    full_units_ = static_cast<std::uint32_t>(size / shape.unit_size());
    const std::size_t rest = size % shape.unit_size();
    short_sub_block_ = round_up(divide_up(rest, shape.sub_blocks()), sub_block_step);
}

std::size_t piece_layout::random_size() const {
    return (full_units_ * sub_block_size + short_sub_block_) * shape_.random_blocks_per_unit();
}

std::size_t piece_layout::sub_block_size_of(std::uint32_t unit) const {
    WARIFU_ASSERT(unit < units());
    return unit < full_units_ ? sub_block_size : short_sub_block_;
}

sub_block_place piece_layout::place_of(std::uint32_t number) const {
    WARIFU_ASSERT(number < sub_blocks());
    const std::uint32_t unit = number / shape_.sub_blocks();
    sub_block_place place;
    place.number = number;
    place.size = sub_block_size_of(unit);
    place.offset = unit * shape_.unit_size() + (number % shape_.sub_blocks()) * place.size;
    place.length = place.offset < size_ ? std::min(place.size, size_ - place.offset) : 0;
    return place;
}

unit_range piece_layout::units_of(std::size_t offset, std::size_t size) const {
    WARIFU_ASSERT(size > 0 && offset < size_ && size <= size_ - offset);
    const auto first = static_cast<std::uint32_t>(offset / shape_.unit_size());
    const auto last = static_cast<std::uint32_t>((offset + size - 1) / shape_.unit_size());
    return {first, last - first + 1};
}

byte_range piece_layout::share_bytes_of(unit_range range) const {
    WARIFU_ASSERT(range.count > 0 && range.first < units() && range.count <= units() - range.first);
    const std::size_t begin = range.first * shape_.unit_size();
    const std::size_t end = std::min((range.first + range.count) * shape_.unit_size(), share_size());
    return {begin, end - begin};
}

byte_range piece_layout::tag_bytes_of(unit_range range, std::uint32_t first_tag_unit) const {
    WARIFU_ASSERT(range.count > 0 && range.first < units() && range.count <= units() - range.first);
    const std::size_t step = shape_.sub_blocks() * tag_size;
    return {(first_tag_unit + std::size_t{range.first}) * step, range.count * step};
}

}  // namespace warifu
