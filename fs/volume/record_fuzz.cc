// What a journal record decodes to encodes back to the same bytes; anything else is an error, never a crash.

#include "fs/base/assert.h"
#include "fs/volume/record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const warifu::bytes_view input(reinterpret_cast<const std::byte*>(data), size);
    const auto record = warifu::decode_journal_record(input);
    if (record) {
        const auto again = warifu::decode_journal_record(warifu::encode_journal_record(*record));
        WARIFU_ASSERT(again && *again == *record);
    }
    return 0;
}
