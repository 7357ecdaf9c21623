// Any bytes as edits: refused, or loaded so that the snapshot says the same again.

#include <cstdint>

#include "fs/base/assert.h"
#include "fs/volume/metadata_files.h"

namespace {

class no_io : public warifu::table_chunk_io {
  public:
    warifu::result<warifu::table_chunk> put_table_chunk(warifu::bytes_view) override {
        return warifu::fail(warifu::errc::unsupported);
    }
    warifu::result<warifu::buffer> get_table_piece(const warifu::table_chunk&, std::uint32_t) override {
        return warifu::fail(warifu::errc::unsupported);
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    no_io io;
    warifu::metadata_files files(io, {4096, 0});
    if (!files.load_edits(std::as_bytes(std::span(data, size)))) return 0;
    WARIFU_ASSERT(!files.has_edits());
    const auto snapshot = files.snapshot();
    WARIFU_ASSERT(snapshot.size() == files.snapshot_size());
    warifu::metadata_files again(io, {4096, 0});
    WARIFU_ASSERT(again.load_edits(snapshot));
    WARIFU_ASSERT(again.snapshot() == snapshot);
    WARIFU_ASSERT(again.live_table_chunks() == files.live_table_chunks());
    return 0;
}
