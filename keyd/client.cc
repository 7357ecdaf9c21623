#include "keyd/client.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include "fs/async/wait.h"
#include "fs/base/limits.h"
#include "keyd/lent_memory.h"
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

std::unexpected<error> unexpected_reply() {
    return fail(errc::bad_format, "the key manager gave an answer to another question");
}

/// A window in lent memory that keyd has filled: wiped and put back on the shelf when destroyed.
class filled_window final : public pad_window {
  public:
    filled_window(stream_name stream, pad_range range, bytes_span bytes, std::unique_ptr<lent_memory> memory,
                  std::shared_ptr<memory_shelf> shelf, std::shared_ptr<std::atomic<bool>> gone)
        : pad_window(std::move(stream), range),
          memory_(std::move(memory)),
          shelf_(std::move(shelf)),
          gone_(std::move(gone)) {
        bytes_ = bytes;
    }
    filled_window(const filled_window&) = delete;
    filled_window& operator=(const filled_window&) = delete;
    ~filled_window() override {
        wipe(key_left());
        shelf_->put_back(std::move(memory_));
        *gone_ = true;
    }

  private:
    std::unique_ptr<lent_memory> memory_;
    std::shared_ptr<memory_shelf> shelf_;
    std::shared_ptr<std::atomic<bool>> gone_;
};

}  // namespace

/// The connection and what is under way on it. Kept alive by its coroutines; close() ends them.
class keyd_client::connection : public std::enable_shared_from_this<keyd_client::connection> {
  public:
    using arrival = std::shared_ptr<kp::reply_body>;
    using outcome = result<arrival>;

    connection(asio::any_io_executor executor, std::string path, std::uint32_t weight)
        : executor_(executor), path_(std::move(path)), weight_(weight), connecting_(executor), ended_(executor) {}

    /// Sends a request, with the descriptor of lent memory if it is a claim, and waits for its reply, keyd's own errors
    /// turned into errors. Connects first if need be.
    task<arrival> call(kp::request_body body, std::uint32_t wait_ms, int lent = -1) {
        const auto self = shared_from_this();
        CO_TRY_VOID(co_await connect());
        co_return co_await exchange(std::move(body), wait_ms, lent);
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

    /// A claim of at most `size` bytes, with memory for them. Where keyd says that it has none to give it has not
    /// touched the memory; after any other error it may still write there, and the memory serves no more. (Nobody reads
    /// what key is left in it.)
    struct filling {
        pad_range range;
        std::unique_ptr<lent_memory> memory;
    };
    task<filling> claim_key(kp::request_body body, std::uint64_t size, std::uint32_t wait_ms) {
        const auto self = shared_from_this();
        CO_TRY(auto memory, shelf->take(size));
        const auto arrived = co_await call(std::move(body), wait_ms, memory->descriptor());
        if (!arrived) {
            const errc code = arrived.error().code;
            if (code == errc::no_key || code == errc::conflict) shelf->put_back(std::move(memory));
            co_return fail(arrived.error());
        }
        const auto* window = std::get_if<kp::window>(arrived->get());
        if (window == nullptr || window->range.size == 0 || window->range.size > size) co_return unexpected_reply();
        co_return filling{window->range, std::move(memory)};
    }

    /// keyd has filled `memory` with a window.
    result<std::unique_ptr<pad_window>> open(stream_name stream, pad_range range, session_id session,
                                             std::unique_ptr<lent_memory> memory) {
        auto gone = remember(stream, range, session);
        const auto bytes = memory->filled(range.size);
        *gone = !bytes;
        if (!bytes) return fail(bytes.error());
        return std::make_unique<filled_window>(std::move(stream), range, *bytes, std::move(memory), shelf,
                                               std::move(gone));
    }

    void close() {
        closed_ = true;
        ended_.set();
        lost();
    }

    std::string site;
    claim strength = claim::computational;
    const std::shared_ptr<memory_shelf> shelf = std::make_shared<memory_shelf>();

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

    task<arrival> exchange(kp::request_body body, std::uint32_t wait_ms, int lent = -1) {
        const auto self = shared_from_this();
        const auto socket = socket_;
        if (!socket) co_return fail(errc::unreachable, path_ + ": the connection to the key manager was lost");
        const std::uint64_t id = next_id_++;
        const auto answer = std::make_shared<promised<outcome>>(executor_);
        pending_[id] = answer;
        const kp::request message{id, std::move(body)};
        auto bytes = kp::encode(message);
        const auto sent = co_await socket->send(std::move(bytes), lent, send_timeout);
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
        if (const auto* failed = std::get_if<kp::failed>(arrived.get())) {
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
            self->deliver(std::move(*reply));
        }
        if (self->socket_ == socket) self->lost();
    }
    void deliver(kp::reply reply) {
        if (const auto* greeted = std::get_if<kp::greeted>(&reply.body)) strength = greeted->strength;
        if (const auto* stock = std::get_if<kp::stock>(&reply.body)) strength = stock->strength;
        const auto waiting = pending_.find(reply.id);
        if (waiting == pending_.end()) return take_late(reply);
        waiting->second->set(outcome(std::make_shared<kp::reply_body>(std::move(reply.body))));
    }
    /// The flag becomes true when the window's memory is gone.
    std::shared_ptr<std::atomic<bool>> remember(const stream_name& stream, pad_range range, session_id session) {
        const auto gone = std::make_shared<std::atomic<bool>>(false);
        windows_.insert_or_assign(place(stream, range.offset), live_window{range, session, gone, {}, {}});
        return gone;
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

task<std::unique_ptr<keyd_client>> keyd_client::connect(std::string socket_path, std::uint32_t weight) {
    const auto to = std::make_shared<connection>(co_await asio::this_coro::executor, std::move(socket_path), weight);
    const kp::request_body question{kp::greet{}};
    const auto arrived = co_await to->call(question, 0);
    if (!arrived) {
        to->close();
        co_return fail(arrived.error());
    }
    const auto* greeted = std::get_if<kp::greeted>(arrived->get());
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
    const auto* text = std::get_if<kp::text>(arrived.get());
    if (text == nullptr) co_return unexpected_reply();
    co_return text->json;
}

task<std::unique_ptr<pad_window>> keyd_client::claim_send(stream_name stream, session_id session,
                                                          std::uint64_t size_min, std::uint64_t size_want, key_use use,
                                                          deadline until) {
    const std::uint32_t wait_ms = wait_ms_until(until);
    const kp::request_body question{kp::claim_send{stream, session, size_min, size_want, use, wait_ms}};
    CO_TRY(auto filled, co_await connection_->claim_key(question, size_want, wait_ms));
    if (filled.range.size < size_min) co_return unexpected_reply();
    co_return connection_->open(std::move(stream), filled.range, session, std::move(filled.memory));
}

task<std::unique_ptr<pad_window>> keyd_client::claim_receive(stream_name stream, session_id session, pad_range range) {
    const kp::request_body question{kp::claim_receive{stream, session, range}};
    CO_TRY(auto filled, co_await connection_->claim_key(question, range.size, 0));
    if (filled.range != range) co_return unexpected_reply();
    co_return connection_->open(std::move(stream), range, session, std::move(filled.memory));
}

task<> keyd_client::skip_to(stream_name stream, std::uint64_t offset) {
    const kp::request_body question{kp::skip_to{std::move(stream), offset}};
    CO_TRY_VOID(co_await connection_->call(question, 0));
    co_return result<void>{};
}

task<std::uint64_t> keyd_client::next_free(stream_name stream, std::uint64_t from) {
    const kp::request_body question{kp::next_free{std::move(stream), from}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    const auto* offset = std::get_if<kp::offset>(arrived.get());
    if (offset == nullptr) co_return unexpected_reply();
    co_return offset->value;
}

namespace {

result<hello_slot> slot_of(kp::reply_body& reply) {
    auto* hello = std::get_if<kp::hello>(&reply);
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
    co_return slot_of(*arrived);
}

task<hello_slot> keyd_client::peek_hello_slot(stream_name stream, std::uint64_t offset) {
    const kp::request_body question{kp::peek_hello{std::move(stream), offset}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    co_return slot_of(*arrived);
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
    const auto* found = std::get_if<kp::reserved>(arrived.get());
    if (found == nullptr) co_return unexpected_reply();
    co_return found->size;
}

task<pad_broker::stock> keyd_client::available(std::string peer) {
    const kp::request_body question{kp::available{std::move(peer)}};
    CO_TRY(const auto arrived, co_await connection_->call(question, 0));
    const auto* found = std::get_if<kp::stock>(arrived.get());
    if (found == nullptr) co_return unexpected_reply();
    co_return stock{found->outbound, found->inbound};
}

task<byte_vector> keyd_client::take_random(std::size_t size, deadline until) {
    const std::uint32_t wait_ms = wait_ms_until(until);
    const kp::request_body question{kp::take_random{size, wait_ms}};
    CO_TRY(auto filled, co_await connection_->claim_key(question, size, wait_ms));
    if (filled.range.size != size) co_return unexpected_reply();
    CO_TRY(const bytes_span bytes, filled.memory->filled(size));
    byte_vector out(bytes.begin(), bytes.end());
    wipe(bytes);
    connection_->shelf->put_back(std::move(filled.memory));
    co_return out;
}

}  // namespace warifu
