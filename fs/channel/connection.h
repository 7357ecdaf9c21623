#pragma once
// One connection: requests and responses of the share protocol, many at once, over sealed frames (TCP) or as they are
// (Unix).
//
// Thread: the core thread of its executor; a shared_ptr, because its coroutines keep it alive until they have ended.
//
// - Frames are sealed in confirmed windows only; nothing of a frame is used before its tag verified; the first frame
//   that does not verify closes the connection for good. End of stream without an authenticated end is a failure.
// - Lanes share the stream (lane.h): a heartbeat waits behind one frame at most.
// - Requests in flight are bounded by count and bytes at the requester; the responder closes a connection that does
//   not keep to the bound. Bytes wait at the requester; a responder always reads.
// - When the connection fails, requests in flight fail with unreachable. Nothing is repeated under the old pad.

#include <map>
#include <optional>

#include "fs/channel/assembler.h"
#include "fs/channel/credit.h"
#include "fs/channel/greeting.h"
#include "fs/channel/send_queue.h"

namespace warifu {

class connection;

struct connection_options {
    /// Takes a request; connection::respond must be called once for it. Empty: the peer may not send requests.
    std::function<void(std::shared_ptr<connection>, incoming)> on_request;
    /// Called once, when the connection ended: cancelled after an authenticated end, else why it failed.
    std::function<void(const error&)> on_closed;
    std::uint32_t key_wait_ms = key_wait_timeout_ms;  // how long what is to be sent waits for key
};

struct connection_counters {
    std::uint64_t requests = 0;    // sent or received
    std::uint64_t pad_sent = 0;    // pad bytes used, r and masks included
    std::uint64_t pad_received = 0;
    std::uint64_t pad_in_hand = 0;  // that data can still be sent with, without asking keyd
    open_counters frames;          // received
};

class connection : public std::enable_shared_from_this<connection> {
  public:
    /// Starts a greeted connection's coroutines.
    static std::shared_ptr<connection> start(std::shared_ptr<stream> socket, greeted peer, connection_options options);
    ~connection();

    /// Sends a request and waits for its answer. `answer_size_max` bounds fields and payload of the response.
    /// Errors: those of the peer; unreachable (connection lost), timed_out, no_key (none came to send it), busy,
    /// too_large, bad_format (the peer's answer makes no sense: the connection is closed).
    task<incoming> call(verb what, message_body body, std::uint32_t answer_size_max, deadline until);

    /// Answers a request that on_request took. After the connection ended it does nothing.
    void respond(const message_header& request, result<message_body> answer);

    /// Ends in order: waits for requests in flight, exchanges authenticated ends, gives unused pad back. Bounded by
    /// `until`; what is not done by then is cut off.
    awaitable<void> close(deadline until);
    /// Cuts the connection off; unused pad of its windows is burnt.
    void abort(error why);

    bool is_open() const { return !closed_ && !ending_; }
    /// True while there is no key for data: data requests wait, and fail with no_key in the end.
    bool is_starved() const { return sender_ && sender_->is_starved(); }
    const std::string& peer_site() const { return peer_.peer_site; }
    const volume_id& volume() const { return peer_.volume; }
    const process_id& peer_process() const { return peer_.peer_process; }
    transport mode() const { return peer_.mode; }
    std::size_t requests_in_flight() const { return pending_.size() + serving_.size(); }
    connection_counters counters() const;

  private:
    struct pending_call {
        explicit pending_call(asio::any_io_executor executor) : answer(std::move(executor)) {}
        promised<result<incoming>> answer;
        std::uint64_t cost = 0;
        std::size_t gate = 0;
        std::uint32_t answer_size_max = 0;
        bool abandoned = false;  // its caller gave up; the credit stays taken until the answer comes
    };
    struct served_request {
        std::uint64_t cost = 0;
        std::size_t gate = 0;
    };
    static constexpr std::size_t gate_count = 2;  // control; data
    static std::size_t gate_of(key_use use) { return use == key_use::control ? 0 : 1; }

    connection(std::shared_ptr<stream> socket, greeted peer, connection_options options);
    void open_pads();
    void spawn(awaitable<void> work);

    // Sending (connection_send.cc)
    void enqueue(lane to, message_header header, message_body body);
    void send_control(verb what, message_body body);
    pad_demand demand() const;
    /// Both append buffers for one gathering write.
    bool seal_next(std::vector<asio::const_buffer>& out);
    bool gather_plain(std::vector<asio::const_buffer>& out);
    void sent(const std::vector<send_queue::message_ptr>& messages);
    void forget_served(std::uint64_t request_id);
    bool everything_sent() const { return end_wanted_ && queue_.empty(); }
    awaitable<void> run_writer();
    void fail_starved_responses();

    // Receiving (connection_receive.cc)
    awaitable<void> run_reader();
    task<> read_frames();
    task<> read_plain();
    result<void> open_frame(const frame_header& header, bytes_view ciphertext, bytes_view tag);
    result<void> admit(const message_header& header);
    result<void> dispatch(incoming message);
    result<void> on_response(incoming message);
    result<void> on_control(const incoming& message);
    awaitable<void> answer_offer(pad_range range);

    // Life (connection.cc)
    awaitable<void> run_watchdog();
    awaitable<void> run_end();
    void finish(error why);
    void fail_pending(const error& why);
    task<incoming> wait_for_answer(std::uint64_t id, std::shared_ptr<pending_call> call, deadline until);

    asio::any_io_executor executor_;
    std::shared_ptr<stream> socket_;
    greeted peer_;
    connection_options options_;

    std::unique_ptr<pad_sender> sender_;      // null when plain
    std::unique_ptr<pad_receiver> receiver_;  // null when plain
    send_queue queue_;
    event work_;       // for the writer
    event end_sent_;
    event ended_;      // finish() was called
    event idle_;       // no request in flight
    std::array<frame_header_bytes, 8> frame_headers_{};  // of the frames in one write
    std::vector<send_queue::message_ptr> in_write_;      // plain: their bytes are being written

    std::vector<message_assembler> lanes_;
    buffer input_;
    std::size_t input_begin_ = 0;
    std::size_t input_end_ = 0;

    std::array<credit_gate, gate_count> gates_;
    std::map<std::uint64_t, std::shared_ptr<pending_call>> pending_;
    std::uint64_t next_request_id_ = 1;
    std::array<open_requests, gate_count> served_open_{};
    std::map<std::uint64_t, served_request> serving_;

    bool end_wanted_ = false;   // the writer sends `end` when all lanes are empty
    bool end_queued_ = false;
    bool peer_ended_ = false;
    bool ending_ = false;
    bool closed_ = false;
    std::uint64_t request_count_ = 0;
};

}  // namespace warifu
