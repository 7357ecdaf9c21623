#pragma once
// For tests: a sector store on a device in memory, and short ways to use it.

#include <gtest/gtest.h>

#include "backends/block/block_store.h"
#include "backends/block/crash_device.h"
#include "backends/run_task.h"

namespace warifu {

inline constexpr ballot test_writer{1, 1};
inline const volume_id test_volume{{std::byte{7}}};

inline byte_vector test_bytes(std::size_t size, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    byte_vector out(size);
    for (std::byte& b : out) b = static_cast<std::byte>(random() >> 13U);
    return out;
}

struct memory_disk_store {
    asio::io_context core;
    std::shared_ptr<disk_image> image;
    crash_device* disk = nullptr;  // the store's
    block_store_options options;
    std::unique_ptr<block_store> store;
    std::shared_ptr<share_store> volume;
    std::uint64_t next_record = 1;

    explicit memory_disk_store(std::uint64_t size = 16U << 20U)
        : image(std::make_shared<disk_image>(size / sector_size)) {
        const auto fresh = std::make_unique<crash_device>(core.get_executor(), image);
        EXPECT_TRUE(run(block_store::format_device(*fresh, options)));
        EXPECT_TRUE(open());
        EXPECT_TRUE(run(volume->promise(test_writer)));
    }
    ~memory_disk_store() { drop(); }

    template <typename T>
    result<T> run(task<T> work) {
        return run_task(core, std::move(work));
    }
    result<void> open() {
        auto fresh = std::make_unique<crash_device>(core.get_executor(), image);
        disk = fresh.get();
        auto opened = run(block_store::open_device(core, std::move(fresh), options));
        if (!opened) return fail(opened.error());
        store = std::move(*opened);
        volume = *store->open_volume(test_volume);
        return {};
    }
    void drop() {
        volume.reset();
        store.reset();
        settle();
    }
    result<void> reopen() {
        drop();
        return open();
    }
    /// Lets the background work finish.
    void settle() {
        core.restart();
        core.run();
    }

    static chunk_id id(std::uint64_t sequence) { return chunk_id{test_writer, sequence}; }
    static share_put share(std::uint64_t sequence, std::vector<std::size_t> sizes) {
        share_put out;
        out.chunk = id(sequence);
        out.authority = test_writer;
        out.side = slice(buffer::copy_of(test_bytes(64, sequence * 1000 + 999)));
        for (std::size_t i = 0; i < sizes.size(); ++i)
            out.pieces.emplace_back(buffer::copy_of(test_bytes(sizes[i], sequence * 1000 + i)));
        return out;
    }
    result<void> put(std::uint64_t sequence, std::vector<std::size_t> sizes) {
        return run(volume->put(share(sequence, std::move(sizes))));
    }
    result<void> append(std::vector<chunk_id> chunks = {}, std::size_t size = 100) {
        append_request request;
        request.authority = test_writer;
        request.entry.epoch = test_writer;
        request.entry.sequence = next_record;
        request.entry.chunks = std::move(chunks);
        request.entry.share = slice(buffer::copy_of(test_bytes(size, next_record)));
        auto done = run(volume->append(std::move(request)));
        if (done) ++next_record;
        return done;
    }
    result<byte_vector> read(std::uint64_t sequence, std::uint32_t part, std::uint32_t offset, std::uint32_t size) {
        share_range range;
        range.part = part;
        range.offset = offset;
        range.size = size;
        TRY(const auto got, run(volume->get(id(sequence), std::vector{range})));
        return byte_vector(got[0].view().begin(), got[0].view().end());
    }
    result<void> remove(std::uint64_t sequence, std::vector<std::uint32_t> pieces = {}) {
        share_removal removal;
        removal.chunk = id(sequence);
        removal.pieces = std::move(pieces);
        return run(volume->remove(test_writer, std::vector{removal}));
    }
    std::size_t count() { return run(volume->list(chunk_id(), list_count_max))->size(); }

    /// Sectors whose first bytes are those of `bytes`.
    std::vector<std::uint64_t> find_sectors(bytes_view bytes) const {
        std::vector<std::uint64_t> out;
        for (std::size_t at = 0; at < image->live.size(); at += sector_size)
            if (std::memcmp(image->live.data() + at, bytes.data(), std::min<std::size_t>(bytes.size(), 64)) == 0)
                out.push_back(at / sector_size);
        return out;
    }
    void flip(std::uint64_t sector, std::size_t bit) {
        const std::size_t at = sector * sector_size + bit / 8;
        image->live[at] ^= std::byte{1} << (bit % 8);
        image->durable[at] = image->live[at];
    }
};

}  // namespace warifu
