#include "fs/base/assert.h"
#include "fs/channel/connection.h"

namespace warifu {
namespace {

constexpr std::size_t plain_write_size = 1U << 20U;

}  // namespace

void connection::enqueue(lane to, message_header header, message_body body) {
    if (closed_ || end_queued_) return;
    queue_.push(to, std::make_unique<outgoing_message>(header, std::move(body)));
    work_.set();
    if (sender_) sender_->wake();
}

void connection::send_control(verb what, message_body body) {
    message_header header;
    header.what = what;
    header.kind = message_kind::control;
    enqueue(lane::link, header, std::move(body));
}

void connection::respond(const message_header& request, result<message_body> answer) {
    const auto served = serving_.find(request.request_id);
    if (closed_ || served == serving_.end()) return;
    message_header header;
    header.what = request.what;
    header.request_id = request.request_id;
    if (answer && answer->size() > request.answer_size_max)
        answer = fail(errc::too_large, "the answer is larger than the request allows");
    if (answer && answer->fields.size() > message_fields_size_max)
        answer = fail(errc::too_large, "the answer is over the message size limit");
    header.kind = answer ? message_kind::response : message_kind::failure;
    message_body body = answer ? std::move(*answer) : encode_error(answer.error());
    const lane to = header.kind == message_kind::failure ? lane::control : lane_of(use_of(request.what, body.size()));
    enqueue(to, header, std::move(body));
}

/// Responses that waited for key too long become failures, which may draw on the control reserve.
void connection::fail_starved_responses() {
    const auto before = steady_clock::now() - std::chrono::milliseconds(options_.key_wait_ms);
    if (options_.on_request == nullptr) return;  // a requester's calls know their own deadlines
    for (const auto& message : queue_.take_waiting(before)) {
        message_header header = message->header();
        if (header.kind != message_kind::response) continue;
        header.kind = message_kind::failure;
        enqueue(lane::control, header, encode_error(error(errc::no_key, "the peer has no key to answer with")));
    }
}

pad_demand connection::demand() const {
    pad_demand out;
    out.begun = queue_.begun_size();
    out.control = queue_.size(lane::control);
    out.interactive = queue_.size(lane::interactive);
    out.bulk = queue_.size(lane::bulk);
    return out;
}

/// The messages' last bytes are on their way: a served request's credit is the peer's again. Before the write, because
/// the peer may use it before the write returns.
void connection::sent(const std::vector<send_queue::message_ptr>& messages) {
    for (const auto& message : messages) {
        const auto& header = message->header();
        if (header.kind == message_kind::control || header.kind == message_kind::request) continue;
        forget_served(header.request_id);
    }
}

void connection::forget_served(std::uint64_t request_id) {
    const auto served = serving_.find(request_id);
    if (served == serving_.end()) return;
    served_open_[served->second.gate].remove(served->second.cost);
    serving_.erase(served);
    if (serving_.empty() && pending_.empty()) idle_.set();
}

/// Seals one frame of the most urgent lane that may send. False: nothing to send, or no room.
bool connection::seal_next(std::vector<asio::const_buffer>& out) {
    const std::size_t slot = out.size() / 2;
    for (const lane from : all_lanes) {
        if (queue_.empty(from)) continue;
        const std::size_t room = sender_->room(from);
        if (room == 0) continue;
        const std::byte name{static_cast<unsigned char>(from)};
        std::vector<bytes_view> parts;
        parts.push_back(bytes_view(&name, 1));
        std::vector<send_queue::message_ptr> done;
        if (queue_.take(from, room - 1, sender_->room_for_message(from, queue_.begun_size()), parts, done) == 0)
            continue;
        const auto frame = sender_->seal(parts);
        frame_headers_[slot] = frame.header;
        out.emplace_back(frame_headers_[slot].data(), frame_headers_[slot].size());
        out.emplace_back(frame.body.data(), frame.body.size());
        sent(done);
        return true;
    }
    return false;
}

/// The bytes of the most urgent messages as they are; whole messages, because there are no lanes on a plain connection.
bool connection::gather_plain(std::vector<asio::const_buffer>& out) {
    std::vector<bytes_view> parts;
    std::size_t size = 0;
    for (const lane from : all_lanes) {
        while (!queue_.empty(from) && size < plain_write_size) {
            in_write_.push_back(queue_.pop(from));
            size += in_write_.back()->take(in_write_.back()->left(), parts);
        }
    }
    for (const auto& part : parts) out.emplace_back(part.data(), part.size());
    sent(in_write_);
    return size > 0;
}

awaitable<void> connection::run_writer() {
    std::vector<asio::const_buffer> out;
    while (!closed_) {
        out.clear();
        if (everything_sent() && !end_queued_) {
            send_control(verb::end, encode_end(end_message{}));
            end_queued_ = true;
        }
        if (sender_) {
            std::size_t size = 0;
            while (out.size() / 2 < frame_headers_.size() && size < frame_payload_size_max && seal_next(out))
                size += out.back().size();
        } else {
            gather_plain(out);
        }
        if (out.empty()) {
            work_.reset();
            co_await work_.wait();
            continue;
        }
        const auto written = co_await socket_->write_all(std::move(out));
        if (!written) {
            finish(peer_ended_ ? error(errc::cancelled, "ended in order") : written.error());
            co_return;
        }
        if (sender_) sender_->written();
        in_write_.clear();
        if (end_queued_ && queue_.empty()) {
            end_sent_.set();
            co_return;
        }
    }
}

}  // namespace warifu
