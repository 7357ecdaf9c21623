#pragma once
// A table_chunk_io in memory for tests: keeps chunks, counts calls, fails on demand, can make readers wait.

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "fs/volume/metadata_files.h"

namespace warifu {

class memory_table_io : public table_chunk_io {
  public:
    explicit memory_table_io(std::uint32_t piece_size) : piece_size_(piece_size) {}

    result<table_chunk> put_table_chunk(bytes_view payload) override {
        const std::lock_guard lock(mutex_);
        if (put_error) return fail(*put_error, "put refused by the test");
        const table_chunk chunk{{{1, 2}, ++sequence_}, 7, static_cast<std::uint32_t>(payload.size())};
        chunks_[chunk.chunk] = byte_vector(payload.begin(), payload.end());
        return chunk;
    }

    result<buffer> get_table_piece(const table_chunk& chunk, std::uint32_t piece) override {
        ++gets;
        while (hold_gets) std::this_thread::yield();
        const std::lock_guard lock(mutex_);
        if (get_error) return fail(*get_error, "get refused by the test");
        const auto it = chunks_.find(chunk.chunk);
        if (it == chunks_.end()) return fail(errc::not_found, "the test's store has no such chunk");
        const bytes_view bytes = it->second;
        const std::size_t start = std::size_t{piece} * piece_size_;
        if (start >= bytes.size()) return fail(errc::bad_argument, "no such piece");
        return buffer::copy_of(bytes.subspan(start, std::min<std::size_t>(piece_size_, bytes.size() - start)));
    }

    void drop(const chunk_id& chunk) {
        const std::lock_guard lock(mutex_);
        chunks_.erase(chunk);
    }
    bool holds(const chunk_id& chunk) const {
        const std::lock_guard lock(mutex_);
        return chunks_.contains(chunk);
    }
    std::size_t chunk_count() const {
        const std::lock_guard lock(mutex_);
        return chunks_.size();
    }
    void set_put_error(std::optional<errc> e) {
        const std::lock_guard lock(mutex_);
        put_error = e;
    }
    void set_get_error(std::optional<errc> e) {
        const std::lock_guard lock(mutex_);
        get_error = e;
    }

    std::atomic<int> gets = 0;
    std::atomic<bool> hold_gets = false;

  private:
    const std::uint32_t piece_size_;
    mutable std::mutex mutex_;
    std::map<chunk_id, byte_vector> chunks_;
    std::uint64_t sequence_ = 0;
    std::optional<errc> put_error, get_error;
};

}  // namespace warifu
