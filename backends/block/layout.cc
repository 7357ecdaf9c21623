#include "backends/block/layout.h"

#include <algorithm>

#include "fs/base/assert.h"

namespace warifu {

extent_list part_of(const extent_list& whole, std::uint64_t first, std::uint64_t count) {
    extent_list out;
    for (const extent& e : whole) {
        if (count == 0) break;
        if (first >= e.count) {
            first -= e.count;
            continue;
        }
        const std::uint64_t taken = std::min<std::uint64_t>(e.count - first, count);
        out.push_back(extent{e.first + first, static_cast<std::uint32_t>(taken)});
        count -= taken;
        first = 0;
    }
    WARIFU_ASSERT(count == 0);
    return out;
}

extent_list joined(const extent_list& extents) {
    extent_list out;
    for (const extent& e : extents) {
        if (e.count == 0) continue;
        if (!out.empty() && out.back().end() == e.first)
            out.back().count += e.count;
        else
            out.push_back(e);
    }
    return out;
}

extent_list unshared(const extent_list& whole, extent_list other) {
    std::ranges::sort(other);
    extent_list out;
    for (const extent& e : whole) {
        std::uint64_t at = e.first;
        auto near = std::ranges::partition_point(other, [at](const extent& f) { return f.end() <= at; });
        for (; near != other.end() && near->first < e.end(); ++near) {
            const extent& f = *near;
            if (f.first > at) out.push_back(extent{at, static_cast<std::uint32_t>(f.first - at)});
            at = f.end();
        }
        if (at < e.end()) out.push_back(extent{at, static_cast<std::uint32_t>(e.end() - at)});
    }
    return out;
}

}  // namespace warifu
