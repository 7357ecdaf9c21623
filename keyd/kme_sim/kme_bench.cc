// Ingest of key: enc_keys by one SAE, dec_keys by the other, over TLS on loopback. KMEs run on a thread of their own,
// both SAEs on another: on two cores all that a link's two ends need. Also the codec beside nlohmann_json.

#include <benchmark/benchmark.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <spdlog/spdlog.h>
#include <thread>

#include "keyd/etsi014/base64.h"
#include "keyd/etsi014/messages.h"
#include "keyd/kme_sim/test_support.h"

namespace warifu::kme_sim {
namespace {

struct pipeline {
    std::size_t left = 0;     // batches not begun
    std::size_t running = 0;  // coroutines
    std::size_t bytes = 0;
    std::size_t keys = 0;
    std::string failed;
};

/// Counts a coroutine as running while it lives.
class running_guard {
  public:
    explicit running_guard(pipeline& work) : work_(work) { ++work_.running; }
    running_guard(const running_guard&) = delete;
    running_guard& operator=(const running_guard&) = delete;
    ~running_guard() { --work_.running; }

  private:
    pipeline& work_;
};

/// Takes batches from one end to the other until none is left.
awaitable<void> move_keys(pipeline& work, etsi014_client& alice, etsi014_client& bob, std::size_t count,
                          std::size_t size) {
    const running_guard counted(work);
    while (work.left > 0 && work.failed.empty()) {
        --work.left;
        auto sent = co_await alice.enc_keys(count, size, deadline_in_ms(60'000));
        if (!sent) {
            work.failed = sent.error().message();
            co_return;
        }
        std::vector<key_id> ids;
        for (const auto& key : *sent) ids.push_back(key.id());
        auto fetched = co_await bob.dec_keys(std::move(ids), deadline_in_ms(60'000));
        if (!fetched || fetched->size() != sent->size()) {
            work.failed = fetched ? "keys are missing" : fetched.error().message();
            co_return;
        }
        for (const auto& key : *fetched) work.bytes += key.bytes().size();
        work.keys += fetched->size();
    }
}

void ingest(benchmark::State& state) {
    spdlog::set_level(spdlog::level::warn);
    const auto size = static_cast<std::size_t>(state.range(0));
    const auto count = static_cast<std::size_t>(state.range(1));
    asio::io_context kme_core(1), core(1);
    auto config = test_network();
    config.limits.keys_per_request_max = 1024;
    auto all = std::move(*simulation::start(kme_core, config));
    std::jthread kmes([&] { kme_core.run(); });
    const auto client = [&](const std::string& own, const std::string& peer) {
        return std::move(
            *etsi014_client::create(core.get_executor(), client_options(all->url_of("kme-" + own), own, peer)));
    };
    const auto alice = client("alice", "bob"), bob = client("bob", "alice");
    std::size_t bytes = 0, keys = 0;
    for (auto _ : state) {
        pipeline work;
        work.left = 16;
        for (int i = 0; i < 2; ++i) asio::co_spawn(core, move_keys(work, *alice, *bob, count, size), asio::detached);
        core.restart();
        do core.run_one();
        while (work.running > 0);
        if (!work.failed.empty()) state.SkipWithError(work.failed.c_str());
        bytes += work.bytes;
        keys += work.keys;
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
    state.counters["keys/s"] = benchmark::Counter(static_cast<double>(keys), benchmark::Counter::kIsRate);
    kme_core.stop();
    kmes.join();
}
BENCHMARK(ingest)
    ->Args({1 << 20, 4})
    ->Args({1 << 20, 16})
    ->Args({32, 256})
    ->Args({32, 1024})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

buffer some_container(std::size_t size, std::size_t count) {
    byte_vector bytes(size * count);
    (void)make_drbg()->fill(bytes);
    std::vector<etsi014::key_to_send> keys;
    for (std::size_t i = 0; i < count; ++i)
        keys.push_back({random_uuid<key_id>(), bytes_view(bytes).subspan(i * size, size), {}, {}});
    return etsi014::encode_key_container(keys, {});
}

void decode_container(benchmark::State& state) {
    const auto size = static_cast<std::size_t>(state.range(0)), count = static_cast<std::size_t>(state.range(1));
    const auto text = some_container(size, count);
    for (auto _ : state) {
        auto container = etsi014::decode_key_container(as_text(text.view()), count, size);
        benchmark::DoNotOptimize(container);
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(size * count));
}
BENCHMARK(decode_container)->Args({1 << 20, 4})->Args({32, 1024});

/// What a tree of nlohmann_json and OpenSSL's base64 would cost (and leave unwiped).
void decode_container_nlohmann(benchmark::State& state) {
    const auto size = static_cast<std::size_t>(state.range(0)), count = static_cast<std::size_t>(state.range(1));
    const auto text = some_container(size, count);
    for (auto _ : state) {
        const auto document = nlohmann::json::parse(as_text(text.view()));
        for (const auto& key : document["keys"]) {
            const auto& base64 = key["key"].get_ref<const std::string&>();
            byte_vector bytes(base64.size());
            EVP_DecodeBlock(as_uchar(bytes.data()), reinterpret_cast<const unsigned char*>(base64.data()),
                            static_cast<int>(base64.size()));
            benchmark::DoNotOptimize(bytes);
        }
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(size * count));
}
BENCHMARK(decode_container_nlohmann)->Args({1 << 20, 4})->Args({32, 1024});

void encode_container(benchmark::State& state) {
    const auto size = static_cast<std::size_t>(state.range(0)), count = static_cast<std::size_t>(state.range(1));
    byte_vector bytes(size);
    (void)make_drbg()->fill(bytes);
    std::vector<etsi014::key_to_send> keys(count, {random_uuid<key_id>(), bytes, {}, {}});
    for (auto _ : state) benchmark::DoNotOptimize(etsi014::encode_key_container(keys, {}));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(size * count));
}
BENCHMARK(encode_container)->Args({1 << 20, 4})->Args({32, 1024});

}  // namespace
}  // namespace warifu::kme_sim
