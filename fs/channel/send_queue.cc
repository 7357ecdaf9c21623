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

void send_queue::push(key_use use, message_ptr message) {
    const std::size_t lane = lane_of(use);
    sizes_[lane] += message->left();
    lanes_[lane].push_back(std::move(message));
}

bool send_queue::empty() const {
    for (const auto& lane : lanes_)
        if (!lane.empty()) return false;
    return true;
}

std::size_t send_queue::take(std::size_t lane, std::size_t size, std::vector<bytes_view>& out,
                             std::vector<message_ptr>& done) {
    auto& queue = lanes_[lane];
    std::size_t taken = 0;
    while (taken < size && !queue.empty()) {
        taken += queue.front()->take(size - taken, out);
        if (queue.front()->left() > 0) break;
        done.push_back(std::move(queue.front()));
        queue.pop_front();
    }
    sizes_[lane] -= taken;
    return taken;
}

send_queue::message_ptr send_queue::pop(std::size_t lane) {
    message_ptr message = std::move(lanes_[lane].front());
    lanes_[lane].pop_front();
    sizes_[lane] -= message->left();
    return message;
}

bool send_queue::withdraw(std::uint64_t request_id) {
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
        auto& queue = lanes_[lane];
        for (auto it = queue.begin(); it != queue.end(); ++it) {
            const auto& header = (*it)->header();
            if (header.kind != message_kind::request || header.request_id != request_id) continue;
            if ((*it)->begun()) return false;
            sizes_[lane] -= (*it)->left();
            queue.erase(it);
            return true;
        }
    }
    return false;
}

std::vector<send_queue::message_ptr> send_queue::take_waiting(steady_clock::time_point before) {
    std::vector<message_ptr> out;
    for (std::size_t lane = lane_of(key_use::interactive); lane < lane_count; ++lane) {
        auto& queue = lanes_[lane];
        for (auto it = queue.begin(); it != queue.end();) {
            if ((*it)->begun() || (*it)->queued_at() >= before) {
                ++it;
                continue;
            }
            sizes_[lane] -= (*it)->left();
            out.push_back(std::move(*it));
            it = queue.erase(it);
        }
    }
    return out;
}

void send_queue::drop_unbegun() {
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
        std::erase_if(lanes_[lane], [&](const message_ptr& message) {
            if (message->begun()) return false;
            sizes_[lane] -= message->left();
            return true;
        });
    }
}

void send_queue::clear() {
    for (auto& lane : lanes_) lane.clear();
    sizes_ = {};
}

}  // namespace warifu
