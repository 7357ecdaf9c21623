#include "fs/channel/send_queue.h"

namespace warifu {

outgoing_message::outgoing_message(message_header header, message_body body)
    : header_(header), payload_(std::move(body.payload)) {
    header_.fields_size = static_cast<std::uint32_t>(body.fields.size());
    header_.payload_size = 0;
    for (const slice& s : payload_) header_.payload_size += static_cast<std::uint32_t>(s.size());
    left_ = message_header_size + header_.body_size();
    const auto bytes = encode_message_header(header_);
    head_.reserve(bytes.size() + body.fields.size());
    head_.assign(bytes.begin(), bytes.end());
    head_.insert(head_.end(), body.fields.begin(), body.fields.end());
}

std::size_t outgoing_message::take(std::size_t size, std::vector<bytes_view>& out) {
    std::size_t taken = 0;
    while (taken < size && left_ > 0) {
        const bytes_view part = part_ == 0 ? bytes_view(head_) : payload_[part_ - 1].view();
        const std::size_t step = std::min(size - taken, part.size() - position_);
        if (step > 0) out.push_back(part.subspan(position_, step));
        taken += step;
        left_ -= step;
        position_ += step;
        if (position_ == part.size()) {
            ++part_;
            position_ = 0;
        }
    }
    begun_ = begun_ || taken > 0;
    return taken;
}

void send_queue::push(lane to, message_ptr message) {
    sizes_[index_of(to)] += message->left();
    lanes_[index_of(to)].push_back(std::move(message));
}

bool send_queue::empty() const {
    for (const auto& queue : lanes_)
        if (!queue.empty()) return false;
    return true;
}

std::uint64_t send_queue::begun_size() const {
    std::uint64_t size = 0;
    for (const auto& queue : lanes_)
        if (!queue.empty() && queue.front()->begun()) size += queue.front()->left();
    return size;
}

std::size_t send_queue::take(lane from, std::size_t size, std::uint64_t begin_size, std::vector<bytes_view>& out,
                             std::vector<message_ptr>& done) {
    auto& queue = lanes_[index_of(from)];
    std::size_t taken = 0;
    while (taken < size && !queue.empty()) {
        if (!queue.front()->begun()) {
            if (queue.front()->left() > begin_size) break;
            begin_size -= queue.front()->left();
        }
        taken += queue.front()->take(size - taken, out);
        if (queue.front()->left() > 0) break;
        done.push_back(std::move(queue.front()));
        queue.pop_front();
    }
    sizes_[index_of(from)] -= taken;
    return taken;
}

send_queue::message_ptr send_queue::pop(lane from) {
    message_ptr message = std::move(lanes_[index_of(from)].front());
    lanes_[index_of(from)].pop_front();
    sizes_[index_of(from)] -= message->left();
    return message;
}

bool send_queue::withdraw(std::uint64_t request_id) {
    for (std::size_t i = 0; i < lane_count; ++i) {
        auto& queue = lanes_[i];
        for (auto it = queue.begin(); it != queue.end(); ++it) {
            const auto& header = (*it)->header();
            if (header.kind != message_kind::request || header.request_id != request_id) continue;
            if ((*it)->begun()) return false;
            sizes_[i] -= (*it)->left();
            queue.erase(it);
            return true;
        }
    }
    return false;
}

std::vector<send_queue::message_ptr> send_queue::take_waiting(steady_clock::time_point before) {
    std::vector<message_ptr> out;
    for (const lane from : {lane::interactive, lane::bulk}) {
        auto& queue = lanes_[index_of(from)];
        for (auto it = queue.begin(); it != queue.end();) {
            if ((*it)->begun() || (*it)->queued_at() >= before) {
                ++it;
                continue;
            }
            sizes_[index_of(from)] -= (*it)->left();
            out.push_back(std::move(*it));
            it = queue.erase(it);
        }
    }
    return out;
}

void send_queue::drop_unbegun() {
    for (std::size_t i = 0; i < lane_count; ++i) {
        std::erase_if(lanes_[i], [&](const message_ptr& message) {
            if (message->begun()) return false;
            sizes_[i] -= message->left();
            return true;
        });
    }
}

void send_queue::clear() {
    for (auto& queue : lanes_) queue.clear();
    sizes_ = {};
}

}  // namespace warifu
