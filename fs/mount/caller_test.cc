#include "fs/mount/caller.h"

#include <csignal>
#include <grp.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace warifu {
namespace {

std::string status(const char* of_thread, const char* of_process, const char* blocked, const char* ignored,
                   const char* caught) {
    return std::string("Name:\tpostgres\nState:\tD (disk sleep)\nTracerPid:\t0\nSigQ:\t1/95977\nSigPnd:\t") +
           of_thread + "\nShdPnd:\t" + of_process + "\nSigBlk:\t" + blocked + "\nSigIgn:\t" + ignored + "\nSigCgt:\t" +
           caught + "\nCapInh:\t0000000000000000\n";
}
constexpr const char* none = "0000000000000000";
constexpr const char* kill_set = "0000000000000100";
constexpr const char* interrupt_set = "0000000000000002";
constexpr const char* quit_set = "0000000000000004";
constexpr const char* alarm_set = "0000000000002000";
constexpr const char* realtime_set = "8000000000000000";

TEST(caller, dies_of_what_ends_it_and_of_nothing_else) {
    const struct {
        const char* name;
        std::string text;
        bool dying;
    } table[] = {
        {"no signal", status(none, none, none, none, none), false},
        {"killed", status(kill_set, none, none, none, none), true},
        {"killed, all blocked and caught", status(kill_set, none, "fffffffffffbfeff", none, "fffffffffffbfeff"), true},
        {"quit by default: the kernel leaves it as it is", status(none, quit_set, none, none, none), true},
        {"quit, caught", status(none, quit_set, none, none, quit_set), false},
        {"interrupt, caught", status(none, interrupt_set, none, none, interrupt_set), false},
        {"interrupt, blocked", status(interrupt_set, none, interrupt_set, none, none), false},
        {"interrupt, ignored", status(none, interrupt_set, none, interrupt_set, none), false},
        {"an alarm, caught", status(none, alarm_set, none, none, alarm_set), false},
        {"an alarm by default", status(none, alarm_set, none, none, none), true},
        {"a realtime signal by default", status(none, realtime_set, none, none, none), true},
        {"child, continue, stop, urgent, window and terminal", status(none, "00000000087f0000", none, none, none),
         false},
    };
    for (const auto& row : table) {
        SCOPED_TRACE(row.name);
        const auto dying = is_dying(std::string_view(row.text));
        ASSERT_TRUE(dying);
        EXPECT_EQ(*dying, row.dying);
    }
}

TEST(caller, a_text_without_the_lines_says_nothing) {
    EXPECT_FALSE(is_dying(std::string_view("")));
    EXPECT_FALSE(is_dying(std::string_view("Name:\tx\nSigPnd:\t0000000000000000\n")));
    EXPECT_FALSE(is_dying(std::string_view("Name:\tx\nSigPnd:\tx\nShdPnd:\tx\nSigBlk:\tx\nSigIgn:\tx\nSigCgt:\tx\n")));
}

TEST(caller, many_groups_do_not_hide_the_signals) {
    if (::geteuid() != 0) GTEST_SKIP() << "not root: only root may give itself groups";
    const pid_t child = ::fork();
    if (child == 0) {
        std::vector<gid_t> groups(2000);
        for (std::size_t i = 0; i < groups.size(); ++i) groups[i] = static_cast<gid_t>(1'000'000'000 + i);
        sigset_t user;
        ::sigemptyset(&user);
        ::sigaddset(&user, SIGUSR1);
        ::sigprocmask(SIG_BLOCK, &user, nullptr);
        ::raise(SIGUSR1);
        ::_exit(::setgroups(groups.size(), groups.data()) == 0 && !is_dying(::gettid()) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "a blocked signal is pending: the lines were found";
}

TEST(caller, of_this_thread_lives_and_one_that_is_not_there_does_not) {
    EXPECT_FALSE(is_dying(::gettid()));
    EXPECT_TRUE(is_dying(pid_t{0}));
}

}  // namespace
}  // namespace warifu
