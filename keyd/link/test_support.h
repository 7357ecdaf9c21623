#pragma once
// Two ends of a link in one process, for tests: a network in memory that records every message and can be cut at any
// byte, a pair of key delivery services with faults, pools in memory, and directories for the control pads. An end can
// crash at any durable step and be restored from an older copy.

#include <deque>
#include <filesystem>
#include <gtest/gtest.h>
#include <unistd.h>

#include "fs/base/codec.h"
#include "keyd/link/listener.h"
#include "keyd/link/service.h"

namespace warifu {

/// The key that two KMEs share.
struct fake_quantum_link {
    std::map<key_id, byte_vector> keys;
    std::uint64_t budget = ~0ULL;  // bytes still to come
    std::uint64_t made = 0;
    std::uint64_t key_size = 8192;
    std::uint64_t key_size_min = 8;
    std::uint64_t key_size_max = 1U << 20U;
};

class fake_delivery final : public key_delivery {
  public:
    explicit fake_delivery(std::shared_ptr<fake_quantum_link> link) : link_(std::move(link)) {}

    std::function<bool(std::uint64_t)> lose;   // dec: the n-th key is not there
    std::function<bool(std::uint64_t)> wrong;  // dec: the n-th key has other bytes
    std::function<bool(std::uint64_t)> cut;    // dec: the n-th key is shorter
    std::optional<errc> enc_error, dec_error, status_error;
    bool hangs = false;                     // enc: no answer until it is cancelled
    std::size_t at_once = ~std::size_t{0};  // enc: keys of one answer
    std::vector<std::string> path;
    std::uint64_t enc_count = 0, dec_count = 0, calls = 0;

    task<delivery_status> status(deadline) override {
        if (status_error) co_return fail(*status_error, "status");
        delivery_status s;
        s.source_kme = "kme";
        s.key_size = link_->key_size;
        s.key_size_min = link_->key_size_min;
        s.key_size_max = link_->key_size_max;
        s.keys_per_request_max = 128;
        co_return s;
    }
    void cancel() override { hangs = false; }
    task<std::vector<delivered_key>> enc_keys(std::size_t count, std::size_t size, deadline) override {
        ++calls;
        while (hangs) co_await sleep_for(std::chrono::milliseconds(1));
        co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
        if (enc_error) co_return fail(*enc_error, "enc_keys");
        std::vector<delivered_key> out;
        for (std::size_t i = 0; i < std::min(count, at_once) && link_->budget >= size; ++i) {
            link_->budget -= size;
            byte_vector bytes(size);
            fill_kernel_random(bytes);
            const auto id = random_uuid<key_id>();
            link_->keys[id] = bytes;
            link_->made += size;
            ++enc_count;
            out.emplace_back(id, slice(buffer::copy_of(bytes)));
            out.back().path = path;
        }
        if (out.empty()) co_return fail(errc::no_key, "not enough");
        co_return out;
    }
    task<std::vector<delivered_key>> dec_keys(std::vector<key_id> ids, deadline) override {
        ++calls;
        co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
        if (dec_error) co_return fail(*dec_error, "dec_keys");
        std::vector<delivered_key> out;
        for (const auto& id : ids) {
            const auto n = dec_count++;
            const auto found = link_->keys.find(id);
            if (found == link_->keys.end() || (lose && lose(n))) continue;
            byte_vector bytes = found->second;
            link_->keys.erase(found);
            if (wrong && wrong(n)) bytes[bytes.size() / 2] ^= std::byte{1};
            if (cut && cut(n)) bytes.pop_back();
            out.emplace_back(id, slice(buffer::copy_of(bytes)));
        }
        co_return out;
    }

  private:
    std::shared_ptr<fake_quantum_link> link_;
};

/// One site's pool.
class fake_pool final : public link_host {
  public:
    struct joined_block {
        block_header header;
        byte_vector bytes;
    };
    std::map<stream_name, std::map<std::uint64_t, joined_block>> streams;
    std::optional<errc> refuse;
    std::function<bool()> dies;  // at a durable step: the process is gone
    std::uint64_t base = 0;      // as if other blocks had ended there
    std::uint64_t used = 0;
    std::map<stream_name, std::vector<pad_range>> gone_here, given_up;

    std::vector<pad_range> gone(const stream_name& stream, std::uint64_t /*peer_end*/) const override {
        const auto found = gone_here.find(stream);
        return found == gone_here.end() ? std::vector<pad_range>{} : found->second;
    }
    void give_up(const stream_name& stream, const std::vector<pad_range>& ranges) override {
        given_up[stream] = ranges;
    }
    task<> join(block_header header, slice bytes) override {
        co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
        if (refuse) co_return fail(*refuse, "join");
        if (dies && dies()) co_return fail(errc::io_error, "dead");
        auto& blocks = streams[header.stream];
        for (const auto& [offset, one] : blocks)
            if (offset < header.range.end() && header.range.offset < one.header.range.end())
                co_return fail(errc::exists, "covered");
        blocks[header.range.offset] = {header, byte_vector(bytes.view().begin(), bytes.view().end())};
        if (dies && dies()) co_return fail(errc::io_error, "dead");
        co_return result<void>{};
    }
    stream_level level(const stream_name& stream) const override {
        stream_level out;
        out.end = base;
        const auto found = streams.find(stream);
        if (found == streams.end()) return out;
        for (const auto& [offset, one] : found->second) {
            out.end = std::max(out.end, one.header.range.end());
            out.available += one.header.range.size - one.header.hello_size;
        }
        out.available -= std::min(out.available, used);
        out.taken = used;
        return out;
    }
};

/// Both directions of one connection, in memory.
class memory_wire : public std::enable_shared_from_this<memory_wire> {
  public:
    explicit memory_wire(asio::any_io_executor core) : ready_{event(core), event(core)} {}
    std::function<void(link_end sender, bytes_view)> on_message;  // every write, before it is delivered
    std::function<std::vector<byte_vector>(link_end sender, byte_vector)> tamper;  // what is delivered instead
    std::uint64_t* bytes_left = nullptr;                          // cut when it reaches 0

    task<> read(link_end who, bytes_span out) {
        const auto self = shared_from_this();
        auto& queue = queues_[static_cast<std::size_t>(who)];
        auto& ready = ready_[static_cast<std::size_t>(who)];
        while (queue.size() < out.size()) {
            if (closed_) co_return fail(errc::unreachable, "the peer closed the connection");
            ready.reset();
            co_await ready.wait();
        }
        std::copy_n(queue.begin(), out.size(), out.begin());
        queue.erase(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(out.size()));
        co_return result<void>{};
    }
    task<> write(link_end who, byte_vector bytes) {
        const auto self = shared_from_this();
        if (closed_) co_return fail(errc::unreachable, "closed");
        if (on_message) on_message(who, bytes);
        if (tamper) {
            byte_vector all;
            for (const auto& one : tamper(who, bytes)) all.insert(all.end(), one.begin(), one.end());
            bytes = std::move(all);
        }
        std::size_t size = bytes.size();
        if (bytes_left != nullptr) size = static_cast<std::size_t>(std::min<std::uint64_t>(size, *bytes_left));
        auto& queue = queues_[static_cast<std::size_t>(other_end(who))];
        queue.insert(queue.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
        ready_[static_cast<std::size_t>(other_end(who))].set();
        if (bytes_left != nullptr && (*bytes_left -= size) == 0) {
            bytes_left = nullptr;
            close();
        }
        co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
        co_return result<void>{};
    }
    void close() {
        closed_ = true;
        for (auto& ready : ready_) ready.set();
    }

  private:
    std::array<std::deque<std::byte>, 2> queues_;  // by reader
    std::array<event, 2> ready_;
    bool closed_ = false;
};

class memory_pipe final : public link_pipe {
  public:
    memory_pipe(std::shared_ptr<memory_wire> wire, link_end end) : wire_(std::move(wire)), end_(end) {}
    ~memory_pipe() override { wire_->close(); }
    task<> read_exactly(bytes_span out) override { return wire_->read(end_, out); }
    task<> write_all(bytes_view bytes) override { return wire_->write(end_, byte_vector(bytes.begin(), bytes.end())); }
    void close() override { wire_->close(); }

  private:
    std::shared_ptr<memory_wire> wire_;
    link_end end_;
};

/// Sees every message and knows which byte of control pad served which message: no (slot, half, mask) may ever serve
/// two different ones.
struct control_recorder {
    std::map<std::tuple<std::uint64_t, int, unsigned>, byte_vector> used;
    std::uint64_t reused = 0;
    std::uint64_t messages = 0;

    struct connection {
        std::array<int, 2> count{};
        std::uint64_t slot = 0;
    };
    void see(connection& c, link_end sender, bytes_view bytes) {
        ++messages;
        const int n = c.count[static_cast<std::size_t>(sender)]++;
        reader in(bytes);
        if (n == 0) {
            if (sender == link_end::listener) c.slot = link_protocol::decode_offer_slot(bytes.subspan(4))->slot;
            return;
        }
        if (n == 1 && sender == link_end::caller) return;  // a constant of the slot
        std::uint64_t slot = c.slot;
        unsigned mask = 1;
        if (n > (sender == link_end::caller ? 2 : 1)) {
            ASSERT_TRUE(in.take_be<std::uint32_t>());
            slot = *in.take_be<std::uint64_t>();
            mask = *in.take_be<std::uint16_t>();
        }
        const auto [at, fresh] =
            used.emplace(std::tuple(slot, static_cast<int>(sender), mask), byte_vector(bytes.begin(), bytes.end()));
        if (!fresh && !std::ranges::equal(at->second, bytes)) ++reused;
    }
};

struct link_world {
    asio::io_context core;
    std::string root = (std::filesystem::exists("/dev/shm") ? std::filesystem::path("/dev/shm")
                                                        : std::filesystem::temp_directory_path()) /
                       ("warifu-link-" + std::to_string(::getpid()) + "-" + std::to_string(kernel_random_u64()));
    std::shared_ptr<fake_quantum_link> quantum = std::make_shared<fake_quantum_link>();
    control_recorder recorder;
    std::uint64_t cut_after = 0;  // bytes of the next connection; 0: never
    std::uint64_t last_size = 0;  // bytes that the last connection carried
    std::function<std::vector<byte_vector>(link_end, byte_vector)> tamper;

    struct site {
        std::string name;
        std::shared_ptr<fake_delivery> kme;
        fake_pool pool;
        link_options options;
        std::shared_ptr<link_service> service;
        bool dead = false;
        std::uint64_t die_at = 0;  // durable step; 0: never
        std::uint64_t steps = 0;
    };
    site a, b;
    std::vector<std::weak_ptr<memory_wire>> wires;

    link_world() {
        for (auto* s : {&a, &b}) {
            s->name = s == &a ? "a" : "b";
            s->kme = std::make_shared<fake_delivery>(quantum);
            s->options.own = s->name;
            s->options.peer = s == &a ? "b" : "a";
            s->options.directory = root + "/" + s->name + "/links";
            s->options.stock_target = 400'000;
            s->options.block_size_max = 128U << 10U;
            s->options.backoff_min_ms = 1;
            s->options.pause_ms = 1;
            s->options.answer_timeout_ms = 5'000;
            s->options.offer_interval_ms = 0;
            std::filesystem::create_directories(s->options.directory);
        }
        enrol();
        a.options.connect = [this](deadline) { return connect(); };
    }
    ~link_world() {
        stop(a);
        stop(b);
        run_for(std::chrono::milliseconds(1));
        std::filesystem::remove_all(root);
    }

    site& at(link_end e) { return e == link_end::caller ? a : b; }
    void enrol() {
        const std::string out = root + "/courier" + std::to_string(kernel_random_u64());
        std::filesystem::create_directories(out);
        const auto files = write_enrolments(out, "a", "b");
        recorder.used.clear();  // an enrolment's slots are other bytes under the same numbers
        ASSERT_TRUE(files) << files.error().message();
        ASSERT_TRUE(accept_enrolment(a.options.directory, "a", {"b"}, (*files)[0]));
        ASSERT_TRUE(accept_enrolment(b.options.directory, "b", {"a"}, (*files)[1]));
    }
    task<std::shared_ptr<link_pipe>> connect() {
        if (a.dead || b.dead || !b.service) co_return fail(errc::unreachable, "nobody is there");
        auto wire = std::make_shared<memory_wire>(core.get_executor());
        wires.push_back(wire);
        last_size = 0;
        auto watched = std::make_shared<control_recorder::connection>();
        wire->on_message = [this, watched](link_end sender, bytes_view bytes) {
            recorder.see(*watched, sender, bytes);
            last_size += bytes.size();
        };
        wire->tamper = [this](link_end sender, byte_vector bytes) -> std::vector<byte_vector> {
            if (!tamper) return {std::move(bytes)};
            return tamper(sender, std::move(bytes));
        };
        if (cut_after != 0) wire->bytes_left = &cut_after;
        asio::co_spawn(core, answer(b.service, std::make_shared<memory_pipe>(wire, link_end::listener)),
                       asio::detached);
        co_return std::make_shared<memory_pipe>(wire, link_end::caller);
    }
    static awaitable<void> answer(std::shared_ptr<link_service> service, std::shared_ptr<link_pipe> pipe) {
        auto from = co_await link_session::read_call(pipe);
        if (from) co_await service->adopt(pipe, std::move(*from));
    }
    void cut_all() {
        for (auto& weak : wires)
            if (const auto wire = weak.lock()) wire->close();
        wires.clear();
    }

    /// Counts a durable step; true from the fatal one on.
    bool step(site& s) {
        if (!s.dead && s.die_at != 0 && ++s.steps == s.die_at) {
            s.dead = true;
            asio::post(core, [this] { cut_all(); });
        }
        return s.dead;
    }
    void start(site& s) {
        s.dead = false;
        auto started = link_service::start(core.get_executor(), s.options, s.kme, s.pool);
        ASSERT_TRUE(started) << started.error().message();
        s.service = *started;
        s.service->store_for_tests().fault = [this, &s](save_step) { return step(s); };
        s.pool.dies = [this, &s] { return step(s); };
    }
    void start() {
        start(b);
        start(a);
    }
    /// Both ends have so many work slots left. Before anything has run.
    void leave_work_slots(std::size_t count) {
        for (auto* s : {&a, &b}) {
            auto& store = s->service->store_for_tests();
            ASSERT_TRUE(store.take_enrolment());
            while (store.state().work_count() > count)
                ASSERT_TRUE(store.spend(*store.state().lowest_work(store.state().next)));
        }
    }
    void stop(site& s) {
        if (!s.service) return;
        bool done = false;
        asio::co_spawn(core, s.service->stop(), [&done](std::exception_ptr, bool) { done = true; });
        EXPECT_TRUE(run_until([&] { return done; }));
        s.service.reset();
    }
    void run_for(std::chrono::milliseconds duration) {
        if (core.stopped()) core.restart();
        core.run_for(duration);
    }
    template <typename Done>
    bool run_until(Done done) {
        const auto until = steady_clock::now() + std::chrono::seconds(20);
        while (!done() && steady_clock::now() < until) {
            if (core.stopped()) core.restart();
            core.run_one_for(std::chrono::milliseconds(20));
        }
        return done();
    }
    template <typename Done>
    void run_until_for(std::chrono::milliseconds most, Done done) {
        const auto until = steady_clock::now() + most;
        while (!done() && steady_clock::now() < until) {
            if (core.stopped()) core.restart();
            core.run_one_for(std::chrono::milliseconds(2));
        }
    }
    bool full(const site& s) const {
        return s.pool.level({s.options.own, s.options.peer}).available >= s.options.stock_target;
    }
    bool run_until_full() {
        return run_until([&] { return full(a) && full(b); });
    }
    /// Both ends agree on every byte that both have, no block overlaps another, nothing of the control pad was reused.
    void check() const {
        EXPECT_EQ(recorder.reused, 0U);
        for (const auto& name : {stream_name{"a", "b"}, stream_name{"b", "a"}}) {
            if (!a.pool.streams.contains(name) || !b.pool.streams.contains(name)) continue;
            const auto& left = a.pool.streams.at(name);
            const auto& right = b.pool.streams.at(name);
            for (const auto& [offset, one] : left)
                for (const auto& [other_offset, other] : right) {
                    const bool apart = offset >= other.header.range.end() || other_offset >= one.header.range.end();
                    if (apart) continue;
                    EXPECT_EQ(one.header, other.header);
                    EXPECT_TRUE(one.bytes == other.bytes);
                }
        }
    }
    /// Every block that the sender may use is at the receiver.
    void check_joined_everywhere() const {
        for (const auto* sender : {&a, &b}) {
            const auto& receiver = sender == &a ? b : a;
            const stream_name name{sender->name, receiver.name};
            if (!sender->pool.streams.contains(name)) continue;
            for (const auto& [offset, one] : sender->pool.streams.at(name)) {
                ASSERT_TRUE(receiver.pool.streams.contains(name));
                EXPECT_TRUE(receiver.pool.streams.at(name).contains(offset));
            }
        }
    }
};

}  // namespace warifu
