#include "keyd/link/session.h"

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/limits.h"

namespace warifu {

using namespace link_protocol;

namespace {

constexpr std::size_t frame_head_size = 4 + 8 + 2;
constexpr std::size_t masks_kept = 3;         // of each half, for next_slot and slot_taken
constexpr std::size_t masks_before_switch = 12;
constexpr std::uint32_t write_timeout_ms = 10'000;
constexpr std::size_t read_step = 64U << 10U;

byte_vector with_size(bytes_view body) {
    writer out(body.size() + 4);
    return out.put_be(static_cast<std::uint32_t>(body.size())).put_bytes(body).take();
}

mac_tag greeting_tag(const control_slot& slot, link_end sender, const std::vector<bytes_view>& transcript) {
    one_time_mac mac;
    mac.begin(slot.point(sender), slot.mask(sender, 1));
    for (const auto& part : transcript) mac.update(part);
    return mac.finish();
}

byte_vector with_tag(bytes_view body, const mac_tag& tag) {
    writer out(body.size() + 4 + tag.size());
    out.put_be(static_cast<std::uint32_t>(body.size() + tag.size())).put_bytes(body).put_bytes(tag);
    return out.take();
}

facts own_facts(const control_state& state, const pad_ends& ends) {
    return facts{state.runs(false), state.next, ends.outbound, ends.inbound};
}

}  // namespace

pipe_deadline::pipe_deadline(asio::any_io_executor executor, std::shared_ptr<link_pipe> target, deadline until)
    : timer_(std::move(executor)) {
    timer_.expires_at(until);
    timer_.async_wait([target = std::move(target)](const boost::system::error_code& ec) {
        if (!ec) target->close();
    });
}

mac_tag content_digest(const digest_key& key, const std::vector<bytes_view>& pieces) {
    one_time_mac mac;
    mac.begin(key.point, key.mask);
    for (const auto& piece : pieces) mac.update(piece);
    return mac.finish();
}

result<std::shared_ptr<hello_offers::offered>> hello_offers::pick(control_store& store,
                                                                  const std::vector<slot_run>& unspent, deadline now) {
    const auto has = [&](std::uint64_t slot) {
        return std::ranges::any_of(unspent, [&](const slot_run& r) { return r.begin <= slot && slot < r.end; });
    };
    std::erase_if(open_, [](const auto& o) { return o->used || o->failures >= verification_failures_max; });
    // One that is spent already comes first, so that the ration does not keep out a caller that has it.
    const auto known = std::ranges::find_if(open_, [&](const auto& o) { return has(o->number); });
    if (known != open_.end()) return *known;
    const auto slot = store.state().choose_hello(unspent);
    if (!slot) return fail(errc::not_found, "both ends have no unspent hello slot in common");
    if (tokens_ == 0 && now - refilled_ >= wait_) {
        tokens_ = 1;
        wait_ = std::min(2 * wait_, std::chrono::milliseconds(link_offer_interval_max_ms));
    }
    if (tokens_ == 0) return fail(errc::busy, "too many greetings that came to nothing");
    --tokens_;
    refilled_ = now;
    TRY(auto secret, store.spend(*slot));
    const auto fresh = std::make_shared<offered>();
    fresh->number = *slot;
    fresh->slot = secret;
    if (open_.size() >= link_offer_burst) open_.pop_front();
    open_.push_back(fresh);
    return fresh;
}

result<void> hello_offers::claim_for(offered& o, const slot_proof& proof) {
    if (o.used || o.failures >= verification_failures_max)
        return fail(errc::denied, "the hello slot was used meanwhile");
    if (!equal_constant_time(proof, o.slot.proof(link_end::caller))) {
        ++o.failures;
        return fail(errc::bad_tag, "a greeting does not prove itself");
    }
    o.used = true;
    return {};
}

link_session::link_session(asio::any_io_executor executor, std::shared_ptr<link_pipe> pipe, control_store& store,
                           std::uint64_t number, const control_slot& slot)
    : executor_(executor), pipe_(std::move(pipe)), store_(store), writing_(executor), slot_changed_(executor) {
    const auto shared = std::make_shared<const control_slot>(slot);
    sending_ = receiving_ = lane{shared, number, 1};  // the greeting took the first mask of each half
}

void link_session::share_slots_of(link_end master) {
    const auto shelf = static_cast<std::size_t>(shelf_for(master, false));
    shared_[shelf] = store_.state().next[shelf];
}

task<byte_vector> link_session::read_sized(link_pipe& pipe, std::size_t size_max) {
    std::array<std::byte, 4> head{};
    CO_TRY_VOID(co_await pipe.read_exactly(head));
    CO_TRY(const auto size, reader(head).take_be<std::uint32_t>());
    if (size == 0 || size > size_max) co_return fail(errc::too_large, "a greeting is over its limit");
    byte_vector out(size);
    CO_TRY_VOID(co_await pipe.read_exactly(out));
    co_return out;
}

task<std::unique_ptr<link_session>> link_session::call(std::shared_ptr<link_pipe> pipe, control_store& store,
                                                       pad_ends own) {
    const auto executor = co_await asio::this_coro::executor;
    const pipe_deadline bound(executor, pipe, deadline_in_ms(link_hello_timeout_ms));
    link_protocol::call first;
    first.control = store.state().id;
    fill_kernel_random(first.nonce);
    first.from = store.state().own;
    first.to = store.state().peer;
    first.hello_slots = store.state().runs(true);
    if (first.hello_slots.empty())
        co_return fail(errc::no_key, "no hello slot is left: the link needs a new enrolment (warifu link enrol)");
    const byte_vector call_raw = encode(first);
    const byte_vector call_sized = with_size(call_raw);
    CO_TRY_VOID(co_await pipe->write_all(call_sized));

    CO_TRY(const auto offer_raw, co_await read_sized(*pipe, link_hello_size_max));
    CO_TRY(const auto offered, decode_offer_slot(offer_raw));
    if (!is_hello_slot(offered.slot)) co_return fail(errc::bad_format, "not a hello slot");
    const auto known = store.state().slots.find(offered.slot);
    if (known == store.state().slots.end()) co_return fail(errc::conflict, "the listener offers a slot that is spent");
    if (!equal_constant_time(offered.proof, known->second.proof(link_end::listener)))
        co_return fail(errc::bad_tag, "the listener does not have the control pad");
    CO_TRY(const auto slot, store.spend(offered.slot));
    std::unique_ptr<link_session> session(new link_session(executor, pipe, store, offered.slot, slot));
    confirm_slot confirmed;
    std::ranges::copy(slot.proof(link_end::caller), confirmed.proof.begin());
    const byte_vector confirm_raw = encode(confirmed);
    const byte_vector confirm_sized = with_size(confirm_raw);
    CO_TRY_VOID(co_await pipe->write_all(confirm_sized));

    CO_TRY(const auto fourth, co_await read_sized(*pipe, link_hello_size_max + mac_tag_size));
    if (fourth.size() < mac_tag_size) co_return fail(errc::bad_format, "a greeting ends early");
    const auto body = bytes_view(fourth).first(fourth.size() - mac_tag_size);
    const std::vector<bytes_view> theirs{call_raw, offer_raw, confirm_raw, body};
    if (!equal_constant_time(greeting_tag(slot, link_end::listener, theirs), bytes_view(fourth).last(mac_tag_size)))
        co_return fail(errc::bad_tag, "the greeting's answer does not verify");
    CO_TRY(session->peer_, decode_facts(body));

    const facts told = own_facts(store.state(), own);
    CO_TRY_VOID(store.join(told, session->peer_));
    session->shared_ = store.state().next;
    const byte_vector told_raw = encode(told);
    const std::vector<bytes_view> mine{call_raw, offer_raw, confirm_raw, body, told_raw};
    const byte_vector fifth = with_tag(told_raw, greeting_tag(slot, link_end::caller, mine));
    CO_TRY_VOID(co_await pipe->write_all(fifth));
    co_return session;
}

task<link_session::received_call> link_session::read_call(std::shared_ptr<link_pipe> pipe) {
    const auto executor = co_await asio::this_coro::executor;
    const pipe_deadline bound(executor, pipe, deadline_in_ms(link_hello_timeout_ms));
    received_call out;
    CO_TRY(out.raw, co_await read_sized(*pipe, link_hello_size_max));
    CO_TRY(out.call, decode_call(out.raw));
    co_return out;
}

task<std::unique_ptr<link_session>> link_session::answer(std::shared_ptr<link_pipe> pipe, control_store& store,
                                                         hello_offers& offers, received_call from, pad_ends own) {
    const auto executor = co_await asio::this_coro::executor;
    const pipe_deadline bound(executor, pipe, deadline_in_ms(link_hello_timeout_ms));
    if (from.call.control != store.state().id)
        co_return fail(errc::denied, "the ends of the link were enrolled differently");
    CO_TRY(const auto offered, offers.pick(store, from.call.hello_slots, steady_clock::now()));
    offer_slot second;
    fill_kernel_random(second.nonce);
    second.slot = offered->number;
    std::ranges::copy(offered->slot.proof(link_end::listener), second.proof.begin());
    const byte_vector offer_raw = encode(second);
    const byte_vector offer_sized = with_size(offer_raw);
    CO_TRY_VOID(co_await pipe->write_all(offer_sized));

    CO_TRY(const auto confirm_raw, co_await read_sized(*pipe, link_hello_size_max));
    CO_TRY(const auto confirmed, decode_confirm_slot(confirm_raw));
    CO_TRY_VOID(offers.claim_for(*offered, confirmed.proof));
    std::unique_ptr<link_session> session(new link_session(executor, pipe, store, offered->number, offered->slot));
    const facts told = own_facts(store.state(), own);
    const byte_vector told_raw = encode(told);
    const std::vector<bytes_view> mine{from.raw, offer_raw, confirm_raw, told_raw};
    const byte_vector fourth = with_tag(told_raw, greeting_tag(offered->slot, link_end::listener, mine));
    CO_TRY_VOID(co_await pipe->write_all(fourth));

    CO_TRY(const auto fifth, co_await read_sized(*pipe, link_hello_size_max + mac_tag_size));
    if (fifth.size() < mac_tag_size) co_return fail(errc::bad_format, "a greeting ends early");
    const auto body = bytes_view(fifth).first(fifth.size() - mac_tag_size);
    const std::vector<bytes_view> theirs{from.raw, offer_raw, confirm_raw, told_raw, body};
    const auto expected = greeting_tag(offered->slot, link_end::caller, theirs);
    if (!equal_constant_time(expected, bytes_view(fifth).last(mac_tag_size)))
        co_return fail(errc::bad_tag, "a greeting does not verify");
    CO_TRY(session->peer_, decode_facts(body));
    offers.verified();
    CO_TRY_VOID(store.join(told, session->peer_));
    co_return session;
}

bool link_session::has_masks(std::size_t masks) const {
    return sending_.masks_used + masks + masks_kept <= control_masks_per_half;
}

task<> link_session::send(message m, std::vector<bytes_view> content, deadline until) {
    const std::size_t masks = has_digest(m) ? 2 : 1;
    for (;;) {
        auto sent = co_await try_send(m, content, masks);
        if (sent && *sent) co_return result<void>{};
        if (!sent) {
            close();
            co_return fail(sent.error());
        }
        slot_changed_.reset();
        if (!co_await slot_changed_.wait(until)) {
            close();
            co_return fail(errc::no_key, "no control pad came in time");
        }
    }
}

/// False: there are too few masks, and another slot is to come. Nobody waits for a slot with writing_ held: the answer
/// that brings it needs writing_ too.
task<bool> link_session::try_send(const message& m, const std::vector<bytes_view>& content, std::size_t masks) {
    const auto turn = co_await writing_.lock();
    if (!open_) co_return fail(errc::unreachable, "the session ended");
    const bool room = has_masks(masks);
    if (room) CO_TRY_VOID(co_await write_sealed(m, content));
    const bool worn = !room || std::max(sending_.masks_used, receiving_.masks_used) >= masks_before_switch;
    if (!worn || switching_) co_return room;
    // The caller asks for slots; a listener that has none cannot be asked.
    const bool any = end() == link_end::caller ? store_.state().lowest_work(shared_).has_value()
                                               : store_.state().work_count() != 0;
    if (!any && !room) co_return fail(errc::no_key, "the control pad is used up");
    if (any && end() == link_end::caller) CO_TRY_VOID(co_await ask_for_slot());
    co_return room;
}

/// REQUIRES: writing_ is held, there is a work slot, none is asked for yet.
task<> link_session::ask_for_slot() {
    const auto number = store_.state().lowest_work(shared_);
    WARIFU_ASSERT(number && !switching_);
    CO_TRY(const auto slot, store_.spend(*number));
    switching_ = true;
    next_ = std::make_shared<const control_slot>(slot);
    next_number_ = *number;
    const message ask = next_slot{*number};
    CO_TRY_VOID(co_await write_sealed(ask, {}));
    co_return result<void>{};
}

result<byte_vector> link_session::seal(const message& m, const std::vector<bytes_view>& content) {
    const std::size_t masks = has_digest(m) ? 2 : 1;
    if (sending_.masks_used + masks > control_masks_per_half) return fail(errc::no_key, "the control pad is used up");
    message ready = m;
    if (masks == 2) {
        digest_key key;
        std::ranges::copy(sending_.slot->point(end()), key.point.begin());
        std::ranges::copy(sending_.slot->mask(end(), ++sending_.masks_used), key.mask.begin());
        const auto digest = content_digest(key, content);
        if (auto* one = std::get_if<block>(&ready)) one->digest = digest;
        if (auto* one = std::get_if<stored>(&ready)) one->digest = digest;
    }
    const byte_vector body = encode(ready);
    WARIFU_ASSERT(body.size() <= link_body_size_max);
    const std::size_t mask = ++sending_.masks_used;
    writer out(frame_head_size + body.size() + mac_tag_size);
    out.put_be(static_cast<std::uint32_t>(body.size())).put_be(sending_.number);
    out.put_be(static_cast<std::uint16_t>(mask)).put_bytes(body);
    one_time_mac mac;
    mac.begin(sending_.slot->point(end()), sending_.slot->mask(end(), mask));
    mac.update(out.view());
    const auto tag = mac.finish();
    return out.put_bytes(tag).take();
}

task<> link_session::write_sealed(const message& m, const std::vector<bytes_view>& content) {
    CO_TRY(const auto frame, seal(m, content));
    const pipe_deadline bound(executor_, pipe_, deadline_in_ms(write_timeout_ms));
    CO_TRY_VOID(co_await pipe_->write_all(frame));
    ++count_.sent;
    co_return result<void>{};
}

task<link_session::received> link_session::receive() {
    for (;;) {
        auto in = co_await receive_frame();
        if (in) {
            const auto handled = co_await on_slot_message(in->message);
            if (handled && *handled) continue;
            if (!handled) in = fail(handled.error());
        }
        if (!in) close();
        co_return in;
    }
}

task<link_session::received> link_session::receive_frame() {
    const pipe_deadline bound(executor_, pipe_, deadline_in_ms(link_silence_max_ms));
    std::array<std::byte, frame_head_size> head{};
    CO_TRY_VOID(co_await pipe_->read_exactly(head));
    reader in(head);
    CO_TRY(const auto size, in.take_be<std::uint32_t>());
    CO_TRY(const auto number, in.take_be<std::uint64_t>());
    CO_TRY(const auto mask, in.take_be<std::uint16_t>());
    if (size == 0 || size > link_body_size_max) co_return fail(errc::too_large, "a frame is over its limit");
    byte_vector body;
    for (std::size_t done = 0; done < size + mac_tag_size;) {  // memory grows with what has really come
        const std::size_t step = std::min(read_step, size + mac_tag_size - done);
        body.resize(done + step);
        CO_TRY_VOID(co_await pipe_->read_exactly(bytes_span(body).subspan(done)));
        done += step;
    }
    co_return open_frame(number, mask, head, bytes_view(body).first(size), bytes_view(body).last(mac_tag_size));
}

result<link_session::received> link_session::open_frame(std::uint64_t number, std::uint16_t mask, bytes_view head,
                                                        bytes_view body, bytes_view tag) {
    const link_end sender = other_end(end());
    lane candidate = receiving_;
    if (number != receiving_.number && next_ && number == next_number_) candidate = lane{next_, next_number_, 0};
    if (number != candidate.number || mask <= candidate.masks_used || mask > control_masks_per_half)
        return fail(errc::bad_tag, "a frame under control pad that is not its turn");
    one_time_mac mac;
    mac.begin(candidate.slot->point(sender), candidate.slot->mask(sender, mask));
    mac.update(head);
    mac.update(body);
    if (!equal_constant_time(mac.finish(), tag)) return fail(errc::bad_tag, "a frame does not verify");
    received out;
    TRY(out.message, decode(body));
    const std::size_t masks = has_digest(out.message) ? 2 : 1;
    if (mask != candidate.masks_used + masks) return fail(errc::bad_format, "a mask was left out");
    if (masks == 2) {
        std::ranges::copy(candidate.slot->point(sender), out.key.point.begin());
        std::ranges::copy(candidate.slot->mask(sender, mask - 1U), out.key.mask.begin());
    }
    candidate.masks_used = mask;
    receiving_ = candidate;
    ++count_.received;
    return out;
}

/// True when the message was about control slots and is dealt with.
task<bool> link_session::on_slot_message(const message& m) {
    if (const auto* ask = std::get_if<next_slot>(&m)) {
        if (end() == link_end::caller || is_hello_slot(ask->slot))
            co_return fail(errc::bad_format, "the wrong end asks for a control slot");
        const auto turn = co_await writing_.lock();
        CO_TRY(const auto slot, store_.spend(ask->slot));
        next_ = std::make_shared<const control_slot>(slot);
        next_number_ = ask->slot;
        const message answer = slot_taken{ask->slot};
        CO_TRY_VOID(co_await write_sealed(answer, {}));
        sending_ = lane{next_, next_number_, 0};
        ++count_.slots;
        slot_changed_.set();
        co_return true;
    }
    if (const auto* taken = std::get_if<slot_taken>(&m)) {
        if (end() != link_end::caller || !switching_ || taken->slot != next_number_)
            co_return fail(errc::bad_format, "a control slot that nobody asked for");
        sending_ = receiving_ = lane{next_, next_number_, 0};  // the listener goes on in it right behind its answer
        switching_ = false;
        ++count_.slots;
        slot_changed_.set();
        co_return true;
    }
    co_return false;
}

void link_session::close() {
    if (!open_) return;
    open_ = false;
    pipe_->close();
    slot_changed_.set();
}

}  // namespace warifu
