// Sharing per core. Bytes are secret bytes.

#include <benchmark/benchmark.h>

#include "fs/sharing/chunk_codec.h"
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

void tag(benchmark::State& state) {
    const stage s(state);
    const gf128_point point(gf128{5, 6});
    const piece_layout layout(s.shape, s.secret.size());
    buffer tags(layout.tags_size());
    for (auto _ : state) compute_tags(point, {}, s.shape, layout, {0, layout.units()}, s.secret.view(), tags.span());
    s.done(state);
}
BENCHMARK(tag)->Args({2, 3, 64})->Args({2, 3, 4096});

void hash_one_share(benchmark::State& state) {
    const stage s(state);
    const gf128_point point(gf128{5, 6});
    for (auto _ : state) benchmark::DoNotOptimize(hash_share(point, {}, share_index{0}, s.shares[0].view(), {}));
    s.done(state);
}
BENCHMARK(hash_one_share)->Args({2, 3, 64})->Args({2, 3, 4096});

void encode_amd(benchmark::State& state) {
    const stage s(state);
    const auto randomness = make_drbg();
    for (auto _ : state) benchmark::DoNotOptimize(encode_codeword(s.shape, {}, s.secret.view(), *randomness));
    s.done(state);
}
BENCHMARK(encode_amd)->Args({2, 3, 16})->Args({2, 3, 4096});

void decode_amd(benchmark::State& state) {
    const stage s(state);
    const auto randomness = make_drbg();
    const auto codeword = encode_codeword(s.shape, {}, s.secret.view(), *randomness);
    for (auto _ : state)
        if (!decode_codeword(s.shape, codeword->view())) state.SkipWithError("decode failed");
    s.done(state);
}
BENCHMARK(decode_amd)->Args({2, 3, 16})->Args({2, 3, 4096});

/// Everything that a chunk costs when it is written: randomness, shares, tags, hashes. One piece of the chunk's size.
void chunk_split(benchmark::State& state) {
    const stage s(state);
    const auto randomness = make_drbg();
    const chunk_keys keys({std::byte{1}}, {std::byte{2}});
    const bytes_view piece = s.secret.view();
    for (auto _ : state) {
        const auto made = split_chunk(s.shape, keys, {}, {}, chunk_kind::data, std::span(&piece, 1), *randomness);
        if (!made) state.SkipWithError("split_chunk failed");
    }
    s.done(state);
}
BENCHMARK(chunk_split)->Args({2, 3, 64})->Args({2, 3, 4096})->Args({3, 5, 4096});

/// Reading a whole piece back from the last k shares: reconstruct and verify.
void chunk_open(benchmark::State& state) {
    const stage s(state);
    const auto randomness = make_drbg();
    const chunk_keys keys({std::byte{1}}, {std::byte{2}});
    const bytes_view piece = s.secret.view();
    const auto made = split_chunk(s.shape, keys, {}, {}, chunk_kind::data, std::span(&piece, 1), *randomness);
    const piece_ref ref{chunk_kind::data, {}, static_cast<std::uint32_t>(piece.size()), 0};
    const auto plan = *read_plan(s.shape, ref, 0, piece.size());
    std::vector<fetched_share> answers;
    for (unsigned i = s.shape.n() - s.shape.k(); i < s.shape.n(); ++i)
        answers.push_back({share_index{static_cast<std::uint8_t>(i)}, (*made)[i].pieces[0].view(),
                           (*made)[i].side.view(plan[1].offset, plan[1].size)});
    for (auto _ : state)
        if (!open_range(s.shape, keys, {}, ref, 0, piece.size(), answers)) state.SkipWithError("open_range failed");
    s.done(state);
}
BENCHMARK(chunk_open)->Args({2, 3, 8})->Args({2, 3, 64})->Args({2, 3, 4096})->Args({3, 5, 4096});

}  // namespace
}  // namespace warifu
