#include "fs/volume/metadata_pieces.h"

#include <algorithm>
#include <bit>

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

std::size_t chunk_payload_of(std::uint32_t piece_payload_size) {
    WARIFU_ASSERT(piece_payload_size > 0 && piece_payload_size <= chunk_size_max);
    const std::size_t pieces = std::max<std::size_t>(1, table_chunk_payload_size_max / piece_payload_size);
    return std::min(pieces, chunk_piece_count_max) * piece_payload_size;
}

/// What a buffer of this size takes of memory (fs/base/buffer.h rounds up).
std::size_t footprint(std::size_t size) {
    return std::bit_ceil(std::max<std::size_t>(size, 4096));
}

}  // namespace

/// One piece that a reader wants: found, or being fetched by it or by somebody else.
struct metadata_pieces::wanted {
    std::uint32_t number = 0;
    piece bytes;
    std::shared_ptr<fetch> pending;
    bool ours = false;
};

metadata_pieces::metadata_pieces(table_chunk_io& io, metadata_files_options options)
    : io_(io), options_(options), chunk_payload_size_(chunk_payload_of(options.piece_payload_size)) {}

std::uint32_t metadata_pieces::piece_count(const table_chunk& chunk) const {
    return static_cast<std::uint32_t>(divide_up(chunk.payload_size, options_.piece_payload_size));
}

std::size_t metadata_pieces::piece_size(const table_chunk& chunk, std::uint32_t piece) const {
    const std::uint64_t start = std::uint64_t{piece} * options_.piece_payload_size;
    return static_cast<std::size_t>(std::min<std::uint64_t>(options_.piece_payload_size, chunk.payload_size - start));
}

result<table_chunk> metadata_pieces::put(bytes_view payload) {
    WARIFU_ASSERT(!payload.empty() && payload.size() <= chunk_payload_size_);
    auto chunk = io_.put_table_chunk(payload);
    if (!chunk) {
        const std::lock_guard lock(mutex_);
        ++counters_.put_errors;
        return chunk;
    }
    WARIFU_ASSERT(chunk->payload_size == payload.size());
    std::vector<piece> pieces;
    for (std::size_t at = 0; at < payload.size(); at += options_.piece_payload_size) {
        const auto part = payload.subspan(at, std::min<std::size_t>(options_.piece_payload_size, payload.size() - at));
        pieces.push_back(std::make_shared<const buffer>(buffer::copy_of(part)));
    }
    const std::lock_guard lock(mutex_);
    ++counters_.chunks_put;
    counters_.bytes_put += payload.size();
    for (std::uint32_t i = 0; i < pieces.size(); ++i) insert({chunk->chunk, i}, std::move(pieces[i]));
    return chunk;
}

result<std::vector<metadata_pieces::piece>> metadata_pieces::get(const table_chunk& chunk, std::uint32_t first,
                                                                 std::uint32_t count) {
    WARIFU_ASSERT(first <= piece_count(chunk) && count <= piece_count(chunk) - first);
    std::vector<wanted> pieces(count);
    for (std::uint32_t i = 0; i < count; ++i) pieces[i].number = first + i;
    {
        const std::lock_guard lock(mutex_);
        claim(chunk, pieces);
    }
    fetch_claimed(chunk, pieces);
    std::vector<piece> found;
    found.reserve(count);
    std::unique_lock lock(mutex_);
    for (auto& w : pieces) {
        if (!w.bytes) {
            // Those that we claimed are done; a deadline on the others is that of the thread that asks the sites.
            fetched_.wait(lock, [&w] { return w.pending->done; });
            TRY(w.bytes, w.pending->outcome);
        }
        found.push_back(std::move(w.bytes));
    }
    return found;
}

void metadata_pieces::claim(const table_chunk& chunk, std::vector<wanted>& pieces) {
    for (auto& w : pieces) {
        const key k{chunk.chunk, w.number};
        if (const auto hit = index_.find(k); hit != index_.end()) {
            recent_.splice(recent_.begin(), recent_, hit->second);
            w.bytes = hit->second->bytes;
            ++counters_.pieces_hit;
        } else if (const auto other = in_flight_.find(k); other != in_flight_.end()) {
            w.pending = other->second;
        } else {
            w.pending = std::make_shared<fetch>();
            w.ours = true;
            in_flight_.emplace(k, w.pending);
        }
    }
}

void metadata_pieces::fetch_claimed(const table_chunk& chunk, std::vector<wanted>& pieces) {
    for (std::size_t i = 0; i < pieces.size();) {
        if (!pieces[i].ours) {
            ++i;
            continue;
        }
        std::size_t end = i + 1;
        while (end < pieces.size() && pieces[end].ours) ++end;
        auto fetched = fetch_run(chunk, pieces[i].number, static_cast<std::uint32_t>(end - i));
        const std::lock_guard lock(mutex_);
        for (std::size_t j = i; j < end; ++j) {
            const key k{chunk.chunk, pieces[j].number};
            auto& pending = *pieces[j].pending;
            if (fetched) {
                pieces[j].bytes = std::make_shared<const buffer>(std::move((*fetched)[j - i]));
                pending.outcome = pieces[j].bytes;
                insert(k, pieces[j].bytes);
                ++counters_.pieces_fetched;
            } else {
                pending.outcome = std::unexpected(fetched.error());
                ++counters_.fetch_errors;
            }
            pending.done = true;
            in_flight_.erase(k);
        }
        fetched_.notify_all();
        i = end;
    }
}

result<std::vector<buffer>> metadata_pieces::fetch_run(const table_chunk& chunk, std::uint32_t first,
                                                       std::uint32_t count) {
    TRY(auto fetched, io_.get_table_pieces(chunk, first, count));
    if (fetched.size() != count) return fail(errc::bad_format, "a table chunk gave another number of pieces");
    for (std::uint32_t i = 0; i < count; ++i) {
        if (fetched[i].size() != piece_size(chunk, first + i))
            return fail(errc::bad_format, "a piece of a table chunk has another size");
    }
    return fetched;
}

void metadata_pieces::insert(const key& k, piece bytes) {
    const std::size_t size = footprint(bytes->size());
    if (size > options_.cache_size || index_.contains(k)) return;
    recent_.push_front({k, std::move(bytes)});
    index_.emplace(k, recent_.begin());
    counters_.cached_size += size;
    while (counters_.cached_size > options_.cache_size) {
        counters_.cached_size -= footprint(recent_.back().bytes->size());
        index_.erase(recent_.back().k);
        recent_.pop_back();
    }
}

void metadata_pieces::forget(const table_chunk& chunk) {
    const std::lock_guard lock(mutex_);
    for (std::uint32_t i = 0; i < piece_count(chunk); ++i) {
        const auto it = index_.find({chunk.chunk, i});
        if (it == index_.end()) continue;
        counters_.cached_size -= footprint(it->second->bytes->size());
        recent_.erase(it->second);
        index_.erase(it);
    }
}

metadata_files_counters metadata_pieces::counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
}

}  // namespace warifu
