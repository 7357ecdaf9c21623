#pragma once
// Shared by the tests and benchmarks of this folder: repeatable bytes, subsets, shares of a piece. Not used by the
// product.

#include <bit>
#include <random>
#include <vector>

#include "fs/base/assert.h"
#include "fs/base/buffer.h"
#include "fs/base/random.h"
#include "fs/sharing/split.h"

namespace warifu {

inline share_index at(unsigned i) {
    return share_index{static_cast<std::uint8_t>(i)};
}

inline byte_vector noise(std::size_t size, std::uint64_t seed) {
    std::mt19937_64 engine(seed);
    byte_vector bytes(size);
    for (std::size_t i = 0; i < size; i += 8) {
        const std::uint64_t word = engine();
        std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, size - i));
    }
    return bytes;
}

/// Gives out the bytes it was made with, in order; no_key at their end.
class given_random final : public random_source {
  public:
    explicit given_random(byte_vector bytes) : bytes_(std::move(bytes)) {}
    claim strength() const override { return claim::simulated; }
    result<void> begin_chunk() override { return {}; }
    result<void> fill(bytes_span out) override {
        if (out.size() > bytes_.size() - used_) return fail(errc::no_key, "the given bytes are used up");
        std::memcpy(out.data(), bytes_.data() + used_, out.size());
        used_ += out.size();
        return {};
    }
    std::size_t used() const { return used_; }

  private:
    byte_vector bytes_;
    std::size_t used_ = 0;
};

/// All sets of k of n shares, in ascending order of index inside.
inline std::vector<std::vector<share_index>> subsets(unsigned k, unsigned n) {
    std::vector<std::vector<share_index>> found;
    for (unsigned mask = 0; mask < (1U << n); ++mask) {
        if (static_cast<unsigned>(std::popcount(mask)) != k) continue;
        std::vector<share_index> set;
        for (unsigned i = 0; i < n; ++i)
            if (((mask >> i) & 1U) != 0) set.push_back(share_index{static_cast<std::uint8_t>(i)});
        found.push_back(set);
    }
    return found;
}

inline std::vector<bytes_span> spans_of(std::vector<byte_vector>& shares) {
    return {shares.begin(), shares.end()};
}

inline std::vector<byte_vector> split_to_vectors(const scheme& shape, bytes_view secret, random_source& randomness) {
    std::vector<byte_vector> shares(shape.n(), byte_vector(piece_layout(shape, secret.size()).share_size()));
    const auto done = split(shape, secret, randomness, spans_of(shares));
    WARIFU_ASSERT(done.has_value());
    return shares;
}

inline std::vector<bytes_view> views_of(const std::vector<byte_vector>& shares, std::span<const share_index> which) {
    std::vector<bytes_view> views;
    for (const share_index i : which) views.emplace_back(shares[i.value]);
    return views;
}

}  // namespace warifu
