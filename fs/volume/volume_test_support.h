#pragma once
// A volume over memory stores with a core thread of its own, and the few calls of a writer that tests need.

#include <algorithm>
#include <gtest/gtest.h>
#include <thread>

#include "backends/memory/faulty_store.h"
#include "backends/memory/memory_store.h"
#include "fs/async/wait.h"
#include "fs/volume/volume.h"

namespace warifu::test {

class core_thread {
  public:
    core_thread() : guard_(asio::make_work_guard(context)), thread_([this] { context.run(); }) {}
    ~core_thread() {
        guard_.reset();
        context.stop();
        thread_.join();
    }
    asio::io_context context;

  private:
    asio::executor_work_guard<asio::io_context::executor_type> guard_;
    std::thread thread_;
};

class memory_sites {
  public:
    memory_sites(asio::io_context& core, unsigned k, unsigned n) : core_(core), threshold(k) {
        fill_kernel_random(id.bytes);
        for (unsigned i = 0; i < n; ++i) {
            stores.push_back(std::make_shared<memory_store>());
            sites.push_back(std::make_shared<faulty_store>(core.get_executor(), stores.back()));
        }
    }

    volume_options options(open_mode mode = open_mode::write) {
        volume_options o;
        o.id = id;
        o.threshold = threshold;
        o.mode = mode;
        o.memory_size = 16U << 20U;
        o.removal_delay_ms = 50;
        o.writer_wait_ms = 200;
        for (std::size_t i = 0; i < sites.size(); ++i) {
            volume_site site;
            site.name = "site" + std::to_string(i + 1);
            site.store = sites[i];
            o.sites.push_back(site);
        }
        return o;
    }
    void create() {
        const auto made = run_on(core_, volume::create(core_, options()));
        ASSERT_TRUE(made) << made.error().message();
    }
    /// All stores lose what is not durable, as if every machine lost power.
    void crash() {
        run([this] {
            for (const auto& store : stores) store->crash();
        });
    }
    bool holds(std::size_t site, chunk_id chunk) { return run_on(core_, stores[site]->describe(chunk)).has_value(); }
    /// Runs `change` on the core thread, which owns the stores.
    void run(auto change) {
        std::promise<void> done;
        asio::post(core_, [&] {
            change();
            done.set_value();
        });
        done.get_future().get();
    }

    volume_id id;
    asio::io_context& core_;
    unsigned threshold;
    std::vector<std::shared_ptr<memory_store>> stores;
    std::vector<std::shared_ptr<faulty_store>> sites;
};

/// One writer: files of one piece each.
class writer_of {
  public:
    writer_of(asio::io_context& core, std::unique_ptr<volume> opened) : core_(core), volume_(std::move(opened)) {}
    ~writer_of() {
        if (volume_) (void)run_on(core_, volume_->close());
    }
    writer_of(writer_of&&) = default;
    volume& operator*() { return *volume_; }
    volume* operator->() { return volume_.get(); }

    result<void> write_file(const std::string& name, bytes_view content) {
        const chunk_id chunk = volume_->allocate_chunk();
        {
            const std::lock_guard lock(volume_->names_lock());
            new_inode fresh;
            fresh.mode = 0100644;
            fresh.now = time_stamp::now();
            TRY(inode made, volume_->names().create(root_inode, name, fresh));
            made.size = content.size();
            extent e;
            e.size = static_cast<std::uint32_t>(content.size());
            e.piece_size = e.size;
            e.chunk = chunk;
            TRY_VOID(volume_->names().replace_extents(made, 0, content.size(), {e}));
        }
        std::vector<slice> pieces;
        pieces.emplace_back(buffer::copy_of(content));
        TRY_VOID(run_on(core_, volume_->put_chunk(chunk, std::move(pieces))));
        chunks_.push_back(chunk);
        last_chunk = chunk;
        return {};
    }
    result<void> remove_file(const std::string& name) {
        const std::lock_guard lock(volume_->names_lock());
        TRY(const inode gone, volume_->names().unlink(root_inode, name, time_stamp::now()));
        TRY_VOID(volume_->names().forget_orphan(gone.number, 1000));
        return {};
    }
    result<void> commit() {
        std::unique_ptr<captured_edits> edits = capture();
        return run_on(core_, volume_->commit(std::move(edits), std::exchange(chunks_, {})));
    }
    std::unique_ptr<captured_edits> capture() {
        const std::lock_guard lock(volume_->names_lock());
        return volume_->capture();
    }
    result<byte_vector> read_file(const std::string& name) {
        TRY(const inode found, volume_->names().lookup(root_inode, name));
        TRY(const auto extents, volume_->names().extents(found.number, 0, found.size));
        byte_vector all;
        for (const extent& e : extents) {
            TRY(const slice part, run_on(core_, volume_->read(e, e.piece_offset, e.size)));
            all.insert(all.end(), part.view().begin(), part.view().end());
        }
        return all;
    }
    /// Commits now and then so that requests for snapshots are served; true once `done` holds, false after ten seconds.
    bool until(auto done) {
        for (int i = 0; i < 500; ++i) {
            if (done()) return true;
            if (!commit()) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        return done();
    }
    bool all_members() {
        const volume_status now = volume_->status();
        return std::ranges::all_of(now.sites, [](const auto& s) { return s.role == site_role::member; });
    }

    chunk_id last_chunk;

  private:
    asio::io_context& core_;
    std::unique_ptr<volume> volume_;
    std::vector<chunk_id> chunks_;
};

inline result<writer_of> open_writer(memory_sites& sites, open_mode mode = open_mode::write, bool takeover = true) {
    volume_options options = sites.options(mode);
    options.takeover = takeover;
    TRY(auto opened, run_on(sites.core_, volume::open(sites.core_, std::move(options))));
    return writer_of(sites.core_, std::move(opened));
}

inline byte_vector pattern(std::size_t size, unsigned seed) {
    byte_vector bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + seed * 97 + (i >> 8U)) & 0xffU);
    return bytes;
}

}  // namespace warifu::test
