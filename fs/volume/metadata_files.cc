#include "fs/volume/metadata_files.h"

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <set>

#include "fs/volume/metadata_file_system.h"

namespace warifu {

class metadata_files::impl {
  public:
    impl(table_chunk_io& io, metadata_files_options options)
        : state(std::make_shared<metadata_state>(io, options)), file_system(make_metadata_file_system(state)) {}

    std::shared_ptr<metadata_state> state;
    std::shared_ptr<rocksdb::FileSystem> file_system;
    std::shared_ptr<rocksdb::Cache> block_cache;  // guarded by state->mutex
};

result<std::vector<buffer>> table_chunk_io::get_table_pieces(const table_chunk& chunk, std::uint32_t first,
                                                             std::uint32_t count) {
    std::vector<buffer> pieces;
    pieces.reserve(count);
    for (std::uint32_t i = 0; i < count; ++i) {
        TRY(auto piece, get_table_piece(chunk, first + i));
        pieces.push_back(std::move(piece));
    }
    return pieces;
}

metadata_files::metadata_files(table_chunk_io& io, metadata_files_options options)
    : impl_(std::make_shared<impl>(io, options)), env_(rocksdb::NewCompositeEnv(impl_->file_system)) {}

metadata_files::~metadata_files() = default;

std::shared_ptr<rocksdb::FileSystem> metadata_files::file_system() {
    return impl_->file_system;
}

rocksdb::Env* metadata_files::env() {
    return env_.get();
}

std::shared_ptr<rocksdb::Cache> metadata_files::block_cache(
    const std::function<std::shared_ptr<rocksdb::Cache>()>& make) {
    const std::lock_guard lock(impl_->state->mutex);
    if (!impl_->block_cache) impl_->block_cache = make();
    return impl_->block_cache;
}

edit_batch metadata_files::take_edits(std::size_t size_max) {
    const std::lock_guard lock(impl_->state->mutex);
    return impl_->state->files.take(size_max);
}

bool metadata_files::has_edits() const {
    const std::lock_guard lock(impl_->state->mutex);
    return impl_->state->files.has_edits();
}

byte_vector metadata_files::snapshot() const {
    const std::lock_guard lock(impl_->state->mutex);
    return impl_->state->files.snapshot();
}

std::size_t metadata_files::snapshot_size() const {
    const std::lock_guard lock(impl_->state->mutex);
    return impl_->state->files.snapshot_size();
}

result<void> metadata_files::load_edits(bytes_view edits) {
    const std::lock_guard lock(impl_->state->mutex);
    return impl_->state->files.load(edits);
}

std::vector<table_chunk> metadata_files::live_table_chunks() const {
    const std::lock_guard lock(impl_->state->mutex);
    std::vector<table_chunk> chunks = impl_->state->unfinished;
    std::set<const table_layout*> seen;  // one table may have two names: before and after a renaming that is pending
    for (const auto* view : {&impl_->state->files.live(), &impl_->state->files.taken()}) {
        for (const auto& [name, entry] : view->files) {
            if (!entry.table || !seen.insert(entry.table.get()).second) continue;
            chunks.insert(chunks.end(), entry.table->chunks.begin(), entry.table->chunks.end());
        }
    }
    return chunks;
}

metadata_files_counters metadata_files::counters() const {
    auto counters = impl_->state->pieces.counters();
    const std::lock_guard lock(impl_->state->mutex);
    for (const auto& [name, entry] : impl_->state->files.live().files) {
        if (entry.bytes) counters.file_size += entry.size;
    }
    return counters;
}

}  // namespace warifu
