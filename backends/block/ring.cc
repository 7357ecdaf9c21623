#include "backends/block/ring.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

constexpr unsigned retries_max = 100;

result<void> os_failure(const char* what, int code) {
    return fail(errc::io_error, std::string(what) + ": " + std::strerror(code));
}

}  // namespace

struct ring::start_group {
    std::shared_ptr<ring> self;
    template <typename Handler>
    void operator()(Handler&& done, std::vector<std::unique_ptr<operation>> operations) const {
        self->start(std::move(operations), std::forward<Handler>(done));
    }
};

/// Travels with the eventfd wait: when the io_context drops the wait instead of running it, the ring is abandoned.
struct ring::wait_guard {
    ring* owner;
    bool ran = false;
    explicit wait_guard(ring* r) : owner(r) {}
    wait_guard(const wait_guard&) = delete;
    wait_guard& operator=(const wait_guard&) = delete;
    ~wait_guard() {
        if (!ran) owner->abandon();
    }
};

ring::ring(asio::any_io_executor executor, int fd, int event_fd)
    : executor_(executor), fd_(fd), event_(executor, event_fd) {}

result<std::shared_ptr<ring>> ring::make(asio::any_io_executor executor, int fd) {
    const int event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0) return fail(os_failure("eventfd", errno).error());
    const std::shared_ptr<ring> out(new ring(std::move(executor), fd, event_fd));
    TRY_VOID(out->set_up());
    return out;
}

result<void> ring::set_up() {
    constexpr unsigned entries = device_in_flight_max;
    int code = io_uring_queue_init(
        entries, &ring_, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    if (code == -EINVAL) code = io_uring_queue_init(entries, &ring_, 0);  // kernels before 6.1
    if (code < 0) return os_failure("io_uring", -code);
    is_set_up_ = true;
    code = io_uring_register_files(&ring_, &fd_, 1);
    if (code < 0) return os_failure("io_uring: register file", -code);
    code = io_uring_register_eventfd(&ring_, event_.native_handle());
    if (code < 0) return os_failure("io_uring: register eventfd", -code);
    return {};
}

ring::~ring() {
    WARIFU_ASSERT(in_flight_ == 0);
    if (!is_set_up_) return;
    io_uring_unregister_files(
        &ring_);  // now: a ring's own end comes some time after, and would hold the file till then
    io_uring_queue_exit(&ring_);
}

task<> ring::run(std::vector<transfer> transfers) {
    std::vector<std::unique_ptr<operation>> operations;
    for (transfer& one : transfers) {
        auto op = std::make_unique<operation>();
        op->what = std::move(one);
        operations.push_back(std::move(op));
    }
    start_group starter{shared_from_this()};
    return asio::async_initiate<const asio::use_awaitable_t<>, void(result<void>)>(
        std::move(starter), asio::use_awaitable, std::move(operations));
}

task<> ring::flush() {
    std::vector<std::unique_ptr<operation>> operations;
    operations.push_back(std::make_unique<operation>());
    operations.back()->is_flush = true;
    start_group starter{shared_from_this()};
    return asio::async_initiate<const asio::use_awaitable_t<>, void(result<void>)>(
        std::move(starter), asio::use_awaitable, std::move(operations));
}

void ring::start(std::vector<std::unique_ptr<operation>> operations, handler done) {
    auto owner = std::make_shared<group>();
    owner->left = operations.size();
    owner->done = std::move(done);
    if (operations.empty()) {
        asio::post(executor_, [owner] { owner->done(result<void>{}); });
        return;
    }
    for (auto& op : operations) {
        op->owner = owner;
        backlog_.push_back(std::move(op));
    }
    schedule();
}

/// One submission serves everything that the handlers of this turn of the loop started.
void ring::schedule() {
    if (scheduled_) return;
    scheduled_ = true;
    asio::post(executor_, [self = shared_from_this()] {
        self->scheduled_ = false;
        self->pump();
    });
}

void ring::pump() {
    while (!backlog_.empty() && in_flight_ < device_in_flight_max) {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        if (sqe == nullptr) break;
        operation* op = backlog_.front().release();
        backlog_.pop_front();
        const auto* parts = op->what.parts.data() + op->part;
        const auto count = static_cast<unsigned>(op->what.parts.size() - op->part);
        if (op->is_flush)
            io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
        else if (op->what.is_write)
            io_uring_prep_writev(sqe, 0, parts, count, op->what.offset);
        else
            io_uring_prep_readv(sqe, 0, parts, count, op->what.offset);
        io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
        io_uring_sqe_set_data(sqe, op);
        ++in_flight_;
    }
    const int code = io_uring_submit(&ring_);
    if (code < 0 && code != -EAGAIN && code != -EBUSY && code != -EINTR)
        WARIFU_ASSERT(code >= 0);  // the ring itself is broken: nothing on it can be waited for any more
    if (code < 0) schedule();
    arm();
}

void ring::arm() {
    if (armed_ || in_flight_ == 0) return;
    armed_ = true;
    auto guard = std::make_shared<wait_guard>(this);
    event_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this(), guard = std::move(guard)](boost::system::error_code) {
                          guard->ran = true;
                          self->armed_ = false;
                          self->on_event();
                      });
}

void ring::on_event() {
    // Running the deferred completions signals the eventfd once more: it is read afterwards. The flag tells of those
    // whose signal that took away. It can also be left over: it counts only when a signal was taken.
    ssize_t taken = 0;
    do {
        io_uring_get_events(&ring_);
        std::uint64_t count = 0;
        taken = ::read(event_.native_handle(), &count, sizeof count);
    } while (taken > 0 && (IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN) != 0);
    std::vector<std::pair<std::unique_ptr<operation>, int>> finished;
    std::array<io_uring_cqe*, device_in_flight_max> cqes{};
    for (;;) {
        const unsigned ready = io_uring_peek_batch_cqe(&ring_, cqes.data(), static_cast<unsigned>(cqes.size()));
        if (ready == 0) break;
        for (unsigned i = 0; i < ready; ++i)
            finished.emplace_back(static_cast<operation*>(io_uring_cqe_get_data(cqes[i])), cqes[i]->res);
        io_uring_cq_advance(&ring_, ready);
    }
    in_flight_ -= finished.size();
    for (auto& [op, outcome] : finished) complete(std::move(op), outcome);
    if (!backlog_.empty()) pump();
    arm();
}

void ring::advance(operation& op, std::size_t bytes) {
    op.what.offset += bytes;
    while (bytes > 0) {
        iovec& part = op.what.parts[op.part];
        const std::size_t taken = std::min(bytes, part.iov_len);
        part.iov_base = static_cast<std::byte*>(part.iov_base) + taken;
        part.iov_len -= taken;
        bytes -= taken;
        if (part.iov_len == 0) ++op.part;
    }
}

void ring::complete(std::unique_ptr<operation> op, int outcome) {
    const bool again = outcome == -EINTR || outcome == -EAGAIN;
    bool done = op->is_flush;
    result<void> failure;
    if (outcome < 0 && !(again && op->retries++ < retries_max)) {
        failure = os_failure(op->is_flush ? "flush" : op->what.is_write ? "write" : "read", -outcome);
        done = true;
    } else if (again) {
        done = false;
    } else if (!op->is_flush) {
        std::size_t left = 0;
        for (std::size_t i = op->part; i < op->what.parts.size(); ++i) left += op->what.parts[i].iov_len;
        const auto moved = static_cast<std::size_t>(outcome);
        if (moved == 0 && left != 0) {
            failure = fail(errc::io_error, "the device ends early");
            done = true;
        } else {
            done = moved >= left;
            // Direct transfers go on at a sector; what a short one left in the middle of a sector is repeated.
            if (!done) advance(*op, moved / sector_size * sector_size);
            if (!done && moved < sector_size && op->retries++ >= retries_max) {
                failure = fail(errc::io_error, "the device makes no progress");
                done = true;
            }
        }
    }
    if (!done) {
        backlog_.push_front(std::move(op));
        schedule();
        return;
    }
    const auto owner = std::move(op->owner);
    if (!failure && owner->outcome) owner->outcome = std::move(failure);
    if (--owner->left == 0) std::exchange(owner->done, handler())(std::move(owner->outcome));
}

void ring::abandon() {
    std::vector<std::unique_ptr<operation>> dropped;
    while (in_flight_ > 0) {  // the kernel still reads and writes the memory of these
        io_uring_cqe* cqe = nullptr;
        const int code = io_uring_submit_and_wait(&ring_, 1);
        if (code < 0 && code != -EINTR) break;
        while (io_uring_peek_cqe(&ring_, &cqe) == 0 && cqe != nullptr) {
            dropped.emplace_back(static_cast<operation*>(io_uring_cqe_get_data(cqe)));
            io_uring_cqe_seen(&ring_, cqe);
            --in_flight_;
        }
    }
    in_flight_ =
        0;  // on another thread than the ring's nothing can be waited for: those operations leak, and stay valid
    for (auto& op : backlog_) dropped.push_back(std::move(op));
    backlog_.clear();
    // Their coroutines are destroyed here, and may hold the last reference to this ring: the caller's guard keeps it.
    dropped.clear();
}

}  // namespace warifu
