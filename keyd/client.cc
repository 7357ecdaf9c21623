#include "keyd/client.h"

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <map>
#include <sys/mman.h>
#include <sys/stat.h>
#include <utility>

#include "fs/async/wait.h"
#include "fs/base/limits.h"
#include "keyd/local_socket.h"
#include "keyd/protocol.h"

namespace warifu {

namespace kp = keyd_protocol;

namespace {

constexpr auto send_timeout = std::chrono::milliseconds(5'000);
constexpr auto answer_grace = std::chrono::milliseconds(10'000);  // beyond what the request itself may wait

/// How long keyd may wait for key on our behalf.
std::uint32_t wait_ms_until(deadline until) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - steady_clock::now()).count();
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(left, 0, 24 * 3600 * 1000));
}

/// A window in memory that keyd handed over: wiped and given back to the kernel when destroyed.
class mapped_window final : public pad_window {
  public:
    mapped_window(stream_name stream, pad_range range, void* memory, std::shared_ptr<std::atomic<bool>> gone)
        : pad_window(std::move(stream), range), gone_(std::move(gone)) {
        bytes_ = bytes_span(static_cast<std::byte*>(memory), range.size);
    }
    mapped_window(const mapped_window&) = delete;
    mapped_window& operator=(const mapped_window&) = delete;
    ~mapped_window() override {
        wipe(bytes_);
        ::munmap(bytes_.data(), bytes_.size());
        *gone_ = true;
    }

  private:
    std::shared_ptr<std::atomic<bool>> gone_;
};

/// Only memory that cannot shrink under us is mapped.
result<void> check_memory(const unique_fd& memory, std::uint64_t size) {
    struct stat status{};
    if (!memory.is_open() || ::fstat(memory.get(), &status) != 0 || static_cast<std::uint64_t>(status.st_size) != size)
        return fail(errc::bad_format, "keyd handed over memory of another size");
    const int seals = ::fcntl(memory.get(), F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
        return fail(errc::bad_format, "keyd handed over memory that may shrink");
    return {};
}

}  // namespace

/// The connection and what is under way on it. Kept alive by its coroutines; close() ends them.
class keyd_client::connection : public std::enable_shared_from_this<keyd_client::connection> {
  public:
    struct arrival {
        kp::reply reply;
        unique_fd fd;
    };
    using outcome = result<std::shared_ptr<arrival>>;

    connection(asio::any_io_executor executor, std::string path, std::uint32_t weight)
        : executor_(executor), path_(std::move(path)), weight_(weight), connecting_(executor), ended_(executor) {}

    /// Sends a request and waits for its reply, keyd's own errors turned into errors. Connects first if need be.
    task<std::shared_ptr<arrival>> call(kp::request_body body, std::uint32_t wait_ms) {
        const auto self = shared_from_this();
        CO_TRY_VOID(co_await connect());
        co_return co_await exchange(std::move(body), wait_ms);
    }

    /// What is used of a window: told now, or as soon as keyd is there again.
    task<> release(stream_name stream, pad_range range, std::uint64_t used_to) {
        const auto self = shared_from_this();
        const place key(stream, range.offset);
        const auto connected = co_await connect();
        if (const auto found = windows_.find(key); found != windows_.end()) found->second.used_to = used_to;
        if (!connected) co_return fail(connected.error());
        const kp::request_body question{kp::release{std::move(stream), range, used_to}};
        const auto done = co_await exchange(question, 0);
        if (done || done.error().code != errc::unreachable) windows_.erase(key);
        if (!done) co_return fail(done.error());
        co_return result<void>{};
    }

    /// A window was handed over; the flag becomes true when its memory is gone.
    std::shared_ptr<std::atomic<bool>> remember(const stream_name& stream, pad_range range, session_id session) {
        const auto gone = std::make_shared<std::atomic<bool>>(false);
        windows_.insert_or_assign(place(stream, range.offset), live_window{range, session, gone, {}, {}});
        return gone;
    }

    void close() {
        closed_ = true;
        ended_.set();
        lost();
    }

    std::string site;
    claim strength = claim::computational;
    const std::string& path() const { return path_; }

  private:
    using place = std::pair<stream_name, std::uint64_t>;
    struct live_window {
        pad_range range;
        session_id session;
        std::shared_ptr<std::atomic<bool>> gone;
        std::optional<deadline> abandon_at;   // set when the memory was first seen gone
        std::optional<std::uint64_t> used_to;  // released, but keyd has not confirmed it
    };

    task<> connect() {
        if (closed_) co_return fail(errc::cancelled, "the client is closed");
        if (is_ready_) co_return result<void>{};
        const auto turn = co_await connecting_.lock();
        if (closed_) co_return fail(errc::cancelled, "the client is closed");
        if (is_ready_) co_return result<void>{};
        CO_TRY(auto fd, connect_local(path_));
        socket_ = std::make_shared<packet_socket>(executor_, std::move(fd));
        asio::co_spawn(executor_, read_replies(shared_from_this(), socket_), asio::detached);
        if (!std::exchange(is_kept_up_, true)) asio::co_spawn(executor_, keep_up(shared_from_this()), asio::detached);
        const auto known = co_await introduce();
        if (!known) {
            lost();
            co_return fail(known.error());
        }
        is_ready_ = true;
        co_return result<void>{};
    }

    /// What keyd must know of an old acquaintance before anything else is asked.
    task<> introduce() {
        if (weight_ != claim_weight_default) {
            const kp::request_body weigh{kp::weigh{weight_}};
            CO_TRY_VOID(co_await exchange(weigh, 0));
        }
        std::vector<place> keys;
        for (const auto& [key, window] : windows_) keys.push_back(key);
        for (const auto& key : keys) {
            const auto found = windows_.find(key);
            if (found == windows_.end()) continue;
            const auto window = found->second;
            const kp::request_body hold{kp::hold{key.first, window.session, window.range}};
            const auto held = co_await exchange(hold, 0);
            if (!held && held.error().code == errc::unreachable) co_return fail(held.error());
            if (held && window.used_to) {
                const kp::request_body release{kp::release{key.first, window.range, *window.used_to}};
                const auto released = co_await exchange(release, 0);
                if (!released && released.error().code == errc::unreachable) co_return fail(released.error());
            }
            if (!held || window.used_to) windows_.erase(key);
        }
        co_return result<void>{};
    }

    /// Comes back after keyd restarted, and gives up windows that nobody will release.
    static awaitable<void> keep_up(std::shared_ptr<connection> self) {
        for (;;) {
            co_await self->ended_.wait(deadline_in_ms(client_upkeep_ms));
            if (self->closed_) co_return;
            if (self->windows_.empty()) continue;
            const auto connected = co_await self->connect();
            if (connected) co_await self->abandon_gone();
        }
    }
    awaitable<void> abandon_gone() {
        std::vector<place> due;
        for (auto& [key, window] : windows_) {
            if (!*window.gone || window.used_to) continue;
            if (!window.abandon_at) window.abandon_at = deadline_in_ms(abandon_delay_ms);
            if (*window.abandon_at <= steady_clock::now()) due.push_back(key);
        }
        for (const auto& key : due) {
            const auto found = windows_.find(key);
            if (found == windows_.end() || found->second.used_to) continue;
            const kp::request_body question{kp::abandon{key.first, found->second.range}};
            windows_.erase(found);
            (void)co_await exchange(question, 0);
        }
    }

    task<std::shared_ptr<arrival>> exchange(kp::request_body body, std::uint32_t wait_ms) {
        const auto self = shared_from_this();
        const auto socket = socket_;
        if (!socket) co_return fail(errc::unreachable, path_ + ": the connection to the key manager was lost");
        const std::uint64_t id = next_id_++;
        const auto answer = std::make_shared<promised<outcome>>(executor_);
        pending_[id] = answer;
        const kp::request message{id, std::move(body)};
        auto bytes = kp::encode(message);
        const auto sent = co_await socket->send(std::move(bytes), -1, send_timeout);
        if (!sent) {
            pending_.erase(id);
            co_return fail(sent.error().code, path_ + ": " + sent.error().text);
        }
        auto got = co_await answer->take(deadline_in_ms(wait_ms) + answer_grace);
        pending_.erase(id);
        if (!got) {
            expect_late(id, message.body);
            co_return fail(errc::unreachable, path_ + ": the key manager does not answer");
        }
        CO_TRY(auto arrived, std::move(*got));
        if (const auto* failed = std::get_if<kp::failed>(&arrived->reply.body)) {
            if (failed->code == errc::cancelled) co_return fail(errc::unreachable, path_ + ": the key manager stops");
            co_return fail(failed->code, failed->text);
        }
        co_return arrived;
    }

    static awaitable<void> read_replies(std::shared_ptr<connection> self, std::shared_ptr<packet_socket> socket) {
        for (;;) {
            auto arrived = co_await socket->receive();
            if (!arrived) break;
            auto reply = kp::decode_reply(arrived->bytes);
            wipe(arrived->bytes);
            if (!reply) break;
            self->deliver(std::move(*reply), std::move(arrived->fd));
        }
        if (self->socket_ == socket) self->lost();
    }
    void deliver(kp::reply reply, unique_fd fd) {
        if (const auto* greeted = std::get_if<kp::greeted>(&reply.body)) strength = greeted->strength;
        if (const auto* stock = std::get_if<kp::stock>(&reply.body)) strength = stock->strength;
        const auto waiting = pending_.find(reply.id);
        if (waiting == pending_.end()) return take_late(reply);
        auto arrived = std::make_shared<arrival>(arrival{std::move(reply), std::move(fd)});
        waiting->second->set(outcome(std::move(arrived)));
    }
    /// Nobody waits for this answer any more. If it is a window after all, keyd must not take it for used.
    void expect_late(std::uint64_t id, const kp::request_body& body) {
        if (const auto* claim = std::get_if<kp::claim_send>(&body)) late_[id] = {claim->stream, claim->session};
        if (const auto* claim = std::get_if<kp::claim_receive>(&body)) late_[id] = {claim->stream, claim->session};
        if (late_.size() > late_claims_max) late_.erase(late_.begin());
    }
    void take_late(const kp::reply& reply) {
        const auto asked = late_.extract(reply.id);
        const auto* window = std::get_if<kp::window>(&reply.body);
        if (asked.empty() || window == nullptr) return;
        *remember(asked.mapped().first, window->range, asked.mapped().second) = true;  // abandoned soon
    }
    void lost() {
        is_ready_ = false;
        late_.clear();
        if (socket_) socket_->close();
        socket_.reset();
        for (auto& [id, answer] : std::exchange(pending_, {}))
            answer->set(outcome(fail(errc::unreachable, path_ + ": the connection to the key manager was lost")));
    }

    asio::any_io_executor executor_;
    std::string path_;
    std::shared_ptr<packet_socket> socket_;
    std::map<std::uint64_t, std::shared_ptr<promised<outcome>>> pending_;
    std::map<place, live_window> windows_;  // handed over and not released
    std::map<std::uint64_t, std::pair<stream_name, session_id>> late_;  // claims whose time is over, by request
    std::uint64_t next_id_ = 1;
    std::uint32_t weight_;
    async_mutex connecting_;
    event ended_;
    bool is_ready_ = false;  // connected, and keyd knows what it must
    bool is_kept_up_ = false;
    bool closed_ = false;
};

namespace {

std::unexpected<error> unexpected_reply() {
    return fail(errc::bad_format, "the key manager gave an answer to another question");
}

result<std::unique_ptr<pad_window>> map_window(stream_name stream, pad_range range, const unique_fd& memory,
                                               std::shared_ptr<std::atomic<bool>> gone) {
    TRY_VOID(check_memory(memory, range.size));
    void* place = ::mmap(nullptr, range.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory.get(), 0);
    if (place == MAP_FAILED) return fail_errno("map", "a pad window");
    ::madvise(place, range.size, MADV_DONTDUMP);
    return std::make_unique<mapped_window>(std::move(stream), range, place, std::move(gone));
}

}  // namespace

task<std::unique_ptr<keyd_client>> keyd_client::connect(std::string socket_path, std::uint32_t weight) {
    const auto to = std::make_shared<connection>(co_await asio::this_coro::executor, std::move(socket_path), weight);
    const kp::request_body question{kp::greet{}};
    const auto arrived = co_await to->call(question, 0);
    if (!arrived) {
        to->close();
        co_return fail(arrived.error());
    }
    const auto* greeted = std::get_if<kp::greeted>(&(*arrived)->reply.body);
    if (greeted == nullptr) {
        to->close();
        co_return unexpected_reply();
    }
    to->site = greeted->site;
    to->strength = greeted->strength;
    co_return std::unique_ptr<keyd_client>(new keyd_client(to));
}

keyd_client::~keyd_client() {
    connection_->close();
}

const std::string& keyd_client::site() const {
    return connection_->site;
}

claim keyd_client::strength() const {
    return connection_->strength;
}

task<std::string> keyd_client::status_json() {
    const kp::request_body question{kp::status{}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    const auto* text = std::get_if<kp::text>(&arrived->reply.body);
    if (text == nullptr) co_return unexpected_reply();
    co_return text->json;
}

task<std::unique_ptr<pad_window>> keyd_client::claim_send(stream_name stream, session_id session,
                                                          std::uint64_t size_min, std::uint64_t size_want, key_use use,
                                                          deadline until) {
    const std::uint32_t wait_ms = wait_ms_until(until);
    const kp::request_body question{kp::claim_send{stream, session, size_min, size_want, use, wait_ms}};
    CO_TRY(const auto arrived, co_await connection_->call(question, wait_ms));
    const auto* window = std::get_if<kp::window>(&arrived->reply.body);
    if (window == nullptr || window->range.size < size_min || window->range.size > size_want)
        co_return unexpected_reply();
    auto gone = connection_->remember(stream, window->range, session);
    auto mapped = map_window(std::move(stream), window->range, arrived->fd, gone);
    if (!mapped) *gone = true;
    co_return mapped;
}

task<std::unique_ptr<pad_window>> keyd_client::claim_receive(stream_name stream, session_id session, pad_range range) {
    const kp::request_body question{kp::claim_receive{stream, session, range}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    const auto* window = std::get_if<kp::window>(&arrived->reply.body);
    if (window == nullptr || window->range != range) co_return unexpected_reply();
    auto gone = connection_->remember(stream, range, session);
    auto mapped = map_window(std::move(stream), range, arrived->fd, gone);
    if (!mapped) *gone = true;
    co_return mapped;
}

task<> keyd_client::skip_to(stream_name stream, std::uint64_t offset) {
    const kp::request_body question{kp::skip_to{std::move(stream), offset}};
    CO_TRY_VOID(co_await connection_->call(question, 0));
    co_return result<void>{};
}

task<std::uint64_t> keyd_client::next_free(stream_name stream, std::uint64_t from) {
    const kp::request_body question{kp::next_free{std::move(stream), from}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    const auto* offset = std::get_if<kp::offset>(&arrived->reply.body);
    if (offset == nullptr) co_return unexpected_reply();
    co_return offset->value;
}

namespace {

result<hello_slot> slot_of(kp::reply& reply) {
    auto* hello = std::get_if<kp::hello>(&reply.body);
    if (hello == nullptr) return unexpected_reply();
    hello_slot slot;
    slot.offset = hello->offset;
    slot.key = hello->key;
    wipe(hello->key);
    return slot;
}

}  // namespace

task<hello_slot> keyd_client::take_hello_slot(stream_name stream, deadline until) {
    const std::uint32_t wait_ms = wait_ms_until(until);
    const kp::request_body question{kp::take_hello{std::move(stream), wait_ms}};
    CO_TRY(const auto arrived, co_await connection_->call(question, wait_ms));
    co_return slot_of(arrived->reply);
}

task<hello_slot> keyd_client::peek_hello_slot(stream_name stream, std::uint64_t offset) {
    const kp::request_body question{kp::peek_hello{std::move(stream), offset}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    co_return slot_of(arrived->reply);
}

task<> keyd_client::spend_hello_slot(stream_name stream, std::uint64_t offset) {
    const kp::request_body question{kp::spend_hello{std::move(stream), offset}};
    CO_TRY_VOID(co_await connection_->call(question, 0));
    co_return result<void>{};
}

task<> keyd_client::release(stream_name stream, pad_range window, std::uint64_t used_to) {
    co_return co_await connection_->release(std::move(stream), window, used_to);
}

task<std::uint64_t> keyd_client::reserve(stream_name stream, std::uint64_t size) {
    const kp::request_body question{kp::reserve{std::move(stream), size}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    const auto* found = std::get_if<kp::reserved>(&arrived->reply.body);
    if (found == nullptr) co_return unexpected_reply();
    co_return found->size;
}

task<pad_broker::stock> keyd_client::available(std::string peer) {
    const kp::request_body question{kp::available{std::move(peer)}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    const auto* found = std::get_if<kp::stock>(&arrived->reply.body);
    if (found == nullptr) co_return unexpected_reply();
    co_return stock{found->outbound, found->inbound};
}

task<byte_vector> keyd_client::take_random(std::size_t size, deadline until) {
    const std::uint32_t wait_ms = wait_ms_until(until);
    const kp::request_body question{kp::take_random{size, wait_ms}};
    CO_TRY(const auto arrived, co_await connection_->call(question, wait_ms));
    const auto* window = std::get_if<kp::window>(&arrived->reply.body);
    if (window == nullptr || window->range.size != size) co_return unexpected_reply();
    CO_TRY_VOID(check_memory(arrived->fd, size));
    byte_vector out(size);
    CO_TRY_VOID(read_at(arrived->fd.get(), 0, out, "random bytes"));
    co_return out;
}

}  // namespace warifu
