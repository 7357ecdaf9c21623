#pragma once
// What waits to be sent: one queue per lane, the most urgent first.

#include <array>
#include <deque>
#include <memory>

#include "fs/base/clock.h"
#include "fs/channel/lane.h"
#include "fs/wire/message.h"

namespace warifu {

/// A message on its way out. Its bytes are given in order, once.
class outgoing_message {
  public:
    outgoing_message(message_header header, message_body body);

    const message_header& header() const { return header_; }
    std::size_t left() const { return left_; }
    bool begun() const { return begun_; }
    steady_clock::time_point queued_at() const { return queued_at_; }
    std::uint64_t cost = 0;  // credit that is given back when a response is gone

    /// Appends views of the next bytes, at most `size`; returns how many. They stay valid as long as this message.
    std::size_t take(std::size_t size, std::vector<bytes_view>& out);

  private:
    message_header header_;
    byte_vector head_;  // header and fields
    std::vector<slice> payload_;
    std::size_t part_ = 0;  // 0: head_, i: payload_[i - 1]
    std::size_t position_ = 0;
    std::size_t left_ = 0;
    bool begun_ = false;
    steady_clock::time_point queued_at_ = steady_clock::now();
};

/// Core thread only.
class send_queue {
  public:
    using message_ptr = std::unique_ptr<outgoing_message>;

    void push(lane to, message_ptr message);
    bool empty() const;
    bool empty(lane of) const { return lanes_[index_of(of)].empty(); }
    /// Bytes that wait in a lane.
    std::uint64_t size(lane of) const { return sizes_[index_of(of)]; }

    /// Bytes that are left of messages of which some have been sent.
    std::uint64_t begun_size() const;

    /// Appends views of up to `size` bytes of the lane's messages; messages that are used up go to `done`, where they
    /// must stay while the views are in use. A message is begun only if `begin_size` bytes hold all of it. Returns how
    /// many bytes.
    std::size_t take(lane from, std::size_t size, std::uint64_t begin_size, std::vector<bytes_view>& out,
                     std::vector<message_ptr>& done);

    /// The next message of a lane, whole. REQUIRES: the lane is not empty and its front has not begun.
    message_ptr pop(lane from);

    /// Takes back a request of which no byte has left. False when it is not there or has begun.
    bool withdraw(std::uint64_t request_id);
    /// Takes out every message of the data lanes of which no byte has left and which waits since before `before`.
    std::vector<message_ptr> take_waiting(steady_clock::time_point before);
    /// Drops whatever has not begun in any lane.
    void drop_unbegun();
    /// Drops everything: the connection is gone.
    void clear();

  private:
    std::array<std::deque<message_ptr>, lane_count> lanes_;
    std::array<std::uint64_t, lane_count> sizes_{};
};

}  // namespace warifu
