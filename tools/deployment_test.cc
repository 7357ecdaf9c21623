#include "tools/deployment.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "fs/base/random.h"

namespace warifu {
namespace {

namespace path_fs = std::filesystem;

class in_directory : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (path_fs::temp_directory_path() / "warifu-deploy-XXXXXX").string();
        directory_ = ::mkdtemp(name.data());
    }
    void TearDown() override { path_fs::remove_all(directory_); }
    path_fs::path directory_;
};

using pid_files = in_directory;
using deployments = in_directory;

TEST_F(pid_files, name_a_running_process) {
    const auto self = identity_of(::getpid());
    ASSERT_TRUE(self);
    ASSERT_TRUE(write_pid_file(directory_ / "a.pid", *self));
    EXPECT_EQ(*running_process(directory_ / "a.pid"), self);
    EXPECT_EQ(*running_process(directory_ / "missing.pid"), std::nullopt);
}

TEST_F(pid_files, a_reused_number_is_another_process) {
    auto self = *identity_of(::getpid());
    self.start -= 1;
    ASSERT_TRUE(write_pid_file(directory_ / "a.pid", self));
    EXPECT_EQ(*running_process(directory_ / "a.pid"), std::nullopt);
    // It would end this very test if it were signalled.
    EXPECT_EQ(stop_process(self, steady_clock::now() + std::chrono::seconds(1)), stop_outcome::was_not_running);
    kill_process(self);
}

TEST_F(pid_files, nonsense_is_refused) {
    for (const std::string text : {"", "abc", "1 5", "-1 5", "77"}) {
        std::ofstream(directory_ / "a.pid") << text;
        const auto found = running_process(directory_ / "a.pid");
        ASSERT_FALSE(found) << text;
        EXPECT_EQ(found.error().code, errc::bad_format);
    }
}

TEST_F(pid_files, a_process_is_stopped_and_a_stubborn_one_killed) {
    const auto start = [](bool stubborn) {
        int pipe_ends[2];
        EXPECT_EQ(::pipe(pipe_ends), 0);
        const pid_t pid = ::fork();
        if (pid == 0) {
            if (stubborn) ::signal(SIGTERM, SIG_IGN);
            (void)!::write(pipe_ends[1], "x", 1);
            while (true) ::pause();
        }
        char ready = 0;
        EXPECT_EQ(::read(pipe_ends[0], &ready, 1), 1);
        ::close(pipe_ends[0]);
        ::close(pipe_ends[1]);
        return *identity_of(pid);
    };
    const auto willing = start(false);
    EXPECT_EQ(stop_process(willing, steady_clock::now() + std::chrono::seconds(20)), stop_outcome::stopped);
    EXPECT_FALSE(is_running(willing));  // a zombie does not run
    ::waitpid(willing.pid, nullptr, 0);
    const auto stubborn = start(true);
    EXPECT_EQ(stop_process(stubborn, steady_clock::now()), stop_outcome::still_running);
    kill_process(stubborn);
    EXPECT_FALSE(is_running(stubborn));
    ::waitpid(stubborn.pid, nullptr, 0);
}

TEST_F(pid_files, a_lock_excludes) {
    auto first = file_lock::take(directory_ / "lock", steady_clock::now());
    ASSERT_TRUE(first);
    const auto second = file_lock::take(directory_ / "lock", steady_clock::now());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, errc::busy);
}

TEST_F(deployments, layout_is_as_documented) {
    const deployment_layout layout("/d/");
    EXPECT_EQ(layout.root(), "/d");
    EXPECT_EQ(layout.mount_point(), "/d/mnt");
    EXPECT_EQ(layout.site_file("site2"), "/d/sites/site2/site.json");
    EXPECT_EQ(layout.keyd_pid("site2"), "/d/run/site2.keyd.pid");
    EXPECT_EQ(layout.server_pid("site2"), "/d/run/site2.server.pid");
    EXPECT_EQ(layout.mount_pid(), "/d/run/mount.pid");
    EXPECT_EQ(layout.volume_file(), "/d/run/volume.json");
    EXPECT_EQ(layout.socket_directory(), "/d/run");
}

TEST_F(deployments, long_paths_get_a_short_socket_directory) {
    const deployment_layout layout(directory_ / std::string(100, 'x'));
    const auto sockets = layout.socket_directory();
    EXPECT_NE(sockets, layout.run());
    EXPECT_LE((sockets / "site16.server.sock").string().size(), 107U);
    EXPECT_EQ(deployment_layout(directory_ / std::string(100, 'x')).socket_directory(), sockets);
    EXPECT_NE(deployment_layout(directory_ / std::string(100, 'y')).socket_directory(), sockets);
}

TEST_F(deployments, a_socket_directory_of_somebody_else_is_refused) {
    ASSERT_TRUE(make_socket_directory(directory_ / "s"));
    ASSERT_TRUE(make_socket_directory(directory_ / "s"));
    path_fs::create_symlink(directory_ / "s", directory_ / "link");
    EXPECT_EQ(make_socket_directory(directory_ / "link").error().code, errc::denied);
}

TEST_F(deployments, what_is_no_deployment_says_so) {
    const auto found = load_deployment(directory_);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, errc::not_found);
    EXPECT_FALSE(is_deployment(directory_));
}

TEST_F(deployments, ports_are_different_and_outside_of_the_ephemeral_range) {
    const auto ports = choose_ports(16);
    ASSERT_TRUE(ports);
    EXPECT_EQ(std::set<std::uint16_t>(ports->begin(), ports->end()).size(), 16U);
    for (const auto port : *ports) EXPECT_LT(port, 32768);
}

}  // namespace
}  // namespace warifu
