#include "fs/volume/metadata_file_handles.h"

#include <algorithm>

#include "fs/base/assert.h"
#include "fs/base/limits.h"

namespace warifu {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

/// RocksDB retries what may pass. It calls everything else fatal and never writes again, so only the loss of authority
/// is.
bool may_pass(errc code) {
    return code != errc::stale_epoch;
}

bytes_view bytes_of(const Slice& data) {
    return as_bytes_view(std::string_view(data.data(), data.size()));
}

}  // namespace

IOStatus to_io_status(const error& e) {
    auto status = IOStatus::IOError(e.message());
    status.SetRetryable(may_pass(e.code));
    return status;
}

IOStatus memory_reader::Read(std::uint64_t offset, std::size_t n, const IOOptions& /*options*/, Slice* result,
                             char* scratch, IODebugContext* /*debug*/) const {
    const std::lock_guard lock(state_->mutex);
    const std::size_t size = bytes_->read(offset, std::as_writable_bytes(std::span(scratch, n)));
    *result = Slice(scratch, size);
    return IOStatus::OK();
}

result<void> table_reader::visit(std::uint64_t offset, std::size_t size, std::byte* out) const {
    const std::uint64_t piece_size = state_->pieces.piece_payload_size();
    while (size > 0) {
        const auto index =
            static_cast<std::size_t>(std::ranges::upper_bound(table_->ends, offset) - table_->ends.begin());
        const table_chunk& chunk = table_->chunks[index];
        const std::uint64_t start = table_->ends[index] - chunk.payload_size;
        const auto here = static_cast<std::size_t>(std::min<std::uint64_t>(size, table_->ends[index] - offset));
        const std::uint64_t at = offset - start;
        const auto first = static_cast<std::uint32_t>(at / piece_size);
        const auto last = static_cast<std::uint32_t>((at + here - 1) / piece_size);
        TRY(const auto pieces, state_->pieces.get(chunk, first, last - first + 1));
        std::size_t skip = at % piece_size;
        std::size_t left = here;
        for (const auto& piece : pieces) {
            const std::size_t part = std::min(left, piece->size() - skip);
            if (out != nullptr) {
                std::memcpy(out, piece->data() + skip, part);
                out += part;
            }
            left -= part;
            skip = 0;
        }
        offset += here;
        size -= here;
    }
    return {};
}

IOStatus table_reader::Read(std::uint64_t offset, std::size_t n, const IOOptions& /*options*/, Slice* result,
                            char* scratch, IODebugContext* /*debug*/) const {
    *result = Slice(scratch, 0);
    if (offset >= table_->size()) return IOStatus::OK();
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(n, table_->size() - offset));
    const auto done = visit(offset, size, std::as_writable_bytes(std::span(scratch, size)).data());
    if (!done) return to_io_status(done.error());
    *result = Slice(scratch, size);
    return IOStatus::OK();
}

IOStatus table_reader::Prefetch(std::uint64_t offset, std::size_t n, const IOOptions& /*options*/,
                                IODebugContext* /*debug*/) {
    if (offset >= table_->size()) return IOStatus::OK();
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(n, table_->size() - offset));
    // More would push out what was just fetched.
    if (size > state_->pieces.cache_size() / 4) return IOStatus::NotSupported("a prefetch larger than the cache");
    const auto done = visit(offset, size, nullptr);
    return done ? IOStatus::OK() : to_io_status(done.error());
}

IOStatus sequential_reader::Read(std::size_t n, const IOOptions& options, Slice* result, char* scratch,
                                 IODebugContext* debug) {
    auto status = file_->Read(offset_, n, options, result, scratch, debug);
    if (status.ok()) offset_ += result->size();
    return status;
}

IOStatus sequential_reader::Skip(std::uint64_t n) {
    offset_ += n;
    return IOStatus::OK();
}

IOStatus memory_writer::Append(const Slice& data, const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    const std::lock_guard lock(state_->mutex);
    if (data.size() > metadata_file_size_max - bytes_->size()) return IOStatus::IOError("a metadata file is too large");
    state_->files.append(bytes_, bytes_of(data));
    return IOStatus::OK();
}

IOStatus memory_writer::Truncate(std::uint64_t size, const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    const std::lock_guard lock(state_->mutex);
    if (size > bytes_->size()) return IOStatus::InvalidArgument("a cut beyond the end of a metadata file");
    if (size < bytes_->size()) bytes_ = state_->files.truncate(bytes_, size);
    return IOStatus::OK();
}

IOStatus memory_writer::Close(const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    return IOStatus::OK();
}
IOStatus memory_writer::Flush(const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    return IOStatus::OK();
}
// Ordered before later edits is all that Sync means here: the stream is that order.
IOStatus memory_writer::Sync(const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    return IOStatus::OK();
}

std::uint64_t memory_writer::GetFileSize(const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    const std::lock_guard lock(state_->mutex);
    return bytes_->size();
}

table_writer::table_writer(std::shared_ptr<metadata_state> state, std::string name)
    : state_(std::move(state)), name_(std::move(name)), collected_(state_->pieces.chunk_payload_size()) {}

table_writer::~table_writer() {
    if (closed_ || chunks_.empty()) return;
    const std::lock_guard lock(state_->mutex);
    for (const auto& chunk : chunks_) std::erase(state_->unfinished, chunk);
    state_->files.abandon(std::move(chunks_));
}

result<void> table_writer::put_collected() {
    if (collected_size_ == 0) return {};
    TRY(const auto chunk, state_->pieces.put(collected_.view(0, collected_size_)));
    chunks_.push_back(chunk);
    put_size_ += collected_size_;
    collected_size_ = 0;
    const std::lock_guard lock(state_->mutex);
    state_->unfinished.push_back(chunk);
    return {};
}

IOStatus table_writer::Append(const Slice& data, const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    if (closed_) return IOStatus::IOError("an append to a closed table");
    for (bytes_view left = bytes_of(data); !left.empty();) {
        // A chunk is put when the next byte needs the room, so a failed put leaves nothing half taken.
        if (collected_size_ == collected_.size()) {
            if (chunks_.size() + 1 >= table_chunk_count_max) return IOStatus::IOError("a table file is too large");
            if (const auto done = put_collected(); !done) return to_io_status(done.error());
        }
        const std::size_t part = std::min(left.size(), collected_.size() - collected_size_);
        std::memcpy(collected_.data() + collected_size_, left.data(), part);
        collected_size_ += part;
        left = left.subspan(part);
    }
    return IOStatus::OK();
}

IOStatus table_writer::Flush(const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    return IOStatus::OK();
}

IOStatus table_writer::Sync(const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    if (chunks_.size() >= table_chunk_count_max) return IOStatus::IOError("a table file is too large");
    const auto done = put_collected();
    return done ? IOStatus::OK() : to_io_status(done.error());
}

IOStatus table_writer::Close(const IOOptions& options, IODebugContext* debug) {
    if (closed_) return IOStatus::OK();
    auto synced = Sync(options, debug);
    if (!synced.ok()) return synced;
    closed_ = true;
    collected_ = buffer();
    const std::lock_guard lock(state_->mutex);
    for (const auto& chunk : chunks_) std::erase(state_->unfinished, chunk);
    state_->files.put_table(name_, std::make_shared<const table_layout>(std::move(chunks_)));
    chunks_.clear();
    return IOStatus::OK();
}

std::uint64_t table_writer::GetFileSize(const IOOptions& /*options*/, IODebugContext* /*debug*/) {
    return put_size_ + collected_size_;
}

}  // namespace warifu
