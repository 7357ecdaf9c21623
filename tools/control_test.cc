#include "tools/control.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include "fs/async/wait.h"

namespace warifu {
namespace {

task<ordered_json> answer(std::string command) {
    if (command == "status") co_return ordered_json{{"state", "up"}};
    if (command == "long") co_return ordered_json{{"text", std::string(200'000, 'x')}};
    co_return fail(errc::busy, "not now");
}

class control : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "warifu-control-XXXXXX").string();
        directory_ = ::mkdtemp(name.data());
        socket_ = directory_ / "c.sock";
        auto listening = control_server::listen(core_, socket_, answer);
        ASSERT_TRUE(listening) << listening.error().message();
        server_ = std::move(*listening);
        thread_ = std::thread([this] { core_.run(); });
    }
    void TearDown() override {
        asio::post(core_, [this] { server_.reset(); });
        guard_.reset();
        thread_.join();
        EXPECT_FALSE(std::filesystem::exists(socket_));
        std::filesystem::remove_all(directory_);
    }

    asio::io_context core_;
    std::filesystem::path directory_, socket_;
    std::unique_ptr<control_server> server_;
    std::thread thread_;

  private:
    asio::executor_work_guard<asio::io_context::executor_type> guard_{core_.get_executor()};
};

TEST_F(control, question_and_answer) {
    const auto status = ask_control(socket_, "status", std::chrono::seconds(5));
    ASSERT_TRUE(status) << status.error().message();
    EXPECT_EQ((*status)["state"], "up");
    EXPECT_EQ((*ask_control(socket_, "long", std::chrono::seconds(5)))["text"].get<std::string>().size(), 200'000U);
}

TEST_F(control, errors_keep_code_and_text) {
    const auto refused = ask_control(socket_, "other", std::chrono::seconds(5));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, errc::busy);
    EXPECT_EQ(refused.error().text, "not now");
}

TEST_F(control, nonsense_is_answered_with_an_error) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const std::string nonsense = "{\"command\": 7\n";
    ASSERT_EQ(::send(fd, nonsense.data(), nonsense.size(), MSG_NOSIGNAL), static_cast<ssize_t>(nonsense.size()));
    char text[256] = {};
    ASSERT_GT(::read(fd, text, sizeof text - 1), 0);
    EXPECT_NE(std::string(text).find("bad_argument"), std::string::npos);
    ::close(fd);
}

TEST_F(control, a_second_server_is_refused) {
    asio::io_context other;
    const auto second = control_server::listen(other, socket_, answer);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, errc::busy);
}

TEST(control_socket, nobody_listens_and_stale_sockets_are_replaced) {
    std::string name = (std::filesystem::temp_directory_path() / "warifu-control-XXXXXX").string();
    const std::filesystem::path directory = ::mkdtemp(name.data());
    const auto socket = directory / "c.sock";
    EXPECT_EQ(ask_control(socket, "status", std::chrono::seconds(1)).error().code, errc::unreachable);
    {
        // A process that died leaves its socket behind.
        asio::io_context dead;
        asio::local::stream_protocol::acceptor left(dead, asio::local::stream_protocol::endpoint(socket.string()));
    }
    ASSERT_TRUE(std::filesystem::exists(socket));
    asio::io_context core;
    EXPECT_TRUE(control_server::listen(core, socket, answer));
    const auto too_long = directory / std::string(120, 'x');
    EXPECT_EQ(control_server::listen(core, too_long, answer).error().code, errc::too_large);
    std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace warifu
