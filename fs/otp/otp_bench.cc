#include <random>

#include <benchmark/benchmark.h>

#include "fs/base/buffer.h"
#include "fs/otp/open.h"
#include "fs/otp/seal.h"
#include "fs/otp/xor.h"

namespace warifu {
namespace {

constexpr std::size_t window_size = 8U << 20U;

buffer filled(std::size_t size) {
    buffer b(size);
    for (std::size_t i = 0; i < size; ++i) b.data()[i] = static_cast<std::byte>(i * 131);
    return b;
}

/// Frames of the given size over an 8 MiB window; the pad here is reused, which only a benchmark may do.
void seal(benchmark::State& state) {
    const auto size = static_cast<std::size_t>(state.range(0));
    buffer pad = filled(window_size);
    const buffer text = filled(size);
    const bytes_view part = text.view();
    sealer sealing;
    std::uint64_t offset = 0;
    sealing.start_window(offset, pad.span());
    for (auto _ : state) {
        if (sealing.room() < size) sealing.start_window(offset += window_size, pad.span());
        benchmark::DoNotOptimize(sealing.seal({&part, 1}));
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(seal)->Arg(64)->Arg(4096)->Arg(65536)->Arg(262144);

/// Verify and decrypt into another buffer. The frames come from a sealer over an equal pad.
void open(benchmark::State& state) {
    const auto size = static_cast<std::size_t>(state.range(0));
    const buffer pad_bytes = filled(window_size);
    buffer send_pad(window_size), receive_pad(window_size);
    buffer text = filled(size);
    std::uint64_t offset = 0;
    std::int64_t opened = 0;
    for (auto _ : state) {
        state.PauseTiming();
        std::memcpy(send_pad.data(), pad_bytes.data(), window_size);
        std::memcpy(receive_pad.data(), pad_bytes.data(), window_size);
        sealer sealing;
        sealing.start_window(offset, send_pad.span());
        window_table table;
        table.add(offset, receive_pad.span());
        std::vector<sealer::sealed> frames;
        const bytes_view part = text.view();
        while (sealing.room() >= size) frames.push_back(sealing.seal({&part, 1}));
        state.ResumeTiming();
        for (const auto& frame : frames) {
            const auto header = *decode_frame_header(frame.header);
            const bytes_view cipher = frame.body.first(size);
            const auto pad = table.accept(header, cipher, frame.body.last(mac_tag_size));
            if (!pad) state.SkipWithError("a frame did not open");
            xor_to(text.span(), cipher, *pad);
        }
        state.PauseTiming();
        offset += window_size;
        opened += static_cast<std::int64_t>(frames.size() * size);
        state.ResumeTiming();
    }
    state.SetBytesProcessed(opened);
}
BENCHMARK(open)->Arg(65536)->Arg(262144);

void xor_run(benchmark::State& state) {
    const auto& kernel = xor_kernels()[static_cast<std::size_t>(state.range(0)) % xor_kernels().size()];
    buffer a = filled(262144);
    const buffer b = filled(262144);
    for (auto _ : state) {
        kernel.run(a.data(), a.data(), b.data(), a.size());
        benchmark::ClobberMemory();
    }
    state.SetLabel(std::string(kernel.name));
    state.SetBytesProcessed(state.iterations() * 262144);
}
BENCHMARK(xor_run)->Arg(0)->Arg(1);

}  // namespace
}  // namespace warifu
