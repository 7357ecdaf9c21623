#include "fs/sharing/gf2.h"

#include "fs/base/assert.h"

namespace warifu {

void row_space::reduce(entry& e) const {
    for (unsigned pivot = e.row.lowest(); pivot < bit_row::width && place_[pivot] != none; pivot = e.row.lowest()) {
        const entry& basis = basis_[place_[pivot]];
        e.row ^= basis.row;
        e.made_of ^= basis.made_of;
    }
}

bool row_space::add(bit_row row) {
    WARIFU_ASSERT(added_ < bit_row::width);
    entry e{row, bit_row::single(added_++)};
    reduce(e);
    const unsigned pivot = e.row.lowest();
    if (pivot == bit_row::width) return false;
    place_[pivot] = static_cast<std::uint16_t>(basis_.size());
    basis_.push_back(e);
    return true;
}

std::optional<bit_row> row_space::express(bit_row target) const {
    entry e{target, {}};
    reduce(e);
    if (e.row.lowest() != bit_row::width) return std::nullopt;
    return e.made_of;
}

unsigned row_space::rank_from(unsigned column) const {
    unsigned count = 0;
    for (unsigned pivot = column; pivot < bit_row::width; ++pivot) count += place_[pivot] != none ? 1 : 0;
    return count;
}

}  // namespace warifu
