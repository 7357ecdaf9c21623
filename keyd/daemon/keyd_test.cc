#include "keyd/daemon/keyd.h"

#include <algorithm>
#include <functional>
#include <grp.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "keyd/client.h"
#include "keyd/pool/test_support.h"

namespace warifu {
namespace {

constexpr std::uint64_t block_size = 1U << 20U;

struct keyd_test : testing::Test {
    keyd_test() { spdlog::set_level(spdlog::level::critical); }

    keyd_options options(const std::string& site) {
        keyd_options out;
        out.site = site;
        out.directory = directory / site;
        out.control_reserve = 0;
        out.poll_ms = 5;
        return out;
    }
    std::shared_ptr<keyd> start(const std::string& site) { return start(options(site)); }
    std::shared_ptr<keyd> start(keyd_options with) {
        auto started = keyd::start(core.get_executor(), std::move(with));
        EXPECT_TRUE(started) << started.error().message();
        return started ? *started : nullptr;
    }
    std::string socket(const std::string& site) { return directory / (site + "/keyd.sock"); }
    std::string incoming(const std::string& site) { return directory / (site + "/incoming"); }
    /// Runs the body on the core thread to its end.
    void run(std::function<awaitable<void>()> body) {
        bool ended = false;
        asio::co_spawn(core, body(), [&](std::exception_ptr thrown) {
            ended = true;
            core.stop();
            if (thrown) std::rethrow_exception(thrown);
        });
        core.restart();
        core.run();
        EXPECT_TRUE(ended);
    }
    awaitable<std::unique_ptr<keyd_client>> client_of(std::string site) {
        auto connected = co_await keyd_client::connect(socket(site));
        EXPECT_TRUE(connected) << connected.error().message();
        co_return std::move(*connected);
    }
    static deadline soon(std::uint32_t ms = 2000) { return deadline_in_ms(ms); }
    static awaitable<nlohmann::json> status_of(keyd_client& client) {
        const auto text = co_await client.status_json();
        EXPECT_TRUE(text);
        co_return nlohmann::json::parse(*text);
    }

    temporary_directory directory;
    asio::io_context core{1};
};

TEST_F(keyd_test, serves_windows_hello_slots_and_stock) {
    const auto a = start("a"), b = start("b");
    write_block(make_block(ab, 0, block_size), {incoming("a"), incoming("b")});
    run([&]() -> awaitable<void> {
        const auto near = co_await client_of("a"), far = co_await client_of("b");
        EXPECT_EQ(near->site(), "a");
        const auto sent = co_await near->claim_send(ab, session_id{}, 1000, 300'000, key_use::bulk, soon());
        const auto waiting = co_await far->take_hello_slot(ba, soon(1));
        EXPECT_EQ(waiting.error().code, errc::no_key);
        if (!sent) co_return;
        const pad_range range = (*sent)->range();
        EXPECT_EQ(range, (pad_range{4096, 300'000}));
        const auto received = co_await far->claim_receive(ab, session_id{}, range);
        EXPECT_TRUE(received && std::ranges::equal((*sent)->bytes(), (*received)->bytes()));
        const auto again = co_await far->claim_receive(ab, session_id{}, range);
        EXPECT_EQ(again.error().code, errc::conflict);
        const auto free = co_await far->next_free(ab, 0);
        EXPECT_EQ(*free, range.end());
        (*sent)->bytes()[0] = std::byte{1};  // ciphertext replaces the pad

        const auto slot = co_await near->take_hello_slot(ab, soon());
        const auto seen = co_await far->peek_hello_slot(ab, slot->offset);
        EXPECT_EQ(seen->key, slot->key);
        const auto spent = co_await far->spend_hello_slot(ab, slot->offset);
        EXPECT_TRUE(spent);
        const auto twice = co_await far->spend_hello_slot(ab, slot->offset);
        EXPECT_EQ(twice.error().code, errc::conflict);

        auto stock = co_await near->available("b");
        EXPECT_EQ(stock->outbound, block_size - 4096 - 300'000);
        EXPECT_EQ(stock->inbound, 0U);
        EXPECT_EQ(near->strength(), claim::simulated);
        const auto released = co_await near->release(ab, range, range.offset + 100'000);
        EXPECT_TRUE(released);
        const auto unknown = co_await near->release(ab, range, range.offset);
        EXPECT_EQ(unknown.error().code, errc::not_found);
        stock = co_await near->available("b");
        EXPECT_EQ(stock->outbound, block_size - 4096 - 100'000);
        const auto skipped = co_await near->skip_to(ab, 500'000);
        EXPECT_TRUE(skipped);
        stock = co_await near->available("b");
        EXPECT_EQ(stock->outbound, block_size - 500'000);

        const auto status = co_await status_of(*near);
        EXPECT_EQ(status["site"], "a");
        EXPECT_EQ(status["claim"], "simulated");
        EXPECT_EQ(status["streams"][0]["available_bytes"], block_size - 500'000);
        EXPECT_EQ(status["streams"][0]["used_bytes"], 100'000);
        EXPECT_EQ(status["streams"][0]["direction"], "out");
    });
    run([&]() -> awaitable<void> {
        co_await a->stop();
        co_await b->stop();
    });
    EXPECT_FALSE(std::filesystem::exists(socket("a")));
}

TEST_F(keyd_test, random_bytes_come_once) {
    const auto a = start("a");
    write_block(make_block(stream_name{"a", "a"}, 0, block_size, block_kind::random), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        const auto first = co_await client->take_random(300'000, soon());
        const auto second = co_await client->take_random(300'000, soon());
        EXPECT_TRUE(first && second && *first != *second);
        const auto third = co_await client->take_random(block_size, soon(10));
        EXPECT_EQ(third.error().code, errc::no_key);
        co_await a->stop();
    });
}

TEST_F(keyd_test, a_consumer_that_goes_away_burns_its_windows) {
    const auto a = start("a");
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto watcher = co_await client_of("a");
        {
            const auto client = co_await client_of("a");
            const auto held = co_await client->claim_send(ab, session_id{}, 100'000, 100'000, key_use::bulk, soon());
            EXPECT_TRUE(held);
            const auto foreign = co_await watcher->release(ab, (*held)->range(), (*held)->range().offset);
            EXPECT_EQ(foreign.error().code, errc::not_found) << "only the holder may release";
        }
        nlohmann::json status;
        for (int i = 0; i < 200; ++i) {
            status = co_await status_of(*watcher);
            if (status["streams"][0]["burnt_bytes"] == 100'000) break;
            co_await sleep_for(std::chrono::milliseconds(5));
        }
        EXPECT_EQ(status["streams"][0]["burnt_bytes"], 100'000);
        EXPECT_EQ(status["held_bytes"], 0);
        const auto next = co_await watcher->claim_send(ab, session_id{}, 1, 10, key_use::bulk, soon());
        EXPECT_EQ((*next)->range().offset, 4096U + 100'000U);
        co_await a->stop();
    });
}

TEST_F(keyd_test, claims_wait_for_key_and_control_goes_first) {
    const auto a = start("a");
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        const auto none = co_await client->claim_send(ab, session_id{}, 1, 10, key_use::bulk, soon(30));
        EXPECT_EQ(none.error().code, errc::no_key);
        std::vector<std::string> order;
        int open = 0;
        const auto claim = [&](std::string name, key_use use) -> awaitable<void> {
            ++open;
            const auto got = co_await client->claim_send(ab, session_id{}, 400'000, 400'000, use, soon(1500));
            order.push_back(got ? name : name + " " + std::string(to_string(got.error().code)));
            --open;
        };
        asio::co_spawn(core, claim("bulk", key_use::bulk), asio::detached);
        asio::co_spawn(core, claim("late bulk", key_use::bulk), asio::detached);
        co_await sleep_for(std::chrono::milliseconds(50));
        asio::co_spawn(core, claim("control", key_use::control), asio::detached);
        co_await sleep_for(std::chrono::milliseconds(50));
        write_block(make_block(ab, 0, block_size), {incoming("a")});
        while (open != 0) co_await sleep_for(std::chrono::milliseconds(5));
        EXPECT_EQ(order, (std::vector<std::string>{"control", "bulk", "late bulk no_key"}));
        co_await a->stop();
    });
}

TEST_F(keyd_test, windows_outlive_keyd_and_the_client_comes_back) {
    auto a = start("a");
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        const auto held = co_await client->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
        EXPECT_TRUE(held);
        const byte_vector before((*held)->bytes().begin(), (*held)->bytes().end());
        co_await a->stop();
        a.reset();
        const auto down = co_await client->claim_send(ab, session_id{}, 1, 1, key_use::bulk, soon());
        EXPECT_EQ(down.error().code, errc::unreachable);
        a = start("a");
        EXPECT_TRUE(std::ranges::equal((*held)->bytes(), before));
        const auto unknown = co_await client->release(ab, (*held)->range(), (*held)->range().offset);
        EXPECT_EQ(unknown.error().code, errc::not_found) << "burnt when keyd stopped";
        const auto fresh = co_await client->claim_send(ab, session_id{}, 1, 1, key_use::bulk, soon());
        EXPECT_EQ((*fresh)->range().offset, 5096U);
        co_await a->stop();
    });
}

TEST_F(keyd_test, files_that_cannot_be_taken_are_set_aside_and_named) {
    const auto a = start("a");
    const auto block = make_block(ab, 0, block_size);
    const auto path = write_block(block, {directory.path()}).front();
    std::filesystem::copy_file(path, incoming("a") + "/1.pad");
    const auto refused = [&](std::string name) -> awaitable<nlohmann::json> {
        const auto client = co_await client_of("a");
        for (int i = 0; i < 400; ++i) {
            if (std::filesystem::exists(incoming("a") + "/" + name + ".refused")) break;
            co_await sleep_for(std::chrono::milliseconds(5));
        }
        EXPECT_TRUE(std::filesystem::exists(incoming("a") + "/" + name + ".refused")) << name;
        co_return co_await status_of(*client);
    };
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        const auto held = co_await client->claim_send(ab, session_id{}, 1, 1, key_use::bulk, soon());
        EXPECT_TRUE(held);
        std::filesystem::copy_file(path, incoming("a") + "/again.pad");
        auto status = co_await refused("again.pad");
        EXPECT_NE(status["last_import_error"].get<std::string>().find("again.pad"), std::string::npos);

        auto bytes = read_all(path);
        bytes.resize(bytes.size() - 1);
        write_all(incoming("a") + "/short.tmp", bytes);
        const auto old = std::filesystem::file_time_type::clock::now() - std::chrono::seconds(60);
        std::filesystem::last_write_time(incoming("a") + "/short.tmp", old);
        std::filesystem::rename(incoming("a") + "/short.tmp", incoming("a") + "/short.pad");
        status = co_await refused("short.pad");
        EXPECT_NE(status["last_import_error"].get<std::string>().find("truncated"), std::string::npos);

        const auto foreign = write_block(make_block(stream_name{"b", "c"}, 0, block_size), {directory.path()}).front();
        std::filesystem::rename(foreign, incoming("a") + "/foreign.pad");
        status = co_await refused("foreign.pad");
        EXPECT_EQ(status["failures"]["imports_refused"], 3);
        co_await a->stop();
    });
}

TEST_F(keyd_test, nonsense_ends_the_connection_and_nothing_else) {
    const auto a = start("a");
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        auto fd = connect_local(socket("a"));
        packet_socket raw(core.get_executor(), std::move(*fd));
        const auto sent = co_await raw.send(byte_vector(100, std::byte{0xee}), -1, std::chrono::seconds(1));
        EXPECT_TRUE(sent);
        const auto end = co_await raw.receive();
        EXPECT_EQ(end.error().code, errc::unreachable);
        const auto status = co_await status_of(*client);
        EXPECT_EQ(status["failures"]["bad_messages"], 1);
        co_await a->stop();
    });
}

TEST_F(keyd_test, one_socket_and_one_directory_have_one_keyd) {
    const auto a = start("a");
    auto same_directory = options("a");
    same_directory.socket_path = directory / "other.sock";
    EXPECT_EQ(keyd::start(core.get_executor(), same_directory).error().code, errc::busy);
    auto same_socket = options("b");
    same_socket.socket_path = socket("a");
    EXPECT_EQ(keyd::start(core.get_executor(), same_socket).error().code, errc::busy);
    run([&]() -> awaitable<void> { co_await a->stop(); });
}

/// In a child with another user's (and perhaps a group's) identity: whether keyd answers a greeting.
bool answers_to(const std::string& path, uid_t uid, gid_t gid) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgroups(0, nullptr) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0) ::_exit(9);
        auto fd = connect_local(path);
        if (!fd) ::_exit(1);
        const auto hello = keyd_protocol::encode(keyd_protocol::request{1, keyd_protocol::greet{}});
        ::send(fd->get(), hello.data(), hello.size(), MSG_NOSIGNAL);
        char c = 0;
        for (int i = 0; i < 400; ++i) {
            const auto got = ::recv(fd->get(), &c, 1, MSG_DONTWAIT);
            if (got >= 0) ::_exit(got > 0 ? 0 : 1);
            ::usleep(5000);
        }
        ::_exit(2);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) < 2) << WEXITSTATUS(status);
    return WEXITSTATUS(status) == 0;
}

TEST_F(keyd_test, only_the_owner_root_and_the_group_may_connect) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to become others";
    ::chmod(directory.path().c_str(), 0755);
    auto with = options("a");
    with.socket_path = directory / "a.sock";
    with.group = 12345;
    const auto a = start(with);
    std::jthread server([this] { core.run(); });
    EXPECT_TRUE(answers_to(with.socket_path, 54321, 12345));
    EXPECT_FALSE(answers_to(with.socket_path, 54321, 54321));
    ::chmod(with.socket_path.c_str(), 0666);  // what the mode no longer keeps out the credentials do
    EXPECT_FALSE(answers_to(with.socket_path, 54321, 54321));
    EXPECT_TRUE(answers_to(with.socket_path, 0, 0));
    core.stop();
    server.join();
    run([&]() -> awaitable<void> { co_await a->stop(); });
}

}  // namespace
}  // namespace warifu
