#pragma once
// A device in memory that forgets like a disk does: what was written since the last flush may be there after a crash or
// not, each sector for itself. For tests; it can also stop working at a chosen operation.

#include <functional>
#include <random>

#include "backends/block/device.h"
#include "fs/async/wait.h"

namespace warifu {

/// What a disk holds, and what a crash may make of it.
struct disk_image {
    explicit disk_image(std::uint64_t sectors) : durable(sectors * sector_size), live(durable) {}

    struct unflushed_sector {
        std::uint64_t sector;
        byte_vector bytes;
    };
    byte_vector durable;
    byte_vector live;                         // what reads see
    std::vector<unflushed_sector> unflushed;  // in the order of writing

    /// One possible disk after a crash now: each unflushed sector is there with the same chance, drawn first.
    template <typename Random>
    std::shared_ptr<disk_image> crashed(Random& random) const {
        auto out = std::make_shared<disk_image>(0);
        out->durable = durable;
        static constexpr double chances[] = {0.0, 0.2, 0.5, 0.8, 0.95, 1.0};
        std::bernoulli_distribution kept(chances[random() % std::size(chances)]);
        for (const unflushed_sector& one : unflushed)
            if (kept(random))
                std::memcpy(out->durable.data() + one.sector * sector_size, one.bytes.data(), sector_size);
        out->live = out->durable;
        return out;
    }
};

class crash_device final : public device {
  public:
    crash_device(asio::any_io_executor executor, std::shared_ptr<disk_image> image)
        : device(image->live.size() / sector_size), executor_(std::move(executor)), image_(std::move(image)) {}

    /// The device fails for good at the operation after the next `operations`; the last write before may be torn.
    std::optional<std::uint64_t> operations_left;
    std::uint64_t operation_count = 0;
    bool has_crashed = false;
    bool fail_writes = false;  // writes and flushes fail, reads work
    std::shared_ptr<event> hold_next_write;  // the next write, and none after it, waits for this
    std::size_t unanswered_writes = 0;
    std::function<unsigned()> delay;  // of each write, in turns of the loop: the order of writes under way is open

  private:
    task<> do_run(std::vector<transfer> transfers) override {
        const bool is_write = !transfers.empty() && transfers[0].is_write;
        const auto gate = is_write ? std::exchange(hold_next_write, nullptr) : nullptr;
        unanswered_writes += is_write ? 1 : 0;
        auto done = co_await run_all(std::move(transfers), gate);
        unanswered_writes -= is_write ? 1 : 0;
        co_return done;
    }
    task<> run_all(std::vector<transfer> transfers, std::shared_ptr<event> gate) {
        co_await asio::post(executor_, asio::use_awaitable);
        if (gate) co_await gate->wait();
        for (unsigned turns = delay && transfers[0].is_write ? delay() : 0; turns > 0; --turns)
            co_await asio::post(executor_, asio::use_awaitable);
        for (const transfer& one : transfers) {
            if (!count()) co_return fail(errc::io_error, "crashed");
            if (one.is_write && fail_writes) co_return fail(errc::io_error, "injected");
            run(one);
        }
        co_await asio::post(executor_, asio::use_awaitable);
        co_return result<void>{};
    }
    task<> do_flush() override {
        const std::size_t covered = image_->unflushed.size();
        co_await asio::post(executor_, asio::use_awaitable);
        if (!count() || fail_writes) co_return fail(errc::io_error, "crashed");
        for (std::size_t i = 0; i < covered; ++i) {
            const auto& one = image_->unflushed[i];
            std::memcpy(image_->durable.data() + one.sector * sector_size, one.bytes.data(), sector_size);
        }
        image_->unflushed.erase(image_->unflushed.begin(),
                                image_->unflushed.begin() + static_cast<std::ptrdiff_t>(covered));
        co_return result<void>{};
    }
    bool count() {
        ++operation_count;
        if (operations_left && (*operations_left)-- == 0) {
            has_crashed = true;
            operations_left = 0;
        }
        return !has_crashed;
    }
    void run(const transfer& one) {
        std::uint64_t at = one.offset;
        for (const iovec& part : one.parts) {
            if (!one.is_write) {
                std::memcpy(part.iov_base, image_->live.data() + at, part.iov_len);
            } else {
                std::memcpy(image_->live.data() + at, part.iov_base, part.iov_len);
                for (std::size_t i = 0; i < part.iov_len; i += sector_size) {
                    const auto* from = static_cast<const std::byte*>(part.iov_base) + i;
                    disk_image::unflushed_sector sector;
                    sector.sector = (at + i) / sector_size;
                    sector.bytes.assign(from, from + sector_size);
                    image_->unflushed.push_back(std::move(sector));
                }
            }
            at += part.iov_len;
        }
    }

    asio::any_io_executor executor_;
    std::shared_ptr<disk_image> image_;
};

}  // namespace warifu
