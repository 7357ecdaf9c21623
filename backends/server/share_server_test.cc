// Access, administration, restarts and failures of a share server, seen through remote stores.

#include <random>

#include <gtest/gtest.h>

#include "backends/run_task.h"
#include "backends/server/test_site.h"
#include "fs/channel/test_proxy.h"
#include "fs/wire/share_messages.h"

namespace warifu {
namespace {

constexpr ballot writer{1, 77};

slice patterned(std::size_t size, std::uint64_t seed) {
    buffer b(size);
    for (std::size_t i = 0; i < size; ++i) b.data()[i] = static_cast<std::byte>((i * 31 + seed * 17) >> (i % 3));
    return slice(std::move(b));
}

share_put a_share(std::uint64_t sequence, std::size_t size) {
    share_put put;
    put.chunk = {writer, sequence};
    put.authority = writer;
    put.side = patterned(16, sequence);
    put.pieces = {patterned(size, sequence)};
    return put;
}

struct share_server_test : testing::Test {
    explicit share_server_test(memory_pads_options options = {}) : pads(options) {
        pads.link("a", "b");
        a_keys = pads.end("a");
        site = std::make_unique<test_site>(core, pads.end("b"));
        site->volumes->capacity = 1U << 30U;
        (void)site->volumes->create(volume, "");
    }
    ~share_server_test() override {
        stores.clear();
        site.reset();
        run_some(1);
    }
    asio::io_context core;
    memory_pads pads;
    std::shared_ptr<pad_broker> a_keys;
    volume_id volume = random_uuid<volume_id>();
    std::unique_ptr<test_site> site;
    std::vector<std::unique_ptr<remote_store>> stores;

    void run_some(unsigned ms) {
        if (core.stopped()) core.restart();
        core.run_for(std::chrono::milliseconds(ms));
    }
    template <typename Done>
    bool run_until(Done done) {
        const auto until = steady_clock::now() + std::chrono::seconds(60);
        while (!done() && steady_clock::now() < until) run_some(2);
        return done();
    }
    template <typename T>
    result<T> run(task<T> work) {
        return run_task(core, std::move(work));
    }
    remote_store& open(bool is_local = false) {
        return open(remote_options(*site, volume, a_keys, is_local));
    }
    remote_store& open(remote_store_options options) {
        stores.push_back(std::make_unique<remote_store>(core.get_executor(), std::move(options)));
        return *stores.back();
    }
    result<void> check(remote_store& store, std::uint64_t sequence, std::size_t size) {
        share_range all;
        all.size = static_cast<std::uint32_t>(size);
        TRY(const auto got, run(store.get({writer, sequence}, std::vector{all})));
        if (!std::ranges::equal(got.at(0).view(), patterned(size, sequence).view()))
            return fail(errc::bad_checksum, "wrong data");
        return {};
    }
    std::shared_ptr<memory_store> memory() {
        return std::static_pointer_cast<memory_store>(site->volumes->stores.at(volume));
    }
};

TEST_F(share_server_test, grants_are_asked_for_at_every_request) {
    auto& store = open();
    ASSERT_TRUE(run(store.promise(writer)));
    ASSERT_TRUE(run(store.put(a_share(1, 1000))));
    site->grants["a"] = access_grant::read;
    EXPECT_TRUE(run(store.state()));
    EXPECT_TRUE(check(store, 1, 1000));
    EXPECT_TRUE(run(store.describe({writer, 1})));
    EXPECT_TRUE(run(store.list({}, 10)));
    EXPECT_TRUE(run(store.read_journal(1, 1000)));
    EXPECT_TRUE(run(store.pin(std::vector{chunk_id{writer, 1}}, 1000)));
    append_request record;
    record.authority = record.entry.epoch = writer;
    record.entry.sequence = 1;
    EXPECT_EQ(run(store.reserve(writer, 1)).error().code, errc::denied);
    EXPECT_EQ(run(store.put(a_share(2, 10))).error().code, errc::denied);
    EXPECT_EQ(run(store.remove(writer, {})).error().code, errc::denied);
    EXPECT_EQ(run(store.append(record)).error().code, errc::denied);
    EXPECT_EQ(run(store.cut_journal(writer, 1)).error().code, errc::denied);
    EXPECT_EQ(run(store.promise(writer)).error().code, errc::denied);
    EXPECT_EQ(run(store.heartbeat(writer, {})).error().code, errc::denied);
    EXPECT_EQ(run(store.sync()).error().code, errc::denied);
    EXPECT_EQ(site->server->status().requests_denied, 8U);
    site->grants.clear();
    EXPECT_EQ(run(store.state()).error().code, errc::denied);
    site->grants["a"] = access_grant::write;
    EXPECT_TRUE(run(store.put(a_share(2, 10))));
}

TEST_F(share_server_test, without_a_grant_no_connection_and_no_hint_of_volumes) {
    site->grants.clear();
    auto unknown = remote_options(*site, random_uuid<volume_id>(), a_keys);
    EXPECT_EQ(run(open().state()).error().code, errc::denied);
    EXPECT_EQ(run(open(unknown).state()).error().code, errc::denied);
    site->grants["a"] = access_grant::read;
    EXPECT_EQ(run(open(unknown).state()).error().code, errc::not_found);
    EXPECT_GE(site->server->status().connections_denied, 3U);
    EXPECT_TRUE(run(open(true).state())) << "this machine needs no grant";
}

TEST_F(share_server_test, administration_over_the_unix_socket_only) {
    auto admin = run(share_server_admin::connect(site->path(), "b", deadline_in_ms(1000)));
    ASSERT_TRUE(admin) << admin.error().message();
    const auto fresh = random_uuid<volume_id>();
    EXPECT_TRUE(run(admin->create_volume(fresh, "spec")));
    EXPECT_EQ(run(admin->create_volume(fresh, "spec")).error().code, errc::exists);
    EXPECT_EQ(run(admin->create_volume(random_uuid<volume_id>(), "broken")).error().code, errc::bad_argument);
    EXPECT_TRUE(run(admin->reload_access()));
    EXPECT_EQ(site->reloads, 1U);
    auto& store = open();
    ASSERT_TRUE(run(store.promise(writer)));
    const auto status = run(admin->status());
    ASSERT_TRUE(status);
    EXPECT_EQ(status->site, "b");
    ASSERT_EQ(status->connections.size(), 2U);
    const auto& peer = status->connections[status->connections[0].peer == "a" ? 0 : 1];
    EXPECT_EQ(peer.peer, "a");
    EXPECT_EQ(peer.volume, volume);
    EXPECT_EQ(peer.mode, transport::otp);
    EXPECT_EQ(peer.requests, 1U);
    EXPECT_GT(peer.pad_received, 50U);
    EXPECT_EQ(status->requests, 6U);

    // The same verb from another site.
    const auto over_tcp = [this]() -> task<incoming> {
        CO_TRY(auto socket, co_await connect_tcp("127.0.0.1", site->port, deadline_in_ms(1000)));
        initiator_options how;
        how.own_site = "a";
        how.peer_site = "b";
        how.volume = volume;
        how.broker = a_keys;
        CO_TRY(auto greeted_peer, co_await greet(socket, how, deadline_in_ms(1000)));
        const auto c = connection::start(socket, std::move(greeted_peer), {});
        auto answer = co_await c->call(verb::server_status, {}, 10000, deadline_in_ms(1000));
        c->abort(error(errc::cancelled));
        co_return answer;
    };
    EXPECT_EQ(run(over_tcp()).error().code, errc::denied);
    EXPECT_EQ(run(share_server_admin::connect(site->path(), "c", deadline_in_ms(1000))).error().code, errc::denied);
}

TEST_F(share_server_test, addresses_in_use_and_stale_sockets) {
    share_server_options options;
    options.site = "b";
    options.volumes = site->volumes;
    options.access = [](const volume_id&, const std::string&) { return access_grant::none; };
    options.broker = a_keys;
    options.unix_path = site->path();
    EXPECT_EQ(share_server(core.get_executor(), options).start().error().code, errc::busy);
    EXPECT_TRUE(std::filesystem::exists(site->path())) << "a refused start must not take the other's socket away";
    options.unix_path.clear();
    options.listen_host = "127.0.0.1";
    options.listen_port = site->port;
    EXPECT_EQ(share_server(core.get_executor(), options).start().error().code, errc::busy);
    options.listen_host = "nowhere";
    EXPECT_EQ(share_server(core.get_executor(), options).start().error().code, errc::bad_argument);
    options.listen_host.clear();
    options.unix_path = site->directory / "stale";
    {
        asio::local::stream_protocol::acceptor left(core, asio::local::stream_protocol::endpoint(options.unix_path));
    }
    ASSERT_TRUE(std::filesystem::exists(options.unix_path));
    share_server server(core.get_executor(), options);
    EXPECT_TRUE(server.start());
}

TEST_F(share_server_test, a_stopped_server_ends_in_order_and_its_pad_comes_back) {
    auto& store = open();
    std::vector<bool> changes;
    store.on_change([&](bool now) { changes.push_back(now); });
    ASSERT_TRUE(run(store.promise(writer)));
    ASSERT_TRUE(run(store.put(a_share(1, 100000))));
    const auto stopping = [this]() -> task<> {
        co_await site->server->stop(deadline_in_ms(1000));
        co_return result<void>{};
    };
    ASSERT_TRUE(run(stopping()));
    run_some(20);
    EXPECT_FALSE(store.connected());
    EXPECT_EQ(store.counters().connections_lost, 0U);
    const auto stock = run(a_keys->available("b"));
    ASSERT_TRUE(stock);
    EXPECT_EQ(run(store.state()).error().code, errc::unreachable);  // at once
    site->restart();
    ASSERT_TRUE(run_until([&] { return store.connected(); }));
    EXPECT_EQ(changes, (std::vector{true, false, true}));
    EXPECT_TRUE(check(store, 1, 100000));
}

TEST_F(share_server_test, sync_says_when_volatile_changes_may_be_lost) {
    auto& store = open();
    ASSERT_TRUE(run(store.promise(writer)));
    ASSERT_TRUE(run(store.put(a_share(1, 1000))));
    site->server.reset();
    memory()->crash();
    site->start();
    ASSERT_TRUE(run_until([&] { return store.connected(); }) || true);
    run_some(300);
    ASSERT_TRUE(store.connected());
    EXPECT_EQ(run(store.sync()).error().code, errc::unreachable);
    EXPECT_TRUE(run(store.sync()));
    ASSERT_TRUE(run(store.put(a_share(1, 1000))));
    EXPECT_TRUE(run(store.sync()));
    site->restart();
    run_some(300);
    EXPECT_TRUE(run(store.sync())) << "nothing was volatile";
}

struct load {
    std::uint64_t good = 0;
    std::uint64_t failed = 0;
    std::uint64_t wrong = 0;
    unsigned finished = 0;
};

/// Puts and reads back shares, one after another, counting outcomes.
awaitable<void> keep_busy(remote_store& store, std::uint64_t first, std::uint64_t count, load& out) {
    for (std::uint64_t i = first; i < first + count; ++i) {
        const std::size_t size = 1000 + (i * 7919) % 200000;
        share_range all;
        all.size = static_cast<std::uint32_t>(size);
        const auto put = co_await store.put(a_share(i, size));
        if (put || put.error().code != errc::unreachable) {
            const auto got = co_await store.get({writer, i}, std::vector{all});
            if (got && !std::ranges::equal(got->at(0).view(), patterned(size, i).view())) ++out.wrong;
            if (put && got) ++out.good;
            if (put && !got && got.error().code == errc::not_found) ++out.wrong;
        }
        if (!put) {
            ++out.failed;
            co_await sleep_for(std::chrono::milliseconds(5));
        }
    }
    ++out.finished;
}

TEST_F(share_server_test, reconnects_under_load) {
    auto options = remote_options(*site, volume, a_keys);
    options.connection_count = 2;
    auto& store = open(options);
    ASSERT_TRUE(run(store.promise(writer)));
    load out;
    for (std::uint64_t i = 0; i < 6; ++i)
        asio::co_spawn(core, keep_busy(store, 1 + i * 1000, 150, out), asio::detached);
    for (unsigned i = 0; i < 4; ++i) {
        run_some(40);
        site->restart();
    }
    ASSERT_TRUE(run_until([&] { return out.finished == 6; }));
    EXPECT_EQ(out.wrong, 0U);
    EXPECT_GT(out.good, 400U);
    EXPECT_GE(store.counters().connects, 5U);
    EXPECT_GE(store.counters().connections_lost, 1U);
}

TEST_F(share_server_test, a_man_in_the_middle_costs_retries_but_never_data) {
    test_proxy proxy(core, site->port);
    std::mt19937_64 random(3);
    std::uint64_t until_flip = 50000;
    proxy.on_bytes = [&](unsigned, toward, std::uint64_t, bytes_span bytes) {
        if (until_flip < bytes.size()) {
            bytes[until_flip] ^= static_cast<std::byte>(1U << (random() % 8));
            until_flip = 400000 + random() % 2000000;
        } else {
            until_flip -= bytes.size();
        }
        return test_proxy::verdict{};
    };
    auto options = remote_options(*site, volume, a_keys);
    options.port = proxy.port();
    auto& store = open(options);
    ASSERT_TRUE(run_until([&] { return store.connected(); }));
    for (unsigned i = 0; i < 20 && !run(store.promise(writer)); ++i) run_some(50);
    load out;
    for (std::uint64_t i = 0; i < 4; ++i) asio::co_spawn(core, keep_busy(store, 1 + i * 1000, 60, out), asio::detached);
    ASSERT_TRUE(run_until([&] { return out.finished == 4; }));
    EXPECT_EQ(out.wrong, 0U);
    EXPECT_GT(out.good, 100U);
    EXPECT_GT(store.counters().verification_failures + site->server->status().verification_failures, 3U);
    proxy.on_bytes = {};
    ASSERT_TRUE(run_until([&] { return store.connected(); }));
    EXPECT_TRUE(run(store.state()));
    stores.clear();
    proxy.stop();
    run_some(1);
}

struct little_key_test : share_server_test {
    static memory_pads_options little() {
        memory_pads_options options;
        options.block_size = 1U << 20U;
        options.stock = 4U << 20U;
        options.control_reserve = 512U << 10U;
        return options;
    }
    little_key_test() : share_server_test(little()) {}
};

TEST_F(little_key_test, writes_end_with_no_key_and_go_on_when_key_arrives) {
    auto& store = open();
    ASSERT_TRUE(run(store.promise(writer)));
    std::uint64_t i = 1;
    result<void> last;
    while (i < 100 && (last = run(store.put(a_share(i, 300000))))) ++i;
    ASSERT_FALSE(last);
    EXPECT_EQ(last.error().code, errc::no_key) << last.error().message();
    EXPECT_GT(i, 5U);
    EXPECT_TRUE(run(store.heartbeat(writer, {}))) << "the control reserve still serves";
    EXPECT_TRUE(run(store.sync()));
    pads.add_stock({"a", "b"}, 8U << 20U);
    ASSERT_TRUE(run_until([&] { return run(store.put(a_share(i, 300000))).has_value(); }));
    EXPECT_TRUE(check(store, i, 300000));
}

TEST_F(share_server_test, a_client_that_does_not_read_stops_nobody_else) {
    auto& good = open();
    ASSERT_TRUE(run(good.promise(writer)));
    ASSERT_TRUE(run(good.put(a_share(1, 4U << 20U))));
    const auto slow = [this]() -> task<std::shared_ptr<stream>> {
        CO_TRY(auto socket, co_await connect_unix(site->path(), deadline_in_ms(1000)));
        initiator_options how;
        how.mode = transport::plain;
        how.own_site = how.peer_site = "b";
        how.volume = volume;
        CO_TRY(const auto peer, co_await greet(socket, how, deadline_in_ms(1000)));
        get_request get;
        get.chunk = {writer, 1};
        get.ranges.resize(1);
        get.ranges[0].size = 4U << 20U;
        const auto body = encode_get_request(get);
        for (std::uint64_t i = 1; i <= 6; ++i) {
            message_header header{
                verb::get, message_kind::request, static_cast<std::uint32_t>(body.fields.size()), 0, 4200000, i};
            const auto bytes = encode_message_header(header);
            CO_TRY_VOID(co_await socket->write_all(bytes_view(bytes)));
            CO_TRY_VOID(co_await socket->write_all(bytes_view(body.fields)));
        }
        co_return socket;  // and never reads
    };
    const auto socket = run(slow());
    ASSERT_TRUE(socket);
    run_some(20);
    for (std::uint64_t i = 2; i < 20; ++i) ASSERT_TRUE(run(good.put(a_share(i, 100000))));
    EXPECT_TRUE(check(good, 1, 4U << 20U));
}

TEST_F(share_server_test, hostile_local_messages_close_that_connection_only) {
    auto& good = open();
    ASSERT_TRUE(run(good.promise(writer)));
    const auto attack = [this](byte_vector bytes) -> task<bool> {
        CO_TRY(auto socket, co_await connect_unix(site->path(), deadline_in_ms(1000)));
        initiator_options how;
        how.mode = transport::plain;
        how.own_site = how.peer_site = "b";
        how.volume = volume;
        CO_TRY(const auto peer, co_await greet(socket, how, deadline_in_ms(1000)));
        CO_TRY_VOID(co_await socket->write_all(bytes_view(bytes)));
        std::array<std::byte, 4096> in;
        const stream_deadline guard(socket, deadline_in_ms(500));
        for (;;) {
            const auto size = co_await socket->read_some(in);
            if (!size) co_return !guard.expired();  // closed by the server
        }
    };
    const auto header = [](message_header h) {
        const auto bytes = encode_message_header(h);
        return byte_vector(bytes.begin(), bytes.end());
    };
    std::vector<byte_vector> inputs;
    inputs.push_back(header({verb::put, message_kind::request, 0xffffffff, 0xffffffff, 0, 1}));
    inputs.push_back(header({verb::put, message_kind::response, 0, 0, 0, 1}));
    inputs.push_back(header({verb::offer_window, message_kind::control, 0, 0, 0, 0}));
    inputs.push_back(header({static_cast<verb>(999), message_kind::request, 0, 0, 0, 1}));
    byte_vector twice = header({verb::put, message_kind::request, 10, 0, 0, 5});
    twice.resize(twice.size() + 10);
    const auto again = twice;
    twice.insert(twice.end(), again.begin(), again.end());
    byte_vector greedy;  // more at once than the agreed bounds
    for (std::uint64_t i = 1; i <= 5; ++i) {
        const auto one = header({verb::get, message_kind::request, 0, 0, response_size_max, i});
        greedy.insert(greedy.end(), one.begin(), one.end());
    }
    inputs.push_back(greedy);
    for (const auto& input : inputs) {
        const auto closed = run(attack(input));
        ASSERT_TRUE(closed) << closed.error().message();
        EXPECT_TRUE(*closed);
    }
    EXPECT_GE(site->server->status().connections_failed, inputs.size());
    EXPECT_TRUE(run(good.state()));
}

/// A share server that answers nonsense under valid MACs: the peer itself is hostile.
TEST_F(share_server_test, a_lying_server_gets_errors_not_data) {
    asio::local::stream_protocol::acceptor acceptor(core,
                                                    asio::local::stream_protocol::endpoint(site->directory / "liar"));
    message_body nonsense;
    std::shared_ptr<connection> liar;
    const auto serve = [&]() -> awaitable<void> {
        asio::local::stream_protocol::socket socket(core);
        (void)co_await acceptor.async_accept(socket, use_values);
        auto s = std::make_shared<stream>(stream::socket_type(std::move(socket)));
        responder_options how;
        how.mode = transport::plain;
        how.own_site = "b";
        how.admit = [](const std::string&, const volume_id&) { return result<void>{}; };
        auto peer = co_await answer_greeting(s, how, deadline_in_ms(1000));
        connection_options options;
        options.on_request = [&](std::shared_ptr<connection> from, incoming request) {
            from->respond(request.header, nonsense);
        };
        liar = connection::start(s, std::move(*peer), options);
    };
    asio::co_spawn(core, serve(), asio::detached);
    auto options = remote_options(*site, volume, a_keys, true);
    options.unix_path = site->directory / "liar";
    auto& store = open(options);
    share_range range;
    range.size = 100;
    nonsense = encode_get_response({patterned(50, 1)});
    EXPECT_EQ(run(store.get({writer, 1}, std::vector{range})).error().code, errc::bad_format);
    nonsense = encode_get_response({patterned(40, 1), patterned(40, 1)});
    EXPECT_EQ(run(store.get({writer, 1}, std::vector{range})).error().code, errc::bad_format);
    EXPECT_EQ(run(store.state()).error().code, errc::bad_format);
    nonsense = encode_list_response({{writer, 3}, {writer, 2}});
    EXPECT_EQ(run(store.list({}, 10)).error().code, errc::bad_format);
    nonsense = encode_list_response({{writer, 3}});
    EXPECT_EQ(run(store.list({writer, 3}, 10)).error().code, errc::bad_format);
    std::vector<journal_entry> entries(2);
    entries[0].sequence = 5;
    entries[1].sequence = 4;
    nonsense = encode_read_journal_response(entries, 10000);
    EXPECT_EQ(run(store.read_journal(1, 10000)).error().code, errc::bad_format);
    liar->abort(error(errc::cancelled));
    stores.clear();
    run_some(1);
}

}  // namespace
}  // namespace warifu
