#pragma once
// Programs of XORs over sub-blocks: computed once per scheme and subset of shares, then run on every unit.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fs/base/ids.h"
#include "fs/sharing/gf2.h"
#include "fs/sharing/scheme.h"
#include "fs/sharing/xor_kernel.h"

namespace warifu {

/// Computes output sub-blocks from input sub-blocks. A source may be an output that was computed before. Immutable.
class xor_program {
  public:
    xor_program(unsigned input_count, unsigned output_count) : inputs_(input_count), outputs_(output_count) {}

    /// output = XOR of `sources`: numbers below inputs() name inputs, inputs() + o names output o. REQUIRES: not empty.
    void append(unsigned output, std::span<const unsigned> sources);

    unsigned inputs() const { return inputs_; }
    unsigned outputs() const { return outputs_; }
    /// Sub-blocks read by one run: its cost.
    std::size_t source_count() const { return sources_.size(); }

    /// Runs over sub-blocks of `size` bytes (a multiple of 16), one pointer per input and per output, none overlapping.
    void run(std::span<const std::byte* const> inputs, std::span<std::byte* const> outputs, std::size_t size,
             xor_kernel kernel) const;

  private:
    struct step {
        std::uint16_t output;
        std::uint16_t source_count;
        std::uint32_t first_source;
    };

    unsigned inputs_;
    unsigned outputs_;
    std::vector<step> steps_;
    std::vector<std::uint16_t> sources_;
};

using program_ref = std::shared_ptr<const xor_program>;

/// A set of share indices: bit i stands for share i.
using share_set = std::uint32_t;

/// The programs below come from one bounded table (schedule_count_max; the least recently used goes). Thread-safe.
/// Inputs: the unit's unknowns in the order of share_terms(). Outputs: sub-block j of share i at i * sub_blocks() + j.
program_ref split_program(const scheme& shape);
/// Inputs: sub-blocks of the k shares of `which` in ascending order of index. Outputs: the secret sub-blocks.
/// REQUIRES: `which` holds exactly k indices below n.
program_ref reconstruct_program(const scheme& shape, share_set which);
/// The same inputs. Outputs: the sub-blocks of share `target`, bit for bit as they were.
program_ref repair_program(const scheme& shape, share_set which, share_index target);

/// The row of one share's sub-block over the unknowns.
bit_row share_row(const scheme& shape, unsigned share, unsigned block);

}  // namespace warifu
