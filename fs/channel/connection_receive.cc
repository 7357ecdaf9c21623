#include "fs/base/assert.h"
#include "fs/channel/connection.h"
#include "fs/otp/xor.h"

namespace warifu {
namespace {

constexpr std::size_t read_size_small = 64U << 10U;  // when it is not known what comes
constexpr std::size_t read_ahead = 16U << 10U;  // behind a frame whose length is known: little is moved to the front

}  // namespace

awaitable<void> connection::run_reader() {
    auto ended = peer_.mode == transport::otp ? co_await read_frames() : co_await read_plain();
    if (closed_) co_return;
    if (ended) {
        co_await run_end();
        co_return;
    }
    error why = ended.error();
    if (why.code == errc::unreachable) why.text += " without an authenticated end";
    finish(std::move(why));
}

/// Reads until the peer's authenticated end.
task<> connection::read_frames() {
    for (;;) {
        std::size_t need = 0;  // to complete the frame at the front, if its length is known
        for (;;) {
            const bytes_view have = input_.view(input_begin_, input_end_ - input_begin_);
            if (have.size() < frame_header_size) break;
            CO_TRY(const frame_header header, decode_frame_header(have.first(frame_header_size)));
            const std::size_t size = frame_overhead + header.length;
            if (have.size() < size) {
                need = size - have.size();
                break;
            }
            CO_TRY_VOID(open_frame(header, have.subspan(frame_header_size, header.length),
                                   have.subspan(frame_header_size + header.length, mac_tag_size)));
            input_begin_ += size;
            if (peer_ended_) co_return result<void>{};
        }
        const std::size_t left = input_end_ - input_begin_;
        if (input_begin_ > 0 && left > 0) std::memmove(input_.data(), input_.data() + input_begin_, left);
        input_begin_ = 0;
        input_end_ = left;
        const std::size_t want = std::min(need == 0 ? read_size_small : need + read_ahead, input_.size() - left);
        CO_TRY(const std::size_t size, co_await socket_->read_some(input_.span(left, want)));
        input_end_ += size;
        if (closed_) co_return fail(errc::unreachable, "the connection has ended");
    }
}

/// Verifies a frame, then decrypts it piece by piece to where its bytes belong.
result<void> connection::open_frame(const frame_header& header, bytes_view ciphertext, bytes_view tag) {
    TRY(bytes_view pad, receiver_->accept(header, ciphertext, tag));
    const auto from = std::to_integer<std::size_t>(ciphertext[0] ^ pad[0]);
    if (from >= lanes_.size()) return fail(errc::bad_format, "a frame of an unknown lane");
    ciphertext = ciphertext.subspan(1);
    pad = pad.subspan(1);
    while (!ciphertext.empty()) {
        const bytes_span target = lanes_[from].next();
        const std::size_t size = std::min(target.size(), ciphertext.size());
        xor_to(target.first(size), ciphertext.first(size), pad.first(size));
        ciphertext = ciphertext.subspan(size);
        pad = pad.subspan(size);
        TRY(auto message, lanes_[from].advance(size));
        if (!message) continue;
        if (peer_ended_) return fail(errc::bad_format, "a message after the end");
        TRY_VOID(dispatch(std::move(*message)));
    }
    return {};
}

/// Small pieces through the input buffer, large ones straight into their memory.
task<> connection::read_plain() {
    message_assembler& messages = lanes_.front();
    for (;;) {
        const bytes_span target = messages.next();
        std::size_t size = 0;
        if (input_begin_ < input_end_) {
            size = std::min(target.size(), input_end_ - input_begin_);
            std::memcpy(target.data(), input_.data() + input_begin_, size);
            input_begin_ += size;
        } else if (target.size() >= read_size_small) {
            CO_TRY(size, co_await socket_->read_some(target));
        } else {
            CO_TRY(input_end_, co_await socket_->read_some(input_.span(0, read_size_small)));
            input_begin_ = 0;
            continue;
        }
        if (closed_) co_return fail(errc::unreachable, "the connection has ended");
        CO_TRY(auto message, messages.advance(size));
        if (message) CO_TRY_VOID(dispatch(std::move(*message)));
        if (peer_ended_) co_return result<void>{};
    }
}

/// Before anything is allocated for a message: is it one that this end expects, within the agreed bounds?
result<void> connection::admit(const message_header& header) {
    switch (header.kind) {
        case message_kind::control: return {};
        case message_kind::request: {
            if (!options_.on_request) return fail(errc::bad_format, "a request from a peer that only answers");
            if (serving_.contains(header.request_id)) return fail(errc::bad_format, "a request id twice");
            const std::uint64_t cost = message_header_size + header.body_size() + header.answer_size_max;
            const std::size_t gate = gate_of(use_of(header.what, header.body_size()));
            if (!served_open_[gate].fits(cost)) return fail(errc::too_large, "more requests in flight than allowed");
            served_open_[gate].add(cost);
            serving_.emplace(header.request_id, served_request{cost, gate});
            idle_.reset();
            return {};
        }
        case message_kind::response:
        case message_kind::failure: {
            const auto call = pending_.find(header.request_id);
            if (call == pending_.end()) return fail(errc::bad_format, "an answer to nothing");
            if (header.kind == message_kind::response && header.body_size() > call->second->answer_size_max)
                return fail(errc::too_large, "an answer larger than asked for");
            return {};
        }
    }
    return fail(errc::bad_format, "a message of an unknown kind");
}

result<void> connection::dispatch(incoming message) {
    switch (message.header.kind) {
        case message_kind::control: return on_control(message);
        case message_kind::response:
        case message_kind::failure: return on_response(std::move(message));
        case message_kind::request:
            if (ending_) {  // crossed with this end's `end`: the peer asks elsewhere
                forget_served(message.header.request_id);
                return {};
            }
            ++request_count_;
            options_.on_request(shared_from_this(), std::move(message));
            return {};
    }
    return fail(errc::bad_format, "a message of an unknown kind");
}

result<void> connection::on_response(incoming message) {
    const auto found = pending_.find(message.header.request_id);
    if (found == pending_.end()) return {};  // it was failed by run_end meanwhile
    const auto call = found->second;
    pending_.erase(found);
    gates_[call->gate].release(call->cost);
    if (pending_.empty() && serving_.empty()) idle_.set();
    if (message.header.kind == message_kind::failure)
        call->answer.set(fail(decode_error(message.body())));
    else
        call->answer.set(std::move(message));
    return {};
}

result<void> connection::on_control(const incoming& message) {
    if (message.header.what == verb::end) {
        TRY_VOID(decode_end(message.body()));
        peer_ended_ = true;
        return {};
    }
    if (!sender_) return fail(errc::bad_format, "a message about pads on a plain connection");
    if (message.header.what == verb::offer_window) {
        TRY(const auto offer, decode_window(message.body()));
        spawn(answer_offer(offer.range));
        return {};
    }
    if (message.header.what == verb::confirm_window) {
        TRY(const auto confirmed, decode_window(message.body()));
        return sender_->on_confirmed(confirmed.range);
    }
    TRY(const auto refusal, decode_window_refusal(message.body()));
    return sender_->on_refused(refusal);
}

awaitable<void> connection::answer_offer(pad_range range) {
    const auto answered = co_await receiver_->on_offer(range);
    if (!answered) finish(answered.error());
}

}  // namespace warifu
