// Any sectors as a log batch, and its entries into an index. What decodes must encode to the same entries.

#include "backends/block/fuzz_seal.h"
#include "backends/block/store_index.h"
#include "fs/base/assert.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace warifu;
    byte_vector sectors = copy_of_input(data, size);
    static_cast<void>(decode_segment_header(sectors));
    sectors.resize(std::max<std::size_t>(1, sectors.size() / sector_size) * sector_size);
    seal(sectors, 4);
    static_cast<void>(decode_segment_header(sectors));
    const auto batch = decode_batch(sectors);
    if (!batch) return 0;
    byte_vector entries;
    for (const log_entry& entry : batch->entries) encode_log_entry(entries, entry);
    byte_vector again(batch_sectors(entries.size()) * sector_size);
    encode_batch(again, batch->header, entries);
    const auto back = decode_batch(again);
    WARIFU_ASSERT(back && back->entries == batch->entries);
    store_index index;
    for (const log_entry& entry : batch->entries) {
        if (const auto* record = std::get_if<record_entry>(&entry)) static_cast<void>(decode_record_blob(record->blob));
        if (!index.apply(entry)) break;
    }
    static_cast<void>(index.snapshot(data_first, log_batch_size_max));
    return 0;
}
