#include "fs/channel/greeting.h"

#include <unistd.h>

namespace warifu {
namespace {

constexpr std::size_t slot_key_size = 32;
enum class slot_part : std::size_t { greeting = 0, welcome = 1, confirmation = 2 };
static_assert(3 * slot_key_size == hello_slot_size);

bytes_view slot_key(const hello_slot& slot, slot_part part) {
    return bytes_view(slot.key).subspan(static_cast<std::size_t>(part) * slot_key_size, slot_key_size);
}

/// The exchange as both ends saw it: every tag covers all of it up to the tag.
class transcript {
  public:
    void add(bytes_view message) { bytes_.insert(bytes_.end(), message.begin(), message.end()); }

    /// Fills the tag at the end of an encoded message and adds the message.
    void tag(byte_vector& message, bytes_view key32) {
        add(bytes_view(message).first(message.size() - mac_tag_size));
        const mac_tag value = one_time_tag(key32, bytes_);
        std::memcpy(message.data() + message.size() - mac_tag_size, value.data(), value.size());
        add(value);
    }
    /// Checks the tag at the end of a received message and adds the message.
    bool verify(bytes_view message, bytes_view key32) {
        add(message.first(message.size() - mac_tag_size));
        const mac_tag value = one_time_tag(key32, bytes_);
        add(value);
        return equal_constant_time(value, message.last(mac_tag_size));
    }

  private:
    byte_vector bytes_;
};

struct received_message {
    greeting_type type = greeting_type::hello;
    byte_vector whole;
    bytes_view body() const { return bytes_view(whole).subspan(greeting_prefix_size); }
};

task<received_message> receive(std::shared_ptr<stream> connection) {
    received_message message;
    message.whole.resize(greeting_prefix_size);
    CO_TRY_VOID(co_await connection->read_exactly(message.whole));
    CO_TRY(const auto prefix, decode_greeting_prefix(message.whole));
    message.type = prefix.type;
    message.whole.resize(greeting_prefix_size + prefix.size);
    CO_TRY_VOID(co_await connection->read_exactly(bytes_span(message.whole).subspan(greeting_prefix_size)));
    co_return message;
}

/// Receives a message of one type. A refusal becomes an error that says what an unauthenticated peer claims.
task<received_message> expect(std::shared_ptr<stream> connection, greeting_type type) {
    CO_TRY(auto message, co_await receive(connection));
    if (message.type == greeting_type::refusal) {
        CO_TRY(const auto refusal, decode_refusal(message.body()));
        const bool is_harmless = refusal.reason == errc::no_key || refusal.reason == errc::bad_version;
        const errc code = is_harmless || connection->is_local() ? refusal.reason : errc::unreachable;
        co_return fail(code, "the peer refuses the greeting: " + std::string(to_string(refusal.reason)));
    }
    if (message.type != type) co_return fail(errc::bad_format, "a greeting message out of turn");
    co_return message;
}

task<> refuse(std::shared_ptr<stream> connection, errc reason) {
    const byte_vector message = encode_refusal(refusal_message{reason});
    (void)co_await connection->write_all(bytes_view(message));
    co_return fail(reason, "a greeting was refused");
}

/// The first window of a direction. When key is short, one from the control reserve.
task<owned_window> claim_first(pad_direction direction, deadline until) {
    owned_window claimed;
    auto window = co_await direction.broker->claim_send(direction.stream, direction.session, pad_window_size_min,
                                                        channel_window_size_min, key_use::interactive,
                                                        steady_clock::now());
    if (!window && window.error().code == errc::no_key) {
        claimed.control_only = true;
        window = co_await direction.broker->claim_send(direction.stream, direction.session, pad_window_size_min,
                                                       pad_window_size_min, key_use::control, until);
    }
    if (!window) co_return fail(std::move(window).error());
    claimed.window = std::move(*window);
    co_return claimed;
}

deadline claim_deadline(deadline until) {
    // Leaves time to tell the peer that there is no key.
    return std::min(until, steady_clock::now() + std::chrono::milliseconds(greeting_timeout_ms / 5));
}

struct receive_claim {
    std::unique_ptr<pad_window> window;
    std::uint16_t status = 0;
    std::uint64_t next_free = 0;
};

/// Claims the window that the peer proposes, or finds out what to tell it.
task<receive_claim> claim_proposed(pad_direction direction, pad_range range) {
    receive_claim claim;
    if (range.size < pad_window_size_min || range.size > pad_window_size_max)
        co_return fail(errc::bad_format, "a proposed window of a size that none has");
    auto window = co_await direction.broker->claim_receive(direction.stream, direction.session, range);
    if (window) {
        claim.window = std::move(*window);
        co_return claim;
    }
    claim.status = static_cast<std::uint16_t>(window.error().code);
    if (window.error().code == errc::conflict) {
        const auto next_free = co_await direction.broker->next_free(direction.stream, range.offset);
        claim.next_free = next_free ? *next_free : 0;
    }
    co_return claim;
}

/// What a greeting waits for, to be told when its time is over.
using greeting_stage = std::shared_ptr<std::string_view>;

/// One greeting from the initiator's side; owned by the frame of greet().
struct initiator {
    std::shared_ptr<stream> connection;
    initiator_options options;
    deadline until;
    greeting_stage stage;
    transcript seen{};
    hello_slot slot{};
    greeted out{};

    pad_direction outbound() const { return {out.broker, out.send_stream, out.session}; }
    pad_direction inbound() const { return {out.broker, out.receive_stream, out.session}; }

    task<> exchange_hellos();
    task<> send_greeting();
    task<welcome_message> take_welcome();
    task<> confirm(welcome_message welcome);
};

task<> initiator::exchange_hellos() {
    hello_message hello;
    hello.mode = options.mode;
    hello.session = out.session;
    hello.fresh = random_uuid<nonce>();
    hello.process = options.process;
    hello.volume = options.volume;
    hello.initiator = options.own_site;
    hello.responder = options.peer_site;
    const byte_vector bytes = encode_hello(hello);
    seen.add(bytes);
    CO_TRY_VOID(co_await connection->write_all(bytes_view(bytes)));
    CO_TRY(const auto reply, co_await expect(connection, greeting_type::answer));
    CO_TRY(const auto answer, decode_answer(reply.body()));
    seen.add(reply.whole);
    out.peer_process = answer.process;
    co_return result<void>{};
}

task<> initiator::send_greeting() {
    *stage = "a hello slot from this site's keyd";
    auto taken = co_await options.broker->take_hello_slot(out.send_stream, claim_deadline(until));
    if (!taken) co_return fail(std::move(taken).error());
    slot = *taken;
    wipe(taken->key);
    *stage = "a window from this site's keyd";
    CO_TRY(out.send_window, co_await claim_first(outbound(), claim_deadline(until)));
    greeting_message greeting;
    greeting.slot_offset = slot.offset;
    greeting.window = out.send_window.window->range();
    byte_vector bytes = encode_greeting(greeting);
    seen.tag(bytes, slot_key(slot, slot_part::greeting));
    co_return co_await connection->write_all(bytes_view(bytes));
}

task<welcome_message> initiator::take_welcome() {
    *stage = "the peer's welcome";
    CO_TRY(const auto reply, co_await expect(connection, greeting_type::welcome));
    CO_TRY(const auto welcome, decode_welcome(reply.body()));
    if (!seen.verify(reply.whole, slot_key(slot, slot_part::welcome)))
        co_return fail(errc::bad_tag, "the peer's greeting does not verify");
    if (welcome.status == 0) co_return welcome;
    const pad_range range = out.send_window.window->range();
    const errc code = status_error(welcome.status);
    if (code == errc::conflict) {
        const auto settled = co_await settle_refusal(outbound(), range, welcome.next_free);
        co_return fail(settled.error());
    }
    // The peer claimed nothing, and nothing was sealed.
    co_await release_window(out.broker, out.send_stream, range, range.offset);
    co_return fail(code, "the peer answers the greeting with " + std::string(to_string(code)));
}

task<> initiator::confirm(welcome_message welcome) {
    *stage = "the peer's window from this site's keyd";
    CO_TRY(auto claim, co_await claim_proposed(inbound(), welcome.window));
    confirmation_message confirmation;
    confirmation.status = claim.status;
    confirmation.next_free = claim.next_free;
    byte_vector bytes = encode_confirmation(confirmation);
    seen.tag(bytes, slot_key(slot, slot_part::confirmation));
    CO_TRY_VOID(co_await connection->write_all(bytes_view(bytes)));
    if (claim.status != 0) {
        const errc code = status_error(claim.status);
        const pad_range own = out.send_window.window->range();
        co_await release_window(out.broker, out.send_stream, own, own.offset);  // nothing was sealed in it
        co_return fail(claim.next_free == 0 && code == errc::conflict ? errc::no_key : code,
                       "this end of the link lacks the key that the peer would send with");
    }
    out.receive_window = std::move(claim.window);
    co_return result<void>{};
}

/// The transport that is asked for must fit the socket: nothing ever runs unsealed over a network.
result<void> check_transport(const stream& connection, transport mode, bool has_broker) {
    if (mode == transport::plain && !connection.is_local())
        return fail(errc::denied, "only a Unix socket may run without pads");
    if (mode == transport::otp && !has_broker)
        return fail(errc::bad_argument, "a sealed connection needs a pad broker");
    return {};
}

task<greeted> run_initiator(std::shared_ptr<stream> connection, initiator_options options, deadline until,
                            greeting_stage stage) {
    CO_TRY_VOID(check_transport(*connection, options.mode, options.broker != nullptr));
    initiator self{connection, options, until, stage};
    self.out.mode = options.mode;
    self.out.peer_site = options.peer_site;
    self.out.volume = options.volume;
    self.out.session = random_uuid<session_id>();
    self.out.broker = options.broker;
    self.out.send_stream = {options.own_site, options.peer_site};
    self.out.receive_stream = {options.peer_site, options.own_site};
    CO_TRY_VOID(co_await self.exchange_hellos());
    if (options.mode == transport::plain) co_return std::move(self.out);
    CO_TRY_VOID(co_await self.send_greeting());
    CO_TRY(const auto welcome, co_await self.take_welcome());
    CO_TRY_VOID(co_await self.confirm(welcome));
    co_return std::move(self.out);
}

/// One greeting from the responder's side; owned by the frame of answer_greeting().
struct responder {
    std::shared_ptr<stream> connection;
    responder_options options;
    deadline until;
    greeting_stage stage;
    transcript seen{};
    hello_slot slot{};
    greeted out{};

    pad_direction outbound() const { return {out.broker, out.send_stream, out.session}; }
    pad_direction inbound() const { return {out.broker, out.receive_stream, out.session}; }

    task<> exchange_hellos();
    task<greeting_message> take_greeting();
    task<> send_welcome(greeting_message greeting);
    task<> deny(errc code, std::uint64_t next_free);
    task<> take_confirmation();
};

task<> responder::exchange_hellos() {
    auto request = co_await receive(connection);
    if (!request) {
        if (request.error().code == errc::bad_version) co_return co_await refuse(connection, errc::bad_version);
        co_return fail(std::move(request).error());
    }
    if (request->type != greeting_type::hello) co_return fail(errc::bad_format, "a greeting message out of turn");
    CO_TRY(const auto hello, decode_hello(request->body()));
    if (hello.mode != options.mode || hello.responder != options.own_site || hello.initiator.empty())
        co_return co_await refuse(connection, errc::denied);
    seen.add(request->whole);
    out.peer_site = hello.initiator;
    out.volume = hello.volume;
    out.peer_process = hello.process;
    out.session = random_uuid<session_id>();
    out.send_stream = {options.own_site, hello.initiator};
    out.receive_stream = {hello.initiator, options.own_site};
    if (options.mode == transport::plain) {
        const auto admitted = options.admit(out.peer_site, out.volume);
        if (!admitted) co_return co_await refuse(connection, admitted.error().code);
    }
    answer_message answer;
    answer.session = out.session;
    answer.fresh = random_uuid<nonce>();
    answer.process = options.process;
    const byte_vector bytes = encode_answer(answer);
    seen.add(bytes);
    co_return co_await connection->write_all(bytes_view(bytes));
}

task<greeting_message> responder::take_greeting() {
    *stage = "the peer's greeting";
    CO_TRY(const auto request, co_await expect(connection, greeting_type::greeting));
    CO_TRY(const auto greeting, decode_greeting(request.body()));
    *stage = "a hello slot from this site's keyd";
    auto looked = co_await out.broker->peek_hello_slot(out.receive_stream, greeting.slot_offset);
    if (!looked) {
        const errc code = looked.error().code == errc::not_found ? errc::no_key : looked.error().code;
        const auto refused = co_await refuse(connection, code);
        co_return fail(refused.error());
    }
    slot = *looked;
    wipe(looked->key);
    if (!seen.verify(request.whole, slot_key(slot, slot_part::greeting)))
        co_return fail(errc::bad_tag, "a greeting does not verify");
    CO_TRY_VOID(co_await out.broker->spend_hello_slot(out.receive_stream, greeting.slot_offset));
    co_return greeting;
}

/// Tells the verified peer why not, under MAC.
task<> responder::deny(errc code, std::uint64_t next_free) {
    welcome_message welcome;
    welcome.status = static_cast<std::uint16_t>(code);
    welcome.next_free = next_free;
    byte_vector bytes = encode_welcome(welcome);
    seen.tag(bytes, slot_key(slot, slot_part::welcome));
    CO_TRY_VOID(co_await connection->write_all(bytes_view(bytes)));
    co_return fail(code, "a greeting was answered with " + std::string(to_string(code)));
}

task<> responder::send_welcome(greeting_message greeting) {
    if (const auto admitted = options.admit(out.peer_site, out.volume); !admitted)
        co_return co_await deny(admitted.error().code, 0);
    *stage = "windows from this site's keyd";
    // Own key first: what the peer proposes is claimed only when there is something to answer with.
    auto own = co_await claim_first(outbound(), claim_deadline(until));
    if (!own) co_return co_await deny(own.error().code, 0);
    out.send_window = std::move(*own);
    const pad_range range = out.send_window.window->range();
    auto claim = co_await claim_proposed(inbound(), greeting.window);
    const errc why = !claim ? claim.error().code : claim->status != 0 ? status_error(claim->status) : errc{};
    if (why != errc{}) {
        out.send_window = {};
        co_await release_window(out.broker, out.send_stream, range, range.offset);  // it was never named
        co_return co_await deny(why, claim ? claim->next_free : 0);
    }
    out.receive_window = std::move(claim->window);
    welcome_message welcome;
    welcome.window = range;
    byte_vector bytes = encode_welcome(welcome);
    seen.tag(bytes, slot_key(slot, slot_part::welcome));
    co_return co_await connection->write_all(bytes_view(bytes));
}

task<> responder::take_confirmation() {
    *stage = "the peer's confirmation";
    CO_TRY(const auto reply, co_await expect(connection, greeting_type::confirmation));
    CO_TRY(const auto confirmation, decode_confirmation(reply.body()));
    if (!seen.verify(reply.whole, slot_key(slot, slot_part::confirmation)))
        co_return fail(errc::bad_tag, "a confirmation does not verify");
    if (confirmation.status == 0) co_return result<void>{};
    // Authenticated: the initiator seals nothing in the window that it proposed, and claimed nothing of ours.
    const pad_range theirs = out.receive_window->range();
    out.receive_window.reset();
    co_await release_window(out.broker, out.receive_stream, theirs, theirs.offset);
    const errc code = status_error(confirmation.status);
    const pad_range range = out.send_window.window->range();
    if (code != errc::conflict) {
        co_await release_window(out.broker, out.send_stream, range, range.offset);
        co_return fail(code, "the peer refuses this end's window");
    }
    co_return co_await settle_refusal(outbound(), range, confirmation.next_free);
}

task<greeted> run_responder(std::shared_ptr<stream> connection, responder_options options, deadline until,
                            greeting_stage stage) {
    CO_TRY_VOID(check_transport(*connection, options.mode, options.broker != nullptr));
    if (options.mode == transport::plain) {
        CO_TRY(const std::uint32_t uid, connection->peer_uid());
        if (uid != 0 && uid != ::geteuid()) co_return fail(errc::denied, "the peer runs as another user");
    }
    responder self{connection, options, until, stage};
    self.out.mode = options.mode;
    self.out.broker = options.broker;
    CO_TRY_VOID(co_await self.exchange_hellos());
    if (options.mode == transport::plain) co_return std::move(self.out);
    CO_TRY(const auto greeting, co_await self.take_greeting());
    CO_TRY_VOID(co_await self.send_welcome(greeting));
    CO_TRY_VOID(co_await self.take_confirmation());
    co_return std::move(self.out);
}

template <typename Greeting>
task<greeted> within(std::shared_ptr<stream> connection, Greeting greeting, deadline until, greeting_stage stage) {
    const stream_deadline guard(connection, until);
    auto outcome = co_await std::move(greeting);
    if (!outcome) connection->close();
    if (!outcome && guard.expired())
        co_return fail(errc::timed_out, "the greeting took too long, waiting for " + std::string(*stage));
    co_return outcome;
}

}  // namespace

task<greeted> greet(std::shared_ptr<stream> connection, initiator_options options, deadline until) {
    const auto stage = std::make_shared<std::string_view>("the peer's answer");
    co_return co_await within(connection, run_initiator(connection, std::move(options), until, stage), until, stage);
}

task<greeted> answer_greeting(std::shared_ptr<stream> connection, responder_options options, deadline until) {
    const auto stage = std::make_shared<std::string_view>("the peer's hello");
    co_return co_await within(connection, run_responder(connection, std::move(options), until, stage), until, stage);
}

}  // namespace warifu
