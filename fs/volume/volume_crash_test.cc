// Random lives of a volume: sites that vanish in the middle of anything, lose what was not durable, come back, are
// wiped; writers that stop without a word. After every opening each committed file is there and right. Seeds are
// printed; WARIFU_CRASH_SEEDS runs more.

#include <cstdlib>
#include <future>
#include <map>
#include <random>

#include "fs/volume/volume_test_support.h"

namespace warifu {
namespace {

using test::core_thread;
using test::memory_sites;
using test::open_writer;
using test::pattern;
using test::writer_of;

class random_life {
  public:
    random_life(unsigned k, unsigned n, unsigned seed) : sites_(core_.context, k, n), random_(seed), n_(n) {}

    void run() {
        sites_.create();
        for (int life = 0; life < 5 && !testing::Test::HasFailure(); ++life) {
            heal_all_switches();
            auto w = open_writer(sites_);
            ASSERT_TRUE(w) << w.error().message();
            check(*w);
            live(*w);
            (void)run_on(core_.context, (**w).close());
            settle_pending(*w);
            sites_.run([&] {
                for (const auto& store : sites_.stores)
                    if (chance(0.7)) store->crash();
            });
        }
        heal_all_switches();
        auto w = open_writer(sites_);
        ASSERT_TRUE(w) << w.error().message();
        check(*w);
    }

  private:
    bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }
    unsigned below(unsigned limit) { return std::uniform_int_distribution<unsigned>(0, limit - 1)(random_); }

    void heal_all_switches() {
        sites_.run([&] {
            for (const auto& site : sites_.sites) {
                site->unreachable = false;
                site->calls_left.reset();
                site->lose_answers = 0;
            }
        });
    }

    void live(writer_of& w) {
        const unsigned steps = 3 + below(8);
        for (unsigned step = 0; step < steps; ++step) {
            if (chance(0.3)) trouble();
            const std::string name = "f" + std::to_string(++names_);
            const byte_vector content = pattern(1 + below(60'000), names_);
            if (!start(w, name, content)) return;
            if (chance(0.7) && !commit(w)) return;
        }
        // The end: everything fails after a few more calls.
        sites_.run([&] {
            for (const auto& site : sites_.sites) site->calls_left = below(6);
        });
        const std::string name = "f" + std::to_string(++names_);
        if (start(w, name, pattern(20'000, names_))) commit(w);
    }

    /// A put or a commit that does not end within a moment is left behind: its writer is about to stop.
    bool start(writer_of& w, const std::string& name, const byte_vector& content) {
        pending_ = std::async(std::launch::async, [&w, name, content] { return w.write_file(name, content); });
        if (pending_.wait_for(std::chrono::milliseconds(300)) != std::future_status::ready) return false;
        if (!pending_.get()) return false;
        written_[name] = content;
        return true;
    }
    bool commit(writer_of& w) {
        pending_ = std::async(std::launch::async, [&w] { return w.commit(); });
        if (pending_.wait_for(std::chrono::milliseconds(300)) != std::future_status::ready) return false;
        if (!pending_.get()) return false;
        committed_.merge(written_);
        written_.clear();
        return true;
    }
    void settle_pending(writer_of&) {
        if (pending_.valid()) (void)pending_.get();
        written_.clear();
    }

    void trouble() {
        sites_.run([&] {
            const unsigned one = below(n_);
            switch (below(4)) {
                case 0:
                    sites_.sites[one]->calls_left = below(8);
                    break;
                case 1:
                    sites_.stores[one]->crash();
                    break;
                case 2:
                    sites_.sites[one]->lose_answers = 1 + below(3);
                    break;
                default:
                    for (const auto& site : sites_.sites) {
                        site->unreachable = false;
                        site->calls_left.reset();
                    }
            }
        });
    }

    void check(writer_of& w) {
        for (const auto& [name, content] : committed_) {
            const auto read = w.read_file(name);
            ASSERT_TRUE(read) << name << ": " << read.error().message();
            ASSERT_EQ(*read, content) << name;
        }
    }

    core_thread core_;
    memory_sites sites_;
    std::mt19937 random_;
    unsigned n_;
    unsigned names_ = 0;
    std::map<std::string, byte_vector> written_, committed_;
    std::future<result<void>> pending_;
};

unsigned seed_count() {
    const char* more = std::getenv("WARIFU_CRASH_SEEDS");
    return more != nullptr ? static_cast<unsigned>(std::atoi(more)) : 12;
}

TEST(volume_crash, what_was_committed_survives_any_life) {
    for (unsigned seed = 1; seed <= seed_count() && !HasFailure(); ++seed) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        switch (seed % 3) {
            case 0:
                random_life(2, 2, seed).run();
                break;
            case 1:
                random_life(2, 3, seed).run();
                break;
            default:
                random_life(3, 5, seed).run();
        }
    }
}

}  // namespace
}  // namespace warifu
