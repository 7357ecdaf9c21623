// Sharing per core. Bytes are secret bytes.

#include <benchmark/benchmark.h>

#include "fs/sharing/test_support.h"

namespace warifu {
namespace {

/// Arguments: k, n, KiB of secret. 64 KiB stay in the second-level cache with their shares, a chunk of 4 MiB does not.
/// Buffers are page-aligned as in the product: unaligned 64-byte accesses would halve the speed.
struct stage {
    explicit stage(const benchmark::State& state)
        : shape(*scheme::make(static_cast<unsigned>(state.range(0)), static_cast<unsigned>(state.range(1)))) {
        const auto wanted = static_cast<std::size_t>(state.range(2)) * 1024;
        secret = buffer::copy_of(noise(std::max<std::size_t>(1, wanted / shape.unit_size()) * shape.unit_size(), 1));
        const piece_layout layout(shape, secret.size());
        random = buffer::copy_of(noise(layout.random_size(), 2));
        for (unsigned i = 0; i < shape.n(); ++i) {
            shares.push_back(buffer::zeroed(layout.share_size()));
            outs.push_back(shares.back().span());
        }
    }
    scheme shape;
    buffer secret;
    buffer random;
    std::vector<buffer> shares;
    std::vector<bytes_span> outs;

    void done(benchmark::State& state) const {
        state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(secret.size()));
    }
};

void schemes(benchmark::internal::Benchmark* bench) {
    for (const int kib : {64, 4096})
        for (const auto& [k, n] : {std::pair{2, 3}, {2, 5}, {3, 5}, {5, 7}, {8, 16}}) bench->Args({k, n, kib});
}

void split_with_random_there(benchmark::State& state) {
    stage s(state);
    for (auto _ : state)
        if (!split_given(s.shape, s.secret.view(), s.random.view(), s.outs)) state.SkipWithError("split failed");
    s.done(state);
}
BENCHMARK(split_with_random_there)->Apply(schemes);

void split_with_drbg(benchmark::State& state) {
    stage s(state);
    const auto randomness = make_drbg();
    for (auto _ : state)
        if (!split(s.shape, s.secret.view(), *randomness, s.outs)) state.SkipWithError("split failed");
    s.done(state);
}
BENCHMARK(split_with_drbg)->Apply(schemes);

void reconstruct_last_k(benchmark::State& state) {
    stage s(state);
    if (!split_given(s.shape, s.secret.view(), s.random.view(), s.outs)) state.SkipWithError("split failed");
    std::vector<share_index> which;
    for (unsigned i = s.shape.n() - s.shape.k(); i < s.shape.n(); ++i) which.push_back({static_cast<std::uint8_t>(i)});
    std::vector<bytes_view> views;
    for (const share_index i : which) views.push_back(s.shares[i.value].view());
    buffer out = buffer::zeroed(s.secret.size());
    for (auto _ : state)
        if (!reconstruct(s.shape, which, views, out.span())) state.SkipWithError("reconstruct failed");
    s.done(state);
}
BENCHMARK(reconstruct_last_k)->Apply(schemes);

}  // namespace
}  // namespace warifu
