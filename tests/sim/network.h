#pragma once
// Sites and what lies between them and their clients, in simulated time: every request and answer takes its time, some
// are lost, some arrive long after their sender gave up, some twice. Sites crash between any two requests and come back
// with what was durable (and with what else their medium happened to have).
//
// Thread: the core thread.

#include <random>

#include "backends/memory/memory_store.h"
#include "fs/async/wait.h"

namespace warifu::sim {

/// All chance of one life comes from here, so that a seed names a life.
class dice {
  public:
    explicit dice(std::uint64_t seed) : engine_(seed) {}
    bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(engine_) < p; }
    unsigned below(unsigned limit) { return std::uniform_int_distribution<unsigned>(0, limit - 1)(engine_); }
    std::chrono::microseconds time(double mean_ms) {
        const double ms = std::exponential_distribution<>(1 / mean_ms)(engine_);
        return std::chrono::microseconds(static_cast<std::int64_t>(1000 * ms));
    }
    std::uint64_t number() { return engine_(); }

  private:
    std::mt19937_64 engine_;
};

/// How bad the network is; part of a life's character.
struct weather {
    double delay_ms = 3;
    double late = 0;       // chance that a packet takes seconds instead
    double lost = 0;       // chance that a request or an answer is lost
    double twice = 0;      // chance that a request arrives a second time, later
    double crash = 0;      // chance that a request crashes its site, before or after it was served
};

struct site {
    std::shared_ptr<memory_store> store = std::make_shared<memory_store>();
    bool up = true;
    std::uint64_t requests = 0;
};

struct world_state {
    explicit world_state(std::uint64_t seed) : chance(seed) {}
    dice chance;
    weather now;
    std::vector<site> sites;
    void crash(std::size_t which) {
        site& s = sites[which];
        s.up = false;
        s.store->crash([this] { return chance.chance(0.5); });
    }
};

/// What one client's packets meet on their way.
struct client_state {
    explicit client_state(asio::any_io_executor executor) : running(std::move(executor)) { running.set(); }
    bool dead = false;             // nothing goes out any more, nothing comes in; what is on its way arrives
    event running;                 // reset: the machine is stopped, its packets leave when it goes on
    std::vector<bool> cut;         // no packet passes between this client and that site
};

/// One client's store at one site.
class sim_link final : public share_store {
  public:
    sim_link(asio::any_io_executor executor, std::shared_ptr<world_state> world, std::shared_ptr<client_state> client,
             std::size_t site)
        : executor_(std::move(executor)), world_(std::move(world)), client_(std::move(client)), site_(site) {}

    task<store_state> state() override;
    task<> reserve(ballot authority, std::uint64_t size) override;
    task<> put(share_put share) override;
    task<std::vector<slice>> get(chunk_id chunk, std::vector<share_range> ranges) override;
    task<share_description> describe(chunk_id chunk) override;
    task<> remove(ballot authority, std::vector<share_removal> removals) override;
    task<std::vector<chunk_id>> list(chunk_id after, std::uint32_t count) override;
    task<> append(append_request request) override;
    task<std::vector<journal_entry>> read_journal(std::uint64_t from, std::uint32_t size_max) override;
    task<> cut_journal(ballot authority, std::uint64_t first) override;
    task<> promise(ballot b) override;
    task<> heartbeat(ballot authority, writer_identity writer) override;
    task<> pin(std::vector<chunk_id> chunks, std::uint32_t ttl_ms) override;
    task<> sync() override;

  private:
    template <typename T>
    using request = std::function<task<T>(share_store&)>;
    template <typename T>
    task<T> exchange(request<T> what);
    template <typename T>
    static awaitable<void> deliver(std::shared_ptr<world_state> world, std::shared_ptr<client_state> client,
                                   std::size_t where, request<T> what, std::shared_ptr<promised<result<T>>> answer);

    asio::any_io_executor executor_;
    std::shared_ptr<world_state> world_;
    std::shared_ptr<client_state> client_;
    std::size_t site_;
};

}  // namespace warifu::sim
