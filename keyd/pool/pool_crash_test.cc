// kill -9 of a process that hands out windows, at random moments: whatever it announced as handed out stays spent.

#include <csignal>
#include <fcntl.h>
#include <random>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/limits.h"
#include "keyd/interval_set.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t crash_block_size = 1U << 20U;

struct announcement {
    char what;  // 'c' claimed, 'r' about to release
    std::uint64_t offset;
    std::uint64_t size;
    std::uint64_t used_to;
};

/// Claims, releases and erases until it is killed. Runs in a child process.
[[noreturn]] void work(const std::string& directory, int out, unsigned seed) {
    pool_options options;
    options.directory = directory;
    options.site = "a";
    options.control_reserve = 0;
    auto opened = pool::open(options);
    if (!opened) ::_exit(3);
    auto& store = **opened;
    std::mt19937 random(seed);
    const auto say = [&](announcement a) {
        if (::write(out, &a, sizeof a) != sizeof a) ::_exit(4);
    };
    std::vector<pad_range> held;
    for (;;) {
        const std::uint64_t want = 1 + random() % 3000;
        const auto window = store.claim_send(ab, {}, 1, want, key_use::bulk);
        if (!window) ::_exit(window.error().code == errc::no_key ? 0 : 5);
        if (!store.flush()) ::_exit(8);
        say({'c', window->offset, window->size, 0});
        held.push_back(*window);
        if (held.size() > 3) {
            const auto given = held[random() % held.size()];
            const std::uint64_t used_to = given.offset + random() % (given.size + 1);
            say({'r', given.offset, given.size, used_to});
            if (!store.release(ab, given, used_to)) ::_exit(6);
            std::erase(held, given);
        }
        if (random() % 16 == 0 && !store.erase_now()) ::_exit(7);
    }
}

TEST(pool_crash, what_was_handed_out_stays_spent_over_kill_9) {
    const temporary_directory directory;
    const std::string pads = directory / "a";
    {
        auto store = open_pool(pads, "a");
        for (std::uint64_t i = 0; i < 8; ++i) {
            const auto block = make_block(ab, i * crash_block_size, crash_block_size);
            ASSERT_TRUE(import_file(*store, block, write_block(block, {store->incoming_directory()}).front()));
        }
    }
    std::mt19937 random(20);
    interval_set used(~std::size_t{0});
    std::size_t claims = 0;
    for (unsigned round = 0; round < 60; ++round) {
        int ends[2];
        ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
        const pid_t child = ::fork();
        if (child == 0) work(pads, ends[1], round);
        ::close(ends[1]);
        interval_set out(~std::size_t{0});
        announcement a{};
        const std::size_t kill_at = claims + random() % 25;
        const auto last_moment = static_cast<useconds_t>(random() % 3'000);
        bool alive = true;
        const auto end_it = [&] {
            ::usleep(last_moment);
            ::kill(child, SIGKILL);
            alive = false;
        };
        if (kill_at == claims) end_it();
        while (::read(ends[0], &a, sizeof a) == sizeof a) {
            if (alive && claims >= kill_at) end_it();
            if (a.what == 'c') {
                ++claims;
                ASSERT_FALSE(used.intersects(a.offset, a.offset + a.size)) << "used before, round " << round;
                ASSERT_FALSE(out.intersects(a.offset, a.offset + a.size)) << "handed out twice, round " << round;
                out.add(a.offset, a.offset + a.size);
            } else {
                used.add(a.offset, a.used_to);
                out.subtract(a.used_to, a.offset + a.size);
            }
        }
        ::close(ends[0]);
        if (alive) ::kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "exit " << WEXITSTATUS(status);
        for (const auto& piece : out.intervals()) used.add(piece.begin, piece.end);  // held at the crash: burnt
    }
    EXPECT_GT(claims, 500U);
    const auto contents = read_ledger(pads + "/ledger");
    ASSERT_TRUE(contents);
    pool_state state;
    for (const auto& record : contents->records) ASSERT_TRUE(state.apply(record));
}

}  // namespace
}  // namespace warifu
