#include "fs/mount/request_watch.h"

#include <gtest/gtest.h>
#include <optional>
#include <vector>

namespace warifu {
namespace {

TEST(request_watch, tells_of_each_stuck_request_once) {
    request_watch watch;
    std::vector<std::string> said;
    const auto report = [&said](const std::string& line) { said.push_back(line); };
    std::optional<request_watch::entry> read(std::in_place, watch, "read");
    std::optional<request_watch::entry> quick(std::in_place, watch, "lookup");
    const deadline begun = steady_clock::now();
    const auto after = [begun](int seconds) { return begun + std::chrono::seconds(seconds); };
    watch.tell(after(1), report);
    EXPECT_TRUE(said.empty());
    EXPECT_EQ(watch.at(after(1)).waiting, 2U);
    quick.reset();
    watch.tell(after(25), report);
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(said[0], "a read has been waiting for 25 s; 1 of 1 requests are stuck");
    watch.tell(after(26), report);
    EXPECT_EQ(said.size(), 1U);
    EXPECT_EQ(watch.at(after(26)).stuck, 1U);
    EXPECT_GE(watch.at(after(26)).oldest_ms, 25'000U);
    read->end();
    read->end();
    watch.tell(after(27), report);
    ASSERT_EQ(said.size(), 2U);
    EXPECT_EQ(said[1], "no request is stuck any more");
    watch.tell(after(28), report);
    EXPECT_EQ(said.size(), 2U);
    EXPECT_EQ(watch.at(after(28)).waiting, 0U);
    EXPECT_EQ(watch.at(after(28)).stuck, 1U) << "the count is since the mount";
}

TEST(request_watch, entries_end_in_any_order) {
    request_watch watch;
    std::vector<std::unique_ptr<request_watch::entry>> all;
    for (int i = 0; i < 5; ++i) all.push_back(std::make_unique<request_watch::entry>(watch, "write"));
    for (const std::size_t which : {2U, 0U, 4U, 1U, 3U}) {
        const auto before = watch.now().waiting;
        all[which].reset();
        EXPECT_EQ(watch.now().waiting, before - 1);
    }
}

}  // namespace
}  // namespace warifu
