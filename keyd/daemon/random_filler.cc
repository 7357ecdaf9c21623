#include "keyd/daemon/random_filler.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/buffer.h"
#include "keyd/pool/pad_file.h"

namespace warifu {
namespace {

constexpr std::size_t read_step = 64U << 10U;
constexpr int poll_ms = 200;

}  // namespace

result<void> random_filler::open() {
    if (source_.is_open()) return {};
    struct stat found{};
    if (::stat(options_.device.c_str(), &found) != 0) return fail_errno("open", options_.device);
    is_file_ = S_ISREG(found.st_mode);
    if (!is_file_ && !S_ISCHR(found.st_mode) && !S_ISFIFO(found.st_mode))
        return fail(errc::bad_argument, options_.device + ": no file, character device or FIFO");
    TRY(source_, open_file(options_.device, is_file_ ? O_RDWR : O_RDONLY | O_NONBLOCK));
    return {};
}

result<void> random_filler::read_device(bytes_span out, const std::atomic<bool>& stop) {
    for (std::size_t done = 0; done < out.size();) {
        if (stop) return fail(errc::cancelled, "keyd stops");
        pollfd ready{source_.get(), POLLIN, 0};
        if (::poll(&ready, 1, poll_ms) == 0) continue;
        const ssize_t got = ::read(source_.get(), out.data() + done, out.size() - done);
        if (got > 0) done += static_cast<std::size_t>(got);
        if (got < 0 && errno != EINTR && errno != EAGAIN) return fail_errno("read", options_.device);
        if (got == 0) ::usleep(poll_ms * 1000);  // a FIFO that nobody writes to
    }
    return {};
}

/// The last bytes of a file, which are erased there and cut off before they count.
result<void> random_filler::take_from_file(bytes_span out) {
    TRY(const auto size, file_size(source_.get(), options_.device));
    if (size < out.size()) return fail(errc::no_key, options_.device + ": no random bytes are left in the file");
    const std::uint64_t from = size - out.size();
    TRY_VOID(read_at(source_.get(), from, out, options_.device));
    TRY_VOID(erase_range(source_.get(), from, out.size(), options_.device));
    if (::ftruncate(source_.get(), static_cast<off_t>(from)) != 0) return fail_errno("truncate", options_.device);
    return sync_data(source_.get(), options_.device);
}

result<void> random_filler::fill(bytes_span out, const std::atomic<bool>& stop) {
    if (is_file_) TRY_VOID(take_from_file(out));
    if (!is_file_) TRY_VOID(read_device(out, stop));
    if (!tests_->feed(out))
        return fail(errc::bad_tag, options_.device + ": " + std::string(tests_->failed()) + " failed");
    return {};
}

result<void> random_filler::write_block(std::uint64_t offset, const std::atomic<bool>& stop) {
    block_header block;
    block.id = random_uuid<block_id>();
    block.kind = block_kind::random;
    block.strength = options_.strength;
    block.stream = {site_, site_};
    block.range = {offset, options_.block_size};
    TRY(auto writer, pad_file_writer::create(incoming_, block));
    buffer piece(read_step);
    for (std::uint64_t done = 0; done < block.range.size;) {
        const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(read_step, block.range.size - done));
        TRY_VOID(fill(piece.span(0, step), stop));
        TRY_VOID(writer.append(piece.view(0, step)));
        done += step;
    }
    TRY(const auto path, writer.finish());
    return {};
}

result<void> random_filler::make_block(std::uint64_t offset, std::shared_ptr<const std::atomic<bool>> stop) {
    TRY_VOID(open());
    if (!tests_) {
        tests_.emplace(options_.min_entropy);
        buffer samples(startup_sample_count);
        auto begun = fill(samples.span(0, startup_sample_count), *stop);
        if (!begun) {
            tests_.reset();
            return begun;
        }
    }
    auto written = write_block(offset, *stop);
    if (!written) {
        tests_.reset();
        source_.reset();
    }
    return written;
}

}  // namespace warifu
