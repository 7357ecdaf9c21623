#include "fs/sharing/split.h"

#include <algorithm>
#include <array>
#include <optional>

#include "fs/base/assert.h"
#include "fs/base/buffer.h"
#include "fs/sharing/schedule.h"

namespace warifu {
namespace {

/// Random bytes are made and used while they are in the second-level cache.
constexpr std::size_t random_batch_goal = 64U << 10U;

/// A run of units with one sub-block size, at one offset of the secret and of every share.
struct block_run {
    std::size_t offset = 0;
    std::size_t sub_block = 0;
    std::size_t units = 0;
    std::size_t size(const scheme& shape) const { return units * shape.sub_blocks() * sub_block; }
};

struct runs {
    block_run full;
    block_run last;  // the short unit; no units when there is none
};

/// The runs of a piece with `size` bytes of which the units beyond the full ones make one short unit.
runs runs_of(const scheme& shape, std::size_t size, std::size_t share_size) {
    runs found;
    found.full = {0, sub_block_size, size / shape.unit_size()};
    const std::size_t full_size = found.full.size(shape);
    if (share_size > full_size) found.last = {full_size, (share_size - full_size) / shape.sub_blocks(), 1};
    return found;
}

/// Splits the units of one run with given random bytes. `secret` and `random` start at the run, the outputs at the
/// piece.
void split_run(const xor_program& program, const scheme& shape, const block_run& run, bytes_view secret,
               bytes_view random, std::span<const bytes_span> shares_out) {
    const xor_kernel kernel = best_xor_kernel();
    const unsigned random_blocks = shape.random_blocks_per_unit();
    const unsigned blocks = shape.sub_blocks();
    const std::size_t step = run.sub_block;
    std::array<const std::byte*, bit_row::width> inputs;
    std::array<std::byte*, bit_row::width> outputs;
    for (std::size_t unit = 0; unit < run.units; ++unit) {
        const std::byte* random_at = random.data() + unit * random_blocks * step;
        const std::byte* secret_at = secret.data() + unit * blocks * step;
        for (unsigned b = 0; b < random_blocks; ++b) inputs[b] = random_at + b * step;
        for (unsigned b = 0; b < blocks; ++b) inputs[random_blocks + b] = secret_at + b * step;
        for (unsigned share = 0; share < shape.n(); ++share) {
            std::byte* share_at = shares_out[share].data() + run.offset + unit * blocks * step;
            for (unsigned b = 0; b < blocks; ++b) outputs[share * blocks + b] = share_at + b * step;
        }
        program.run({inputs.data(), program.inputs()}, {outputs.data(), program.outputs()}, step, kernel);
    }
}

/// Splits a run with random bytes drawn a batch of units at a time.
result<void> split_run_drawing(const xor_program& program, const scheme& shape, const block_run& run, bytes_view secret,
                               random_source& randomness, std::span<const bytes_span> shares_out,
                               const share_range_done& on_done) {
    if (run.units == 0) return {};
    const std::size_t random_of_unit = shape.random_blocks_per_unit() * run.sub_block;
    const std::size_t secret_of_unit = shape.sub_blocks() * run.sub_block;
    const std::size_t batch_max = std::clamp<std::size_t>(random_batch_goal / random_of_unit, 1, run.units);
    buffer scratch(batch_max * random_of_unit);
    for (std::size_t done = 0; done < run.units;) {
        block_run batch = run;
        batch.offset = run.offset + done * secret_of_unit;
        batch.units = std::min(batch_max, run.units - done);
        const bytes_span random = scratch.span(0, batch.units * random_of_unit);
        TRY_VOID(randomness.fill(random));
        split_run(program, shape, batch, secret.subspan(done * secret_of_unit, batch.size(shape)), random, shares_out);
        if (on_done) on_done({batch.offset, batch.size(shape)});
        done += batch.units;
    }
    return {};
}

buffer padded_copy(bytes_view bytes, std::size_t size) {
    buffer padded(size);
    std::copy(bytes.begin(), bytes.end(), padded.data());
    std::fill(padded.data() + bytes.size(), padded.data() + size, std::byte{0});
    return padded;
}

result<void> check_split(const scheme& shape, std::size_t share_size, std::span<const bytes_span> shares_out) {
    if (shares_out.size() != shape.n()) return fail(errc::bad_argument, "split needs room for n shares");
    for (const bytes_span out : shares_out)
        if (out.size() != share_size) return fail(errc::bad_argument, "split needs room of the share's size");
    return {};
}

bool is_piece_size(std::size_t size) {
    return size > 0 && size <= piece_size_max;
}

}  // namespace

result<void> split(const scheme& shape, bytes_view secret_piece, random_source& randomness,
                   std::span<const bytes_span> shares_out) {
    return split(shape, secret_piece, randomness, shares_out, {});
}

result<void> split(const scheme& shape, bytes_view secret_piece, random_source& randomness,
                   std::span<const bytes_span> shares_out, const share_range_done& on_done) {
    if (!is_piece_size(secret_piece.size())) return fail(errc::bad_argument, "a piece is empty or too long");
    const std::size_t share_size = piece_layout(shape, secret_piece.size()).share_size();
    TRY_VOID(check_split(shape, share_size, shares_out));
    const program_ref program = split_program(shape);
    const runs all = runs_of(shape, secret_piece.size(), share_size);
    const std::size_t full_size = all.full.size(shape);
    TRY_VOID(
        split_run_drawing(*program, shape, all.full, secret_piece.first(full_size), randomness, shares_out, on_done));
    if (all.last.units == 0) return {};
    const buffer last = padded_copy(secret_piece.subspan(full_size), all.last.size(shape));
    return split_run_drawing(*program, shape, all.last, last.view(), randomness, shares_out, on_done);
}

result<void> split_given(const scheme& shape, bytes_view secret_piece, bytes_view random,
                         std::span<const bytes_span> shares_out) {
    if (!is_piece_size(secret_piece.size())) return fail(errc::bad_argument, "a piece is empty or too long");
    const piece_layout layout(shape, secret_piece.size());
    TRY_VOID(check_split(shape, layout.share_size(), shares_out));
    if (random.size() != layout.random_size()) return fail(errc::bad_argument, "split needs exactly its random bytes");
    const program_ref program = split_program(shape);
    const runs all = runs_of(shape, secret_piece.size(), layout.share_size());
    const std::size_t full_size = all.full.size(shape);
    split_run(*program, shape, all.full, secret_piece.first(full_size), random, shares_out);
    if (all.last.units == 0) return {};
    const buffer last = padded_copy(secret_piece.subspan(full_size), all.last.size(shape));
    const std::size_t random_full = all.full.units * sub_block_size * shape.random_blocks_per_unit();
    split_run(*program, shape, all.last, last.view(), random.subspan(random_full), shares_out);
    return {};
}

result<void> split_tags(const scheme& shape, bytes_view tags, random_source& randomness,
                        std::span<const bytes_span> shares_out) {
    const std::size_t step = shape.sub_blocks() * tag_size;
    if (tags.empty() || tags.size() % step != 0) return fail(errc::bad_argument, "tags are no run of units");
    TRY_VOID(check_split(shape, tags.size(), shares_out));
    const program_ref program = split_program(shape);
    const block_run run{0, tag_size, tags.size() / step};
    return split_run_drawing(*program, shape, run, tags, randomness, shares_out, {});
}

namespace {

/// k shares in ascending order of their index, the order in which the programs take them.
struct ordered_shares {
    share_set set = 0;
    std::array<const std::byte*, site_count_max> bytes{};
};

result<ordered_shares> order(const scheme& shape, std::span<const share_index> which,
                             std::span<const bytes_view> shares, std::size_t size) {
    if (which.size() != shape.k() || shares.size() != shape.k())
        return fail(errc::bad_argument, "needs exactly k shares");
    std::array<const std::byte*, site_count_max> by_index{};
    ordered_shares found;
    for (std::size_t i = 0; i < which.size(); ++i) {
        const unsigned index = which[i].value;
        if (index >= shape.n()) return fail(errc::bad_argument, "a share index is not below n");
        if (((found.set >> index) & 1U) != 0) return fail(errc::bad_argument, "a share index is given twice");
        if (shares[i].size() != size) return fail(errc::bad_argument, "shares differ in size");
        found.set |= share_set{1} << index;
        by_index[index] = shares[i].data();
    }
    std::size_t rank = 0;
    for (unsigned index = 0; index < shape.n(); ++index)
        if (((found.set >> index) & 1U) != 0) found.bytes[rank++] = by_index[index];
    return found;
}

/// Runs a reconstruction or repair program over one run of units; shares and `out` start at the piece.
void join_run(const xor_program& program, const scheme& shape, const block_run& run, const ordered_shares& shares,
              bytes_span out) {
    const xor_kernel kernel = best_xor_kernel();
    const unsigned blocks = shape.sub_blocks();
    std::array<const std::byte*, bit_row::width> inputs;
    std::array<std::byte*, bit_row::width> outputs;
    for (std::size_t unit = 0; unit < run.units; ++unit) {
        const std::size_t at = run.offset + unit * blocks * run.sub_block;
        for (unsigned share = 0; share < shape.k(); ++share)
            for (unsigned b = 0; b < blocks; ++b)
                inputs[share * blocks + b] = shares.bytes[share] + at + b * run.sub_block;
        for (unsigned b = 0; b < blocks; ++b) outputs[b] = out.data() + at + b * run.sub_block;
        program.run({inputs.data(), program.inputs()}, {outputs.data(), program.outputs()}, run.sub_block, kernel);
    }
}

/// Reconstructs, or repairs when there is a target.
result<void> join(const scheme& shape, std::optional<share_index> target, std::span<const share_index> which,
                  std::span<const bytes_view> shares, bytes_span out, bool tags) {
    const std::size_t step = shape.sub_blocks() * tag_size;
    static_assert(tag_size == sub_block_step);
    if (out.empty() || out.size() % step != 0) return fail(errc::bad_argument, "the range is no run of units");
    if (target && target->value >= shape.n()) return fail(errc::bad_argument, "a share index is not below n");
    TRY(const ordered_shares ordered, order(shape, which, shares, out.size()));
    const program_ref program =
        target ? repair_program(shape, ordered.set, *target) : reconstruct_program(shape, ordered.set);
    if (tags) {
        join_run(*program, shape, block_run{0, tag_size, out.size() / step}, ordered, out);
        return {};
    }
    const runs all = runs_of(shape, out.size(), out.size());
    join_run(*program, shape, all.full, ordered, out);
    join_run(*program, shape, all.last, ordered, out);
    return {};
}

}  // namespace

result<void> reconstruct(const scheme& shape, std::span<const share_index> which, std::span<const bytes_view> shares,
                         bytes_span out) {
    return join(shape, std::nullopt, which, shares, out, false);
}

result<void> repair(const scheme& shape, share_index target, std::span<const share_index> which,
                    std::span<const bytes_view> shares, bytes_span out) {
    return join(shape, target, which, shares, out, false);
}

result<void> reconstruct_tags(const scheme& shape, std::span<const share_index> which,
                              std::span<const bytes_view> shares, bytes_span out) {
    return join(shape, std::nullopt, which, shares, out, true);
}

result<void> repair_tags(const scheme& shape, share_index target, std::span<const share_index> which,
                         std::span<const bytes_view> shares, bytes_span out) {
    return join(shape, target, which, shares, out, true);
}

}  // namespace warifu
