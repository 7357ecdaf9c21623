// One connection over loopback, each end on a thread of its own: 4 MiB puts and gets, eight in flight. Beside it: the
// same bytes over a bare TCP connection. Pads come from a pool that is copied into windows, which costs what keyd's
// hand-over costs.

#include <thread>

#include <benchmark/benchmark.h>

#include "fs/channel/connection.h"

namespace warifu {
namespace {

constexpr std::size_t message_size = 4U << 20U;
constexpr unsigned in_flight = 8;

/// Window memory that has been touched before, as a daemon's has after its first seconds.
class bench_window final : public pad_window {
  public:
    bench_window(stream_name stream, pad_range range, std::shared_ptr<std::vector<buffer>> pool)
        : pad_window(std::move(stream), range), pool_(std::move(pool)) {
        static const buffer pattern = [] {
            buffer b(channel_window_size_max);
            for (std::size_t i = 0; i < b.size(); ++i) b.data()[i] = static_cast<std::byte>(i * 167 + (i >> 9U));
            return b;
        }();
        if (pool_->empty()) pool_->push_back(buffer::zeroed(channel_window_size_max));
        memory_ = std::move(pool_->back());
        pool_->pop_back();
        std::memcpy(memory_.data(), pattern.data(), range.size);
        bytes_ = memory_.span(0, range.size);
    }
    ~bench_window() override {
        wipe(key_left());
        pool_->push_back(std::move(memory_));
    }

  private:
    std::shared_ptr<std::vector<buffer>> pool_;
    buffer memory_;
};

/// Endless pad, the same in every window: for measuring only.
class bench_broker final : public pad_broker {
  public:
    claim strength() const override { return claim::simulated; }
    task<std::unique_ptr<pad_window>> claim_send(stream_name stream, session_id, std::uint64_t, std::uint64_t size,
                                                 key_use, deadline) override {
        const pad_range range{next_, size};
        next_ += size;
        co_return std::make_unique<bench_window>(stream, range, pool_);
    }
    task<std::unique_ptr<pad_window>> claim_receive(stream_name stream, session_id, pad_range range) override {
        co_return std::make_unique<bench_window>(stream, range, pool_);
    }
    task<> skip_to(stream_name, std::uint64_t) override { co_return result<void>{}; }
    task<std::uint64_t> next_free(stream_name, std::uint64_t from) override { co_return from; }
    task<hello_slot> take_hello_slot(stream_name, deadline) override { co_return hello_slot{}; }
    task<hello_slot> peek_hello_slot(stream_name, std::uint64_t) override { co_return hello_slot{}; }
    task<> spend_hello_slot(stream_name, std::uint64_t) override { co_return result<void>{}; }
    task<> release(stream_name, pad_range, std::uint64_t) override { co_return result<void>{}; }
    task<stock> available(std::string) override { co_return stock{}; }
    task<byte_vector> take_random(std::size_t, deadline) override { co_return fail(errc::no_key); }

  private:
    std::uint64_t next_ = 0;
    std::shared_ptr<std::vector<buffer>> pool_ = std::make_shared<std::vector<buffer>>();
};

std::shared_ptr<stream> as_stream(auto socket) {
    return std::make_shared<stream>(stream::socket_type(std::move(socket)));
}

/// Both ends with their threads.
struct bench_pair {
    asio::io_context a_core, b_core;
    std::shared_ptr<connection> a, b;
    slice answer{buffer::zeroed(message_size)};
    std::jthread b_thread;

    explicit bench_pair(transport mode) {
        std::shared_ptr<stream> a_socket, b_socket;
        if (mode == transport::otp) {
            using asio::ip::tcp;
            tcp::acceptor acceptor(b_core, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
            tcp::socket client(a_core);
            client.connect(acceptor.local_endpoint());
            b_socket = as_stream(acceptor.accept());
            a_socket = as_stream(std::move(client));
        } else {
            asio::local::stream_protocol::socket one(a_core), two(b_core);
            int fds[2];
            if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) std::abort();
            one.assign(asio::local::stream_protocol(), fds[0]);
            two.assign(asio::local::stream_protocol(), fds[1]);
            a_socket = as_stream(std::move(one));
            b_socket = as_stream(std::move(two));
        }
        responder_options responder;
        responder.mode = mode;
        responder.own_site = "b";
        responder.broker = std::make_shared<bench_broker>();
        responder.admit = [](const std::string&, const volume_id&) { return result<void>{}; };
        asio::co_spawn(b_core, serve(b_socket, responder), asio::detached);
        b_thread = std::jthread([this] {
            const auto guard = asio::make_work_guard(b_core);
            b_core.run();
        });
        initiator_options initiator;
        initiator.mode = mode;
        initiator.own_site = "a";
        initiator.peer_site = "b";
        initiator.broker = std::make_shared<bench_broker>();
        asio::co_spawn(a_core, open(a_socket, initiator), asio::detached);
        while (!a) a_core.run_one();
    }
    ~bench_pair() {
        a->abort(error(errc::cancelled));
        asio::post(b_core, [this] { b->abort(error(errc::cancelled)); });
        a_core.run_for(std::chrono::milliseconds(20));
        b_core.stop();
    }
    awaitable<void> serve(std::shared_ptr<stream> socket, responder_options how) {
        auto peer = co_await answer_greeting(socket, how, deadline_in_ms(5000));
        if (!peer) std::abort();
        connection_options options;
        options.on_request = [this](std::shared_ptr<connection> from, incoming request) {
            message_body body;
            if (request.header.what == verb::get) body.payload.push_back(answer);
            from->respond(request.header, std::move(body));
        };
        b = connection::start(socket, std::move(*peer), options);
    }
    awaitable<void> open(std::shared_ptr<stream> socket, initiator_options how) {
        auto peer = co_await greet(socket, how, deadline_in_ms(5000));
        if (!peer) std::abort();
        a = connection::start(socket, std::move(*peer), {});
    }
    awaitable<void> one(verb what, slice payload, unsigned& done) {
        message_body body;
        if (what == verb::put) body.payload.push_back(payload);
        const std::uint32_t answer_max = what == verb::get ? message_size : 0;
        const auto r = co_await a->call(what, std::move(body), answer_max, deadline_in_ms(10000));
        if (!r) std::abort();
        ++done;
    }
};

void transfer(benchmark::State& state, transport mode, verb what) {
    bench_pair pair(mode);
    const slice payload{buffer::zeroed(message_size)};
    unsigned done = 0;
    unsigned started = 0;
    const auto step = [&](unsigned target) {
        while (started < target + in_flight) {
            asio::co_spawn(pair.a_core, pair.one(what, payload, done), asio::detached);
            ++started;
        }
        while (done < target) pair.a_core.run_one();
    };
    step(100);  // touches all memory
    for (auto _ : state) step(done + 1);
    while (done < started) pair.a_core.run_one();
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(message_size));
}
BENCHMARK_CAPTURE(transfer, otp_put, transport::otp, verb::put)->UseRealTime();
BENCHMARK_CAPTURE(transfer, otp_get, transport::otp, verb::get)->UseRealTime();
BENCHMARK_CAPTURE(transfer, unix_put, transport::plain, verb::put)->UseRealTime();
BENCHMARK_CAPTURE(transfer, unix_get, transport::plain, verb::get)->UseRealTime();

/// Small requests one at a time: the latency of a round trip.
void round_trip(benchmark::State& state, transport mode) {
    bench_pair pair(mode);
    unsigned done = 0;
    for (auto _ : state) {
        asio::co_spawn(pair.a_core, pair.one(verb::heartbeat, {}, done), asio::detached);
        const unsigned target = done + 1;
        while (done < target) pair.a_core.run_one();
    }
}
BENCHMARK_CAPTURE(round_trip, otp, transport::otp)->UseRealTime();
BENCHMARK_CAPTURE(round_trip, unix, transport::plain)->UseRealTime();

void bare_tcp(benchmark::State& state) {
    using asio::ip::tcp;
    asio::io_context core;
    tcp::acceptor acceptor(core, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    tcp::socket a(core);
    a.connect(acceptor.local_endpoint());
    tcp::socket b = acceptor.accept();
    std::jthread reader([&] {
        std::vector<std::byte> bytes(256U << 10U);
        boost::system::error_code ec;
        while (!ec) b.read_some(asio::buffer(bytes), ec);
    });
    const buffer payload = buffer::zeroed(message_size);
    for (auto _ : state) asio::write(a, asio::buffer(payload.data(), payload.size()));
    a.close();
    state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(message_size));
}
BENCHMARK(bare_tcp)->UseRealTime();

}  // namespace
}  // namespace warifu
