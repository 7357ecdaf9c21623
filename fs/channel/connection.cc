#include "fs/channel/connection.h"

#include "fs/base/assert.h"

namespace warifu {
namespace {

constexpr auto watchdog_step = std::chrono::milliseconds(250);
constexpr std::uint32_t end_timeout_ms = 2'000;

/// Runs a member coroutine with its object kept alive.
awaitable<void> keeping(std::shared_ptr<connection> self, awaitable<void> work) {
    co_await std::move(work);
}

}  // namespace

connection::connection(std::shared_ptr<stream> socket, greeted peer, connection_options options)
    : executor_(socket->executor()),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      options_(std::move(options)),
      work_(executor_),
      end_sent_(executor_),
      ended_(executor_),
      idle_(executor_),
      input_(frame_size_max + (64U << 10U)),
      gates_{credit_gate(executor_), credit_gate(executor_)} {
    const std::size_t lanes = peer_.mode == transport::otp ? lane_count : 1;
    for (std::size_t i = 0; i < lanes; ++i)
        lanes_.emplace_back([this](const message_header& header) { return admit(header); });
    idle_.set();
}

connection::~connection() = default;

void connection::open_pads() {
    pad_sender::hooks hooks;
    hooks.demand = [this] { return demand(); };
    hooks.send_control = [this](verb what, message_body body) { send_control(what, std::move(body)); };
    hooks.room_changed = [this] { work_.set(); };
    hooks.fail = [this](error why) { abort(std::move(why)); };
    const pad_direction outbound{peer_.broker, peer_.send_stream, peer_.session};
    const pad_direction inbound{peer_.broker, peer_.receive_stream, peer_.session};
    sender_ = std::make_unique<pad_sender>(executor_, outbound, std::move(peer_.send_window), std::move(hooks));
    receiver_ = std::make_unique<pad_receiver>(
        executor_, inbound, std::move(peer_.receive_window),
        [this](verb what, message_body body) { send_control(what, std::move(body)); });
}

void connection::spawn(awaitable<void> work) {
    asio::co_spawn(executor_, keeping(shared_from_this(), std::move(work)), asio::detached);
}

std::shared_ptr<connection> connection::start(std::shared_ptr<stream> socket, greeted peer,
                                              connection_options options) {
    std::shared_ptr<connection> self(new connection(std::move(socket), std::move(peer), std::move(options)));
    if (self->peer_.mode == transport::otp) {
        self->open_pads();
        self->spawn(self->sender_->run());
    }
    self->spawn(self->run_reader());
    self->spawn(self->run_writer());
    self->spawn(self->run_watchdog());
    return self;
}

connection_counters connection::counters() const {
    connection_counters out;
    out.requests = request_count_;
    if (sender_) out.pad_sent = sender_->pad_used();
    if (sender_) out.pad_in_hand = sender_->data_in_hand();
    if (receiver_) out.pad_received = receiver_->pad_used();
    if (receiver_) out.frames = receiver_->counters();
    return out;
}

task<incoming> connection::call(verb what, message_body body, std::uint32_t answer_size_max, deadline until) {
    const auto self = shared_from_this();
    if (!is_open()) co_return fail(errc::unreachable, "the connection has ended");
    const std::size_t size = body.size();
    if (body.fields.size() > message_fields_size_max || size > message_size_max || answer_size_max > response_size_max)
        co_return fail(errc::too_large, "a request over the message size limit");
    const key_use use = use_of(what, size);
    const std::uint64_t cost = message_header_size + size + answer_size_max;
    const std::size_t gate = gate_of(use);
    if (auto taken = co_await gates_[gate].acquire(cost, until); !taken) {
        if (taken.error().code == errc::cancelled) co_return fail(errc::unreachable, "the connection has ended");
        co_return fail(is_starved() ? errc::no_key : errc::timed_out, "requests before this one are not answered");
    }
    if (!is_open()) co_return fail(errc::unreachable, "the connection has ended");
    message_header header;
    header.what = what;
    header.answer_size_max = answer_size_max;
    header.request_id = next_request_id_++;
    auto pending = std::make_shared<pending_call>(executor_);
    pending->cost = cost;
    pending->gate = gate;
    pending->answer_size_max = answer_size_max;
    pending_.emplace(header.request_id, pending);
    idle_.reset();
    ++request_count_;
    enqueue(lane_of(use), header, std::move(body));
    co_return co_await wait_for_answer(header.request_id, pending, until);
}

task<incoming> connection::wait_for_answer(std::uint64_t id, std::shared_ptr<pending_call> call, deadline until) {
    const auto self = shared_from_this();
    const auto begun_at = steady_clock::now();
    const deadline key_until = begun_at + std::chrono::milliseconds(options_.key_wait_ms);
    auto answer = co_await call->answer.take(until);
    if (!answer && is_starved() && key_until > until) answer = co_await call->answer.take(key_until);
    if (answer) co_return std::move(*answer);
    if (queue_.withdraw(id)) {  // nothing of it left: the peer does not know of it
        gates_[call->gate].release(call->cost);
        pending_.erase(id);
        if (pending_.empty() && serving_.empty()) idle_.set();
        co_return fail(is_starved() ? errc::no_key : errc::timed_out, "the request could not be sent in time");
    }
    call->abandoned = true;
    if (is_starved()) co_return fail(errc::no_key, "there is no key to send the request");
    // Not one byte since the request was made: the peer or the path is dead, and a new connection is the only cure.
    if (socket_->last_read() < begun_at) abort(error(errc::unreachable, "the peer does not answer"));
    co_return fail(errc::timed_out, "no answer in time");
}

void connection::fail_pending(const error& why) {
    for (auto& [id, call] : std::exchange(pending_, {})) call->answer.set(fail(why));
    idle_.set();
}

void connection::finish(error why) {
    if (std::exchange(closed_, true)) return;
    const auto self = shared_from_this();  // on_closed may drop the owner's
    socket_->close();
    if (sender_) sender_->stop();
    for (auto& gate : gates_) gate.close();
    const error told = why.code == errc::cancelled ? error(errc::unreachable, "the connection has ended") : why;
    fail_pending(told.code == errc::unreachable ? told : error(errc::unreachable, told.message()));
    queue_.clear();
    work_.set();
    end_sent_.set();
    ended_.set();
    if (const auto on_closed = std::exchange(options_.on_closed, nullptr)) on_closed(why);
}

void connection::abort(error why) {
    finish(std::move(why));
}

awaitable<void> connection::close(deadline until) {
    const auto self = shared_from_this();
    ending_ = true;
    co_await idle_.wait(until);
    end_wanted_ = true;
    work_.set();
    if (!co_await ended_.wait(std::max(until, deadline_in_ms(end_timeout_ms / 4))))
        finish(error(errc::timed_out, "the peer does not end the connection"));
}

/// The peer has ended: nothing more comes. Gives its windows back, ends too, and gives the own windows back.
awaitable<void> connection::run_end() {
    if (receiver_) co_await receiver_->release_all();
    fail_pending(error(errc::unreachable, "the peer ended the connection"));
    serving_.clear();
    queue_.drop_unbegun();
    ending_ = true;
    end_wanted_ = true;
    work_.set();
    const bool sent = co_await end_sent_.wait(deadline_in_ms(end_timeout_ms));
    if (sent && !closed_ && sender_) co_await sender_->release_all();
    finish(error(errc::cancelled, "ended in order"));
}

awaitable<void> connection::run_watchdog() {
    while (!closed_) {
        co_await ended_.wait(steady_clock::now() + watchdog_step);
        if (closed_) break;
        if (socket_->write_stalled(steady_clock::now() - std::chrono::milliseconds(write_stall_timeout_ms)))
            finish(error(errc::unreachable, "the peer does not read"));
        if (is_starved()) fail_starved_responses();
    }
}

}  // namespace warifu
