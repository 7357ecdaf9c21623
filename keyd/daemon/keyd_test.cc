#include "keyd/daemon/keyd.h"

#include <algorithm>
#include <fcntl.h>
#include <functional>
#include <grp.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "keyd/client.h"
#include "keyd/pool/test_support.h"

namespace {

std::atomic<bool> flushes_fail = false;

}  // namespace

/// Flushes of this process fail when they are told to.
extern "C" int fdatasync(int fd) {
    if (!flushes_fail) return static_cast<int>(::syscall(SYS_fdatasync, fd));
    errno = EIO;
    return -1;
}

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
    /// A keyd takes blocks in when it comes to it, the other end earlier or later.
    static awaitable<void> has_key_from(keyd_client& client, std::string peer) {
        const deadline until = soon(20'000);
        while (steady_clock::now() < until) {
            const auto stock = co_await client.available(peer);
            EXPECT_TRUE(stock);
            if (!stock || stock->inbound != 0) co_return;
            co_await sleep_for(std::chrono::milliseconds(2));
        }
    }
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
        co_await has_key_from(*far, "a");
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

TEST_F(keyd_test, bytes_do_not_leave_before_their_mark_is_durable) {
    const auto a = start("a"), b = start("b"), c = start("c");
    write_block(make_block(ab, 0, block_size), {incoming("a"), incoming("b")});
    write_block(make_block(stream_name{"c", "c"}, 0, block_size, block_kind::random), {incoming("c")});
    const auto fails = [](const auto& claimed) { return !claimed && claimed.error().code == errc::io_error; };
    run([&]() -> awaitable<void> {
        const auto near = co_await client_of("a"), far = co_await client_of("b"), own = co_await client_of("c");
        const auto one = co_await near->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon(20'000));
        EXPECT_TRUE(one);
        const auto random = co_await own->take_random(1000, soon(20'000));
        EXPECT_TRUE(random);
        co_await has_key_from(*far, "a");
        flushes_fail = true;
        const auto sent = co_await near->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
        EXPECT_TRUE(fails(sent));
        const auto received = co_await far->claim_receive(ab, session_id{}, pad_range{4096, 1000});
        EXPECT_TRUE(fails(received));
        const auto more = co_await own->take_random(1000, soon());
        EXPECT_TRUE(fails(more));
        flushes_fail = false;
        const auto later = co_await near->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
        EXPECT_TRUE(fails(later)) << "whether a mark is there that failed to be flushed, nobody knows";
        const auto status = co_await status_of(*near);
        EXPECT_EQ(status["failures"]["reads"], 0);
    });
    run([&]() -> awaitable<void> {
        co_await a->stop();
        co_await b->stop();
        co_await c->stop();
    });
}

TEST_F(keyd_test, what_was_read_from_a_disk_is_erased_when_the_wait_for_a_pause_is_over) {
    auto patient = options("a");
    patient.erase_pause_ms = 10'000;
    patient.erase_delay_max_ms = 400;
    const auto a = start(patient);
    write_block(make_block(ba, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto near = co_await client_of("a");
        co_await has_key_from(*near, "b");
        const auto path = std::filesystem::directory_iterator(directory / "a/blocks")->path().string();
        const auto file = open_file(path, O_RDONLY);
        ::fsync(file->get());
        ::posix_fadvise(file->get(), 0, 0, POSIX_FADV_DONTNEED);
        const pad_range range{4096, 200'000};
        const bool cold = is_cold(file->get(), pad_header_size + range.offset, range.size);
        const auto window = co_await near->claim_receive(ba, session_id{}, range);
        EXPECT_TRUE(window);
        const deadline before = steady_clock::now();
        const auto released = co_await near->release(ba, range, range.end());
        EXPECT_TRUE(released);
        const auto is_erased = [&] {
            byte_vector bytes(range.size);
            return read_at(file->get(), pad_header_size + range.offset, bytes, path) &&
                   bytes == byte_vector(range.size);
        };
        const deadline until = soon(20'000);
        while (!is_erased() && steady_clock::now() < until) co_await sleep_for(std::chrono::milliseconds(5));
        EXPECT_TRUE(is_erased());
        EXPECT_GE(steady_clock::now() - before, std::chrono::milliseconds(cold ? 400 : 0));
    });
    run([&]() -> awaitable<void> { co_await a->stop(); });
}

TEST_F(keyd_test, a_claim_without_memory_is_refused_and_spends_nothing) {
    const auto a = start("a");
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    write_block(make_block(stream_name{"a", "a"}, 0, block_size, block_kind::random), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        auto joined = co_await client->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
        EXPECT_TRUE(joined);
        packet_socket raw(core.get_executor(), *connect_local(socket("a")));
        const unique_fd no_memory(::open("/dev/null", O_RDWR | O_CLOEXEC));
        const std::vector<keyd_protocol::request> requests{
            {1, keyd_protocol::claim_send{ab, session_id{}, 1000, 5000, key_use::bulk, 0}},
            {2, keyd_protocol::claim_receive{ba, session_id{}, {4096, 5000}}},
            {3, keyd_protocol::take_random{5000, 0}}};
        for (const auto& request : requests) {
            for (const int fd : {-1, no_memory.get()}) {
                auto packet = keyd_protocol::encode(request);
                const auto sent = co_await raw.send(std::move(packet), fd, std::chrono::milliseconds(1000));
                EXPECT_TRUE(sent);
                const auto arrived = co_await raw.receive();
                const auto reply = keyd_protocol::decode_reply(arrived->bytes);
                const auto* failed = std::get_if<keyd_protocol::failed>(&reply->body);
                EXPECT_TRUE(failed != nullptr && failed->code == (fd < 0 ? errc::busy : errc::bad_argument));
            }
        }
        const auto stock = co_await client->available("b");
        EXPECT_EQ(stock->outbound, block_size - 4096 - 1000);
        co_await a->stop();
    });
}

TEST_F(keyd_test, memory_that_serves_again_holds_only_the_new_window) {
    const auto a = start("a"), b = start("b");
    write_block(make_block(ab, 0, block_size), {incoming("a"), incoming("b")});
    run([&]() -> awaitable<void> {
        const auto near = co_await client_of("a"), far = co_await client_of("b");
        const std::byte* place = nullptr;
        for (const std::uint64_t size : {200'000U, 150'000U, 70'000U}) {
            auto sent = co_await near->claim_send(ab, session_id{}, size, size, key_use::bulk, soon());
            co_await has_key_from(*far, "a");
            auto received = co_await far->claim_receive(ab, session_id{}, (*sent)->range());
            EXPECT_TRUE(sent && received && std::ranges::equal((*sent)->bytes(), (*received)->bytes()));
            EXPECT_TRUE(place == nullptr || place == (*sent)->bytes().data()) << "other memory was used";
            place = (*sent)->bytes().data();
            const pad_range range = (*sent)->range();
            sent->reset();
            received->reset();
            const auto given = co_await near->release(ab, range, range.end());
            const auto taken = co_await far->release(ab, range, range.end());
            EXPECT_TRUE(given && taken);
        }
        co_await a->stop();
        co_await b->stop();
    });
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

TEST_F(keyd_test, the_random_pool_is_filled_by_demand) {
    auto with = options("a");
    with.random = random_options{};
    with.random->device = "/dev/urandom";
    with.random->strength = claim::simulated;
    with.random->target = 512U << 10U;
    with.random->block_size = 128U << 10U;
    const auto a = start(with);
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        std::set<byte_vector> seen;
        for (int i = 0; i < 10; ++i) {  // more than the target
            const auto bytes = co_await client->take_random(200'000, soon(15'000));
            EXPECT_TRUE(bytes) << bytes.error().message();
            if (bytes) EXPECT_TRUE(seen.insert(*bytes).second);
        }
        auto status = co_await status_of(*client);
        EXPECT_EQ(status["random_source"]["error"], "");
        EXPECT_EQ(status["streams"][0]["direction"], "random");
        EXPECT_EQ(status["streams"][0]["claim"], "simulated");
        EXPECT_LE(status["streams"][0]["available_bytes"].get<std::uint64_t>(), (512U + 128U) << 10U);
        const auto stock = co_await client->available("b");
        EXPECT_TRUE(stock);
        EXPECT_EQ(client->strength(), claim::simulated);
        co_await a->stop();
    });
}

TEST_F(keyd_test, a_random_source_that_fails_its_tests_is_an_alarm_and_brings_nothing) {
    write_all(directory / "stuck", byte_vector(1U << 20U, std::byte{0x55}));
    auto with = options("a");
    with.random = random_options{};
    with.random->device = directory / "stuck";
    with.random->strength = claim::information_theoretic;
    with.random->retry_ms = 1;
    const auto a = start(with);
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        auto status = co_await status_of(*client);
        for (int i = 0; i < 2000 && status["failures"]["health_tests"] != 3; ++i) {
            co_await sleep_for(std::chrono::milliseconds(5));
            status = co_await status_of(*client);
        }
        EXPECT_EQ(status["failures"]["health_tests"], 3);
        const std::string error = status["random_source"]["error"];
        EXPECT_NE(error.find("repetition count test failed: stopped"), std::string::npos) << error;
        EXPECT_NE(status["alarms"].dump().find("random source"), std::string::npos);
        EXPECT_EQ(status["streams"].size(), 0U);
        co_await a->stop();
    });
}

/// What an HTTP client gets from the port: the whole response.
awaitable<std::string> fetch(std::uint16_t port, std::string request) {
    asio::ip::tcp::socket socket(co_await asio::this_coro::executor);
    const asio::ip::tcp::endpoint where(asio::ip::address_v4::loopback(), port);
    (void)co_await socket.async_connect(where, use_values);
    (void)co_await asio::async_write(socket, asio::buffer(request), use_values);
    std::string response;
    for (;;) {
        std::array<char, 4096> piece{};
        const auto [ec, size] = co_await socket.async_read_some(asio::buffer(piece), use_values);
        if (ec) break;
        response.append(piece.data(), size);
    }
    co_return response;
}

TEST_F(keyd_test, metrics_are_served_on_loopback) {
    auto with = options("a");
    with.metrics = "127.0.0.1:0";
    const auto a = start(with);
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    auto taken = options("b");
    taken.metrics = "127.0.0.1:" + std::to_string(a->metrics_port());
    EXPECT_EQ(keyd::start(core.get_executor(), taken).error().code, errc::busy);
    taken.metrics = "nowhere";
    EXPECT_EQ(keyd::start(core.get_executor(), taken).error().code, errc::bad_argument);
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        const auto held = co_await client->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
        EXPECT_TRUE(held);
        auto response = co_await fetch(a->metrics_port(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        EXPECT_TRUE(response.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text")) << response;
        EXPECT_NE(response.find("warifu_keyd_stream_held_bytes{from=\"a\",to=\"b\",direction=\"out\"} 1000\n"),
                  std::string::npos)
            << response;
        EXPECT_TRUE(response.ends_with("# EOF\n"));
        response = co_await fetch(a->metrics_port(), "GET / HTTP/1.1\r\n\r\n");
        EXPECT_TRUE(response.starts_with("HTTP/1.1 404 "));
        response = co_await fetch(a->metrics_port(), "POST /metrics HTTP/1.1\r\n\r\n");
        EXPECT_TRUE(response.starts_with("HTTP/1.1 405 "));
        response = co_await fetch(a->metrics_port(), std::string(10'000, 'x'));
        EXPECT_TRUE(response.empty() || response.starts_with("HTTP/1.1 405 "));
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

TEST_F(keyd_test, windows_outlive_keyd_and_their_consumer_comes_back_for_them) {
    auto a = start("a");
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        const auto held = co_await client->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
        const auto other = co_await client->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
        EXPECT_TRUE(held && other);
        const byte_vector before((*held)->bytes().begin(), (*held)->bytes().end());
        co_await a->stop();
        a.reset();
        const auto down = co_await client->claim_send(ab, session_id{}, 1, 1, key_use::bulk, soon());
        EXPECT_EQ(down.error().code, errc::unreachable);
        const auto late = co_await client->release(ab, (*other)->range(), (*other)->range().offset + 10);
        EXPECT_EQ(late.error().code, errc::unreachable);
        a = start("a");
        EXPECT_TRUE(std::ranges::equal((*held)->bytes(), before));
        const auto released = co_await client->release(ab, (*held)->range(), (*held)->range().offset + 100);
        EXPECT_TRUE(released) << "the window came through the restart";
        const auto status = co_await status_of(*client);
        EXPECT_EQ(status["windows_reclaimed"], 2);
        EXPECT_EQ(status["streams"][0]["used_bytes"], 110) << "the release that found nobody was repeated";
        EXPECT_EQ(status["streams"][0]["burnt_bytes"], 0);
        EXPECT_EQ(status["held_bytes"], 0);
        co_await a->stop();
    });
}

TEST_F(keyd_test, windows_whose_consumer_does_not_come_back_are_burnt) {
    auto with = options("a");
    with.reclaim_ms = 50;
    auto a = start(with);
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        {
            const auto client = co_await client_of("a");
            const auto held = co_await client->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
            EXPECT_TRUE(held);
            co_await a->stop();
            a.reset();
        }
        a = start(with);
        const auto watcher = co_await client_of("a");
        auto status = co_await status_of(*watcher);
        for (int i = 0; i < 2000 && status["streams"][0]["burnt_bytes"] != 1000; ++i) {
            co_await sleep_for(std::chrono::milliseconds(5));
            status = co_await status_of(*watcher);
        }
        EXPECT_EQ(status["streams"][0]["burnt_bytes"], 1000);
        EXPECT_EQ(status["held_bytes"], 0);
        co_await a->stop();
    });
}

TEST_F(keyd_test, a_window_that_is_dropped_without_a_word_is_burnt) {
    const auto a = start("a");
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        {
            const auto lost = co_await client->claim_send(ab, session_id{}, 1000, 1000, key_use::bulk, soon());
            EXPECT_TRUE(lost);
        }
        const auto kept = co_await client->claim_send(ab, session_id{}, 500, 500, key_use::bulk, soon());
        auto status = co_await status_of(*client);
        for (int i = 0; i < 2000 && status["streams"][0]["burnt_bytes"] != 1000; ++i) {
            co_await sleep_for(std::chrono::milliseconds(10));
            status = co_await status_of(*client);
        }
        EXPECT_EQ(status["streams"][0]["burnt_bytes"], 1000);
        EXPECT_EQ(status["held_bytes"], 500);
        const auto released = co_await client->release(ab, (*kept)->range(), (*kept)->range().offset);
        EXPECT_TRUE(released);
        co_await a->stop();
    });
}

TEST_F(keyd_test, bulk_pauses_before_interactive_and_that_before_control) {
    auto with = options("a");
    with.control_reserve = 200'000;
    const auto a = start(with);
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        const auto all = [&](key_use use) -> awaitable<std::uint64_t> {
            std::uint64_t sum = 0;
            for (;;) {
                const std::uint32_t wait_ms = sum == 0 ? 2000 : 0;  // the block is on its way
                const auto got = co_await client->claim_send(ab, session_id{}, 1, block_size, use, soon(wait_ms));
                if (!got) co_return sum;
                sum += (*got)->range().size;
            }
        };
        const auto bulk = co_await all(key_use::bulk);
        const auto interactive = co_await all(key_use::interactive);
        const auto control = co_await all(key_use::control);
        EXPECT_EQ(bulk, block_size - 4096 - 400'000);
        EXPECT_EQ(interactive, 200'000);
        EXPECT_EQ(control, 200'000);
        co_await a->stop();
    });
}

TEST_F(keyd_test, what_is_reserved_others_leave_alone) {
    auto with = options("a");
    with.control_reserve = 100'000;
    with.bulk_reserve = 0;
    const auto a = start(with);
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        const std::uint64_t stock = block_size - 4096 - 100'000;
        const auto writer = co_await client_of("a"), other = co_await client_of("a");
        const auto claim = [&](keyd_client& of, std::uint64_t size, std::uint32_t wait_ms = 0) -> awaitable<bool> {
            const auto got = co_await of.claim_send(ab, session_id{}, size, size, key_use::bulk, soon(wait_ms));
            if (got) EXPECT_TRUE(co_await of.release(ab, (*got)->range(), (*got)->range().end()));
            co_return got.has_value();
        };
        EXPECT_TRUE(co_await claim(*other, 1, 2000));  // the block is there
        EXPECT_EQ(co_await writer->reserve(ab, 600'000), 600'000);
        EXPECT_EQ((co_await status_of(*other))["streams"][0]["reserved_bytes"], 600'000);
        EXPECT_FALSE(co_await claim(*other, stock - 600'000)) << "one byte is gone";
        EXPECT_TRUE(co_await claim(*other, stock - 600'001));
        EXPECT_FALSE(co_await claim(*other, 1));
        EXPECT_EQ(co_await other->reserve(ab, 1000), 0) << "nothing is left";
        EXPECT_TRUE(co_await claim(*writer, 200'000));
        // It draws on its own; while the other waits it does not grow beyond what it has, or its half.
        EXPECT_EQ((co_await status_of(*other))["streams"][0]["reserved_bytes"], 400'000);
        EXPECT_EQ(co_await writer->reserve(ab, 600'000), 400'000);
        EXPECT_EQ(co_await writer->reserve(ab, 100'000), 100'000) << "it may always have less";
        EXPECT_EQ(co_await other->reserve(ab, 1'000'000), 300'000);
        EXPECT_EQ(co_await writer->reserve(ab, 1'000'000), 100'000) << "what the other has it keeps";
        EXPECT_EQ(co_await other->reserve(ab, 1'000'000), 300'000);
        EXPECT_EQ((co_await writer->reserve(ba, 1)).error().code, errc::bad_argument);
        // Who goes away reserves nothing.
        auto third = co_await client_of("a");
        EXPECT_EQ(co_await third->reserve(ab, 0), 0);
        EXPECT_EQ(co_await other->reserve(ab, 0), 0);
        EXPECT_EQ(co_await third->reserve(ab, 1'000'000), 200'000);
        third.reset();
        EXPECT_TRUE(co_await claim(*writer, 400'000, 2000));
        co_await a->stop();
    });
}

TEST_F(keyd_test, interactive_use_comes_into_the_bulk_reserve_and_not_into_what_is_reserved) {
    auto with = options("a");
    with.control_reserve = with.bulk_reserve.emplace(100'000);
    const auto a = start(with);
    write_block(make_block(ab, 0, block_size), {incoming("a")});
    run([&]() -> awaitable<void> {
        const std::uint64_t free = block_size - 4096 - 200'000;
        const auto writer = co_await client_of("a"), reader = co_await client_of("a");
        const auto all = [&](keyd_client& of, std::uint64_t want, key_use use) -> awaitable<std::uint64_t> {
            std::uint64_t sum = 0;
            for (;;) {
                const auto got = co_await of.claim_send(ab, session_id{}, 1, want, use, soon(0));
                if (!got) co_return sum;
                sum += (*got)->range().size;
                EXPECT_TRUE(co_await of.release(ab, (*got)->range(), (*got)->range().end()));
            }
        };
        const auto until = deadline_in_ms(2000);
        std::uint64_t reserved = 0;
        while (reserved != free && steady_clock::now() < until) reserved = *co_await writer->reserve(ab, free);
        EXPECT_EQ(reserved, free);
        EXPECT_EQ(co_await all(*reader, 50'000, key_use::interactive), 100'000);
        EXPECT_EQ(co_await writer->reserve(ab, free), free) << "what it has it keeps";
        EXPECT_EQ(co_await all(*reader, 1, key_use::interactive), 0);
        EXPECT_EQ(co_await all(*writer, block_size, key_use::bulk), free) << "to the last byte";
        EXPECT_EQ(co_await all(*writer, block_size, key_use::control), 100'000);
        co_await a->stop();
    });
}

/// A source that brings nothing and says how fast.
struct slow_source final : pad_source {
    result<std::optional<delivery>> next() override { return std::nullopt; }
    result<void> consumed(const block_id&) override { return {}; }
    result<void> refused(const block_id&) override { return {}; }
    void postpone() override {}
    std::optional<std::uint64_t> key_rate(const stream_name& stream) const override {
        return stream == ab ? std::optional<std::uint64_t>(100'000) : std::nullopt;
    }
};

TEST_F(keyd_test, a_crash_burns_two_seconds_of_a_stream_whose_rate_is_known) {
    const auto a = start("a");
    a->add_source(std::make_unique<slow_source>());
    write_block(make_block(ab, 0, 16U << 20U), {incoming("a")});
    run([&]() -> awaitable<void> {
        const auto client = co_await client_of("a");
        std::vector<std::unique_ptr<pad_window>> held;
        std::uint64_t sum = 0;
        for (std::uint8_t i = 0; i < 40; ++i) {
            session_id session;
            session.bytes[0] = std::byte{i};
            auto got = co_await client->claim_send(ab, session, 65'536, 65'536, key_use::bulk, soon(i == 0 ? 5000 : 0));
            if (!got) continue;
            sum += (*got)->range().size;
            held.push_back(std::move(*got));
        }
        EXPECT_EQ(sum, held_window_bytes_min + 65'536) << "the bound, and one session may go beyond it";
        const auto urgent = co_await client->claim_send(ab, session_id{}, 65'536, 65'536, key_use::control, soon());
        EXPECT_TRUE(urgent);
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
