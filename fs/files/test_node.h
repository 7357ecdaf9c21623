#pragma once
// For tests: one run of a file system over memory_sites with its core thread. Destroying it without stop() is a crash.

#include <gtest/gtest.h>
#include <thread>

#include "fs/files/file_system.h"
#include "fs/files/memory_volume.h"

namespace warifu::testing {

class test_node {
  public:
    explicit test_node(std::shared_ptr<memory_sites> where, file_system_options options = quick())
        : sites(std::move(where)), guard_(asio::make_work_guard(core)), vol(sites) {
        fs = file_system::make(core, vol, options);
        thread_ = std::thread([this] { core.run(); });
    }
    ~test_node() {
        core.stop();
        thread_.join();
    }

    /// Commits every 20 ms; a small budget, so that tests reach it.
    static file_system_options quick() {
        file_system_options options;
        options.commit_interval_ms = 20;
        options.dirty_size_max = 48U << 20U;
        options.read_cache_size = 24U << 20U;
        options.read_ahead_size = 8U << 20U;
        return options;
    }

    result<void> stop() { return asio::co_spawn(core, drain(fs.get()), asio::use_future).get(); }
    result<void> finish(std::uint64_t ticket) {
        return asio::co_spawn(core, wait(fs.get(), ticket), asio::use_future).get();
    }
    result<void> sync(file_handle handle) { return fs->sync(core, handle); }
    result<void> sync_all() {
        TRY(const auto ticket, fs->begin_sync_all());
        return finish(ticket);
    }

    inode create(std::string_view name, inode_number parent = root_inode) {
        new_inode fresh;
        fresh.mode = 0100644;
        fresh.now = time_stamp::now();
        auto made = fs->create(parent, name, fresh);
        EXPECT_TRUE(made.has_value()) << made.error().message();
        return made ? *made : inode{};
    }
    inode make_directory(std::string_view name, inode_number parent = root_inode) {
        new_inode fresh;
        fresh.mode = 0040755;
        fresh.now = time_stamp::now();
        auto made = fs->create(parent, name, fresh);
        EXPECT_TRUE(made.has_value()) << made.error().message();
        return made ? *made : inode{};
    }
    file_handle open(inode_number number, bool writing = true) {
        auto opened = fs->open(number, writing);
        EXPECT_TRUE(opened.has_value()) << opened.error().message();
        return opened ? *opened : 0;
    }
    result<void> write(file_handle handle, std::uint64_t offset, std::string_view text) {
        return fs->write_all(core, handle, offset, as_bytes_view(text));
    }
    std::string read(file_handle handle, std::uint64_t offset, std::uint64_t size) {
        auto parts = fs->read(core, handle, offset, size);
        EXPECT_TRUE(parts.has_value()) << parts.error().message();
        std::string joined;
        if (parts)
            for (const auto& part : *parts) joined += as_text(part.view());
        return joined;
    }
    /// A closed file of this name and content. `durable`: fsync before close.
    void put_file(std::string_view name, std::string_view text, bool durable = false,
                  inode_number parent = root_inode) {
        const auto handle = open(create(name, parent).number);
        EXPECT_TRUE(write(handle, 0, text).has_value());
        if (durable) EXPECT_TRUE(sync(handle).has_value());
        EXPECT_TRUE(fs->flush(handle).has_value());
        fs->release(handle);
    }
    std::string get_file(std::string_view name, inode_number parent = root_inode) {
        const auto found = fs->lookup(parent, name);
        EXPECT_TRUE(found.has_value()) << found.error().message();
        if (!found) return {};
        const auto handle = open(found->number, false);
        std::string text = read(handle, 0, found->size);
        fs->release(handle);
        return text;
    }

    asio::io_context core;
    const std::shared_ptr<memory_sites> sites;

  private:
    static awaitable<result<void>> drain(file_system* files) { co_return co_await files->drain(nullptr); }
    static awaitable<result<void>> wait(file_system* files, std::uint64_t ticket) {
        co_return co_await files->finish_sync(ticket);
    }
    asio::executor_work_guard<asio::io_context::executor_type> guard_;

  public:
    memory_volume vol;
    std::unique_ptr<file_system> fs;

  private:
    std::thread thread_;
};

/// Reproducible bytes that differ by place.
inline std::string pattern(std::size_t size, std::uint64_t seed) {
    std::string text(size, '\0');
    std::uint64_t x = seed * 0x9e3779b97f4a7c15ULL + 1;
    for (std::size_t i = 0; i < size; i += 8) {
        x ^= x << 13U;
        x ^= x >> 7U;
        x ^= x << 17U;
        std::memcpy(text.data() + i, &x, std::min<std::size_t>(8, size - i));
    }
    return text;
}

}  // namespace warifu::testing
