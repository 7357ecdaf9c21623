#include "tests/sim/world.h"

#include <fmt/format.h>
#include <thread>

namespace warifu::sim {
namespace {

constexpr auto life_max = std::chrono::hours(2);  // of simulated time: a life that does not end by then hangs
constexpr unsigned writers_at_once_max = 3;

class world {
  public:
    explicit world(std::uint64_t seed) : state_(std::make_shared<world_state>(seed)) {
        struct shape {
            unsigned k, n;
        };
        constexpr shape shapes[] = {{2, 3}, {2, 2}, {3, 5}, {2, 4}};
        const shape s = shapes[chance().below(10) < 6 ? 0 : 1 + chance().below(3)];
        options_.threshold = s.k;
        state_->sites.resize(s.n);
        options_.memory_size = 16U << 20U;
        options_.removal_delay_ms = 10'000;
        options_.worker_count = 2;  // one may be opening RocksDB, whose tables need the other
        options_.writer_wait_ms = 2'000;
        options_.draw_nonce = [state = state_] { return state->chance.number(); };
        fill_kernel_random(options_.id.bytes);
    }

    life_report run() {
        simulated_time::begin(deadline{} + std::chrono::hours(1));
        const deadline start = steady_clock::now();
        finish(create());
        if (!report_.violation) finish(trouble());
        state_->now = weather{};
        if (!report_.violation) finish(end());
        book_.end();
        if (!report_.violation) report_.violation = book_.violation;
        report_.acknowledged = book_.acknowledged_count;
        report_.opened = book_.opened_count;
        report_.shown = book_.shown_count;
        for (const site& s : state_->sites) report_.requests += s.requests;
        report_.simulated_s = std::chrono::duration<double>(steady_clock::now() - start).count();
        return report_;
    }

  private:
    dice& chance() { return state_->chance; }

    /// False when none was busy.
    static bool wait_for_workers() {
        bool waited = false;
        for (int busy = 0; (busy = simulated_time::busy.load()) > 0; waited = true) simulated_time::busy.wait(busy);
        return waited;
    }

    /// Runs until `work` is done: a handler, then what it asked of workers, and only when all is quiet time moves on.
    void finish(awaitable<void> work) {
        bool done = false;
        asio::co_spawn(core_, std::move(work), [&done](std::exception_ptr failure) {
            if (failure) std::rethrow_exception(failure);
            done = true;
        });
        const deadline limit = steady_clock::now() + life_max;
        while (!done) {
            core_.restart();
            const bool handled = core_.poll_one() != 0;
            if (wait_for_workers() || handled) continue;
            if (steady_clock::now() < limit && simulated_time::advance()) continue;
            report_.violation = "it hangs";
            return;
        }
    }

    awaitable<void> create() {
        volume_options options = options_;
        const auto everything = std::make_shared<client_state>(core_.get_executor());
        everything->cut.resize(state_->sites.size());
        for (std::size_t i = 0; i < state_->sites.size(); ++i) {
            volume_site one;
            one.name = fmt::format("site{}", i + 1);
            one.store = std::make_shared<sim_link>(core_.get_executor(), state_, everything, i);
            options.sites.push_back(std::move(one));
        }
        const auto made = co_await volume::create(core_, options);
        if (!made) report_.violation = "it cannot be created: " + made.error().message();
    }

    client& new_client() {
        volume_options options = options_;
        options.takeover = chance().chance(0.5);
        return clients_.emplace_back(core_, state_, book_, std::move(options));
    }
    void start_writer() { asio::co_spawn(core_, new_client().live(2 + chance().below(12)), asio::detached); }
    /// Ended clients are closed: their objects may go.
    std::size_t living() {
        clients_.remove_if([](const client& c) { return c.ended(); });
        return clients_.size();
    }
    client* any_client() {
        if (living() == 0) return nullptr;
        auto it = clients_.begin();
        std::advance(it, chance().below(static_cast<unsigned>(clients_.size())));
        return &*it;
    }

    void change_weather() {
        weather w;
        w.delay_ms = chance().chance(0.3) ? 100 : 3;
        if (chance().chance(0.4)) w.late = 0.02;
        if (chance().chance(0.4)) w.lost = 0.02;
        if (chance().chance(0.4)) w.twice = 0.05;
        if (chance().chance(0.4)) w.crash = 0.005;
        state_->now = w;
    }

    void one_trouble() {
        client* const c = any_client();
        site& s = state_->sites[chance().below(static_cast<unsigned>(state_->sites.size()))];
        const auto number = static_cast<std::size_t>(&s - state_->sites.data());
        switch (chance().below(10)) {
            case 0:
            case 1:
                if (s.up) {
                    state_->crash(number);
                    ++report_.crashes;
                }
                break;
            case 2:
            case 3:
            case 4:
                for (site& any : state_->sites) any.up = any.up || chance().chance(0.7);
                break;
            case 5:
                if (c != nullptr) c->cut(number, chance().chance(0.6));
                break;
            case 6:
                if (c != nullptr) {
                    if (chance().chance(0.5))
                        c->stop();
                    else
                        c->go_on();
                }
                break;
            case 7:
                if (c != nullptr && chance().chance(0.6)) c->kill();
                break;
            case 8:
                change_weather();
                break;
            default:
                if (living() < writers_at_once_max)
                    asio::co_spawn(core_, new_client().look(1 + chance().below(20)), asio::detached);
        }
    }

    awaitable<void> trouble() {
        const unsigned steps = 20 + chance().below(40);
        for (unsigned step = 0; step < steps && !book_.violation; ++step) {
            if (living() == 0 || (living() < writers_at_once_max && chance().chance(0.15))) start_writer();
            one_trouble();
            co_await sleep_for(chance().time(1'500));
        }
    }

    /// Everything is mended and every client gone: what was promised is there, and the volume is whole again.
    awaitable<void> end() {
        for (site& s : state_->sites) s.up = true;
        for (client& c : clients_) c.kill();
        while (living() > 0) co_await sleep_for(std::chrono::seconds(1));
        client& last = new_client();
        const auto seen = co_await last.last_look();
        if (!seen && !report_.violation)
            report_.violation = "with every site there it does not open: " + seen.error().message();
        if (report_.violation) co_return;
        client& reader = new_client();
        co_await reader.look(1);
        if (reader.last_seen() != book_.committed())
            report_.violation = fmt::format("a reader sees change {} when {} is durable everywhere", reader.last_seen(),
                                            book_.committed());
        clients_.clear();
    }

    std::shared_ptr<world_state> state_;
    volume_options options_;
    chronicle book_;
    life_report report_;
    asio::io_context core_;
    std::list<client> clients_;
};

}  // namespace

life_report live(std::uint64_t seed) {
    auto lived = std::make_unique<world>(seed);
    life_report report = lived->run();
    // What broke off in the middle of something cannot be taken apart. It stays reachable: it is no leak.
    static auto& broken_off = *new std::list<std::unique_ptr<world>>;
    if (report.violation) broken_off.push_back(std::move(lived));
    return report;
}

}  // namespace warifu::sim
