#include "fs/sharing/schedule.h"

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <unordered_map>

#include "fs/base/assert.h"

namespace warifu {
namespace {

/// Inputs and outputs of one strip should stay in the second-level cache: k and n near 16 have half a thousand
/// sub-blocks a unit.
constexpr std::size_t working_set_goal = 256U << 10U;
constexpr std::size_t strip_min = 512;

/// Room for the inputs and outputs of any program.
constexpr std::size_t table_size = std::size_t{2} * bit_row::width;

std::size_t strip_of(std::size_t blocks, std::size_t size) {
    std::size_t strip = size;
    while (strip > strip_min && blocks * strip > working_set_goal) strip = (strip / 2 + 15) / 16 * 16;
    return strip;
}

}  // namespace

void xor_program::append(unsigned output, std::span<const unsigned> sources) {
    WARIFU_ASSERT(output < outputs_ && !sources.empty() && sources.size() <= inputs_ + outputs_);
    steps_.push_back({static_cast<std::uint16_t>(output), static_cast<std::uint16_t>(sources.size()),
                      static_cast<std::uint32_t>(sources_.size())});
    for (const unsigned source : sources) {
        WARIFU_ASSERT(source < inputs_ + outputs_);
        sources_.push_back(static_cast<std::uint16_t>(source));
    }
}

void xor_program::run(std::span<const std::byte* const> inputs, std::span<std::byte* const> outputs, std::size_t size,
                      xor_kernel kernel) const {
    WARIFU_ASSERT(inputs.size() == inputs_ && outputs.size() == outputs_ && size % 16 == 0);
    std::array<const std::byte*, table_size> table;
    std::array<const std::byte*, table_size> gathered;
    std::copy(inputs.begin(), inputs.end(), table.begin());
    std::copy(outputs.begin(), outputs.end(), table.begin() + static_cast<std::ptrdiff_t>(inputs_));
    const std::size_t strip = strip_of(std::size_t{inputs_} + outputs_, size);
    for (std::size_t at = 0; at < size; at += strip) {
        const std::size_t part = std::min(strip, size - at);
        for (const step& s : steps_) {
            for (unsigned i = 0; i < s.source_count; ++i) gathered[i] = table[sources_[s.first_source + i]] + at;
            kernel(outputs[s.output] + at, gathered.data(), s.source_count, part);
        }
    }
}

bit_row share_row(const scheme& shape, unsigned share, unsigned block) {
    bit_row row;
    for (const unsigned term : share_terms(shape, share, block)) row.flip(term);
    return row;
}

namespace {

/// A program that makes each output from inputs, or from another output and the inputs in which the two differ,
/// whichever reads less: Prim's spanning tree over the outputs, rooted in "from inputs alone".
xor_program chain(unsigned input_count, const std::vector<bit_row>& wanted) {
    const auto count = static_cast<unsigned>(wanted.size());
    xor_program program(input_count, count);
    std::vector<unsigned> cost(count), parent(count, count);
    std::vector<bool> placed(count, false);
    for (unsigned i = 0; i < count; ++i) cost[i] = wanted[i].count();
    for (unsigned round = 0; round < count; ++round) {
        unsigned best = count;
        for (unsigned i = 0; i < count; ++i)
            if (!placed[i] && (best == count || cost[i] < cost[best])) best = i;
        placed[best] = true;
        bit_row row = wanted[best];
        std::vector<unsigned> sources;
        if (parent[best] != count) {
            row ^= wanted[parent[best]];
            sources.push_back(input_count + parent[best]);
        }
        for (unsigned bit = 0; bit < input_count; ++bit)
            if (row.test(bit)) sources.push_back(bit);
        program.append(best, sources);
        for (unsigned i = 0; i < count; ++i) {
            if (placed[i]) continue;
            bit_row difference = wanted[i];
            difference ^= wanted[best];
            if (difference.count() + 1 < cost[i]) {
                cost[i] = difference.count() + 1;
                parent[i] = best;
            }
        }
    }
    return program;
}

row_space space_of(const scheme& shape, share_set which) {
    row_space space;
    for (unsigned share = 0; share < shape.n(); ++share) {
        if (((which >> share) & 1U) == 0) continue;
        for (unsigned block = 0; block < shape.sub_blocks(); ++block) space.add(share_row(shape, share, block));
    }
    return space;
}

xor_program make_program(const scheme& shape, share_set which, const std::vector<bit_row>& targets) {
    const row_space space = space_of(shape, which);
    std::vector<bit_row> wanted;
    wanted.reserve(targets.size());
    for (const bit_row& target : targets) {
        const auto made_of = space.express(target);
        WARIFU_ASSERT(made_of.has_value());  // p is prime: any k shares span every secret and every share
        wanted.push_back(*made_of);
    }
    return chain(shape.k() * shape.sub_blocks(), wanted);
}

xor_program make_split(const scheme& shape) {
    xor_program program(unknown_count(shape), shape.n() * shape.sub_blocks());
    for (unsigned share = 0; share < shape.n(); ++share)
        for (unsigned block = 0; block < shape.sub_blocks(); ++block)
            program.append(share * shape.sub_blocks() + block, share_terms(shape, share, block));
    return program;
}

xor_program make_reconstruct(const scheme& shape, share_set which) {
    std::vector<bit_row> targets;
    targets.reserve(shape.sub_blocks());
    for (unsigned block = 0; block < shape.sub_blocks(); ++block)
        targets.push_back(bit_row::single(shape.random_blocks_per_unit() + block));
    return make_program(shape, which, targets);
}

xor_program make_repair(const scheme& shape, share_set which, unsigned target) {
    std::vector<bit_row> targets;
    targets.reserve(shape.sub_blocks());
    for (unsigned block = 0; block < shape.sub_blocks(); ++block) targets.push_back(share_row(shape, target, block));
    return make_program(shape, which, targets);
}

enum class program_kind : std::uint8_t { split = 1, reconstruct = 2, repair = 3 };

std::uint64_t key_of(program_kind kind, const scheme& shape, share_set which, unsigned target) {
    return (static_cast<std::uint64_t>(kind) << 56U) | (std::uint64_t{shape.k()} << 48U) |
           (std::uint64_t{shape.n()} << 40U) | (std::uint64_t{target} << 32U) | which;
}

class program_table {
  public:
    template <typename Make>
    program_ref find_or_make(std::uint64_t key, Make make) {
        {
            const std::lock_guard lock(mutex_);
            if (const auto found = table_.find(key); found != table_.end()) {
                found->second.last_use = ++clock_;
                return found->second.program;
            }
        }
        // Made without the lock: it takes up to milliseconds, and two threads making the same one is harmless.
        auto made = std::make_shared<const xor_program>(make());
        const std::lock_guard lock(mutex_);
        if (table_.size() >= schedule_count_max) {
            const auto oldest =
                std::ranges::min_element(table_, {}, [](const auto& item) { return item.second.last_use; });
            table_.erase(oldest);
        }
        table_[key] = {made, ++clock_};
        return made;
    }

  private:
    struct entry {
        program_ref program;
        std::uint64_t last_use = 0;
    };
    std::mutex mutex_;  // guards all below
    std::unordered_map<std::uint64_t, entry> table_;
    std::uint64_t clock_ = 0;
};

program_table& programs() {
    static program_table table;
    return table;
}

bool is_threshold_set(const scheme& shape, share_set which) {
    return static_cast<unsigned>(std::popcount(which)) == shape.k() && (which >> shape.n()) == 0;
}

}  // namespace

program_ref split_program(const scheme& shape) {
    return programs().find_or_make(key_of(program_kind::split, shape, 0, 0), [&] { return make_split(shape); });
}

program_ref reconstruct_program(const scheme& shape, share_set which) {
    WARIFU_ASSERT(is_threshold_set(shape, which));
    return programs().find_or_make(key_of(program_kind::reconstruct, shape, which, 0),
                                   [&] { return make_reconstruct(shape, which); });
}

program_ref repair_program(const scheme& shape, share_set which, share_index target) {
    WARIFU_ASSERT(is_threshold_set(shape, which) && target.value < shape.n());
    return programs().find_or_make(key_of(program_kind::repair, shape, which, target.value),
                                   [&] { return make_repair(shape, which, target.value); });
}

}  // namespace warifu
