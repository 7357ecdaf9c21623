// Arbitrary bytes as a ledger, and arbitrary records in a well-formed one: what opens it reads (parse, decode, apply)
// gives a state that keeps its invariants or a clear error. Input: u8 mode; 0: the file as it is; else records, each
// u16 size and its bytes, of which `mode` (at most) lie in the part that a compaction wrote.

#include <algorithm>
#include <cstdint>

#include "fs/base/assert.h"
#include "fs/base/codec.h"
#include "fs/base/crc32c.h"
#include "keyd/pool/ledger.h"
#include "keyd/pool/pool_state.h"

namespace {

using namespace warifu;

void put_with_crc_before(writer& out, bytes_view bytes) {
    out.put_be(crc32c(bytes)).put_bytes(bytes);
}

byte_vector make_ledger(reader in, std::uint64_t compacted) {
    std::vector<bytes_view> records;
    while (in.left() != 0 && records.size() < 256) {
        const auto size = in.take_be<std::uint16_t>();
        if (!size || *size == 0) break;
        records.push_back(*in.take_bytes(std::min<std::size_t>(*size, in.left())));
        if (records.back().empty()) records.pop_back();
    }
    writer header;
    header.put_bytes(as_bytes_view("WARILEDG")).put_be<std::uint16_t>(2).put_be<std::uint16_t>(0);
    header.put_bytes(byte_vector(16)).put_be<std::uint64_t>(0).put_be<std::uint64_t>(0);
    byte_vector name(64);
    name[0] = std::byte{'a'};
    header.put_bytes(name).put_be<std::uint64_t>(1).put_be(1 + std::min<std::uint64_t>(compacted, records.size()));
    header.put_be(crc32c(header.view()));
    for (std::uint64_t i = 0; i < records.size(); ++i) {
        writer frame;
        frame.put_be(static_cast<std::uint32_t>(records[i].size())).put_be(i + 1).put_be(i + 1).put_bytes(records[i]);
        put_with_crc_before(header, frame.view());
    }
    return header.take();
}

/// What the running sums say is what the sets say.
void check_sums(const pool_state& state) {
    for (const auto& stream : state.streams()) {
        std::uint64_t free = 0, slots = 0;
        for (const auto& [offset, block] : stream.blocks) {
            free += block.free_bytes();
            slots += block.hello_slots_free();
            WARIFU_ASSERT(stream.ever.contains(offset, block.end()));
            WARIFU_ASSERT(stream.free_blocks.contains(offset) == (block.free_bytes() != 0));
        }
        WARIFU_ASSERT(free == stream.free_bytes && slots == stream.hello_slots_free);
        std::uint64_t end = 0;
        for (const auto& [offset, window] : stream.open) {
            const auto* block = stream.data_block(window.range);
            WARIFU_ASSERT(offset >= end && block != nullptr);
            WARIFU_ASSERT(block->spent.contains(window.range.offset, window.range.end()));
            end = window.range.end();
        }
    }
}

void check(bytes_view file) {
    const auto contents = parse_ledger(file);
    if (!contents) return;
    pool_state state;
    for (const auto& record : contents->records) {
        const auto bytes = encode_ledger_record(record);
        const auto back = decode_ledger_record(bytes);
        WARIFU_ASSERT(back && *back == record);
        if (!state.apply(record)) break;
    }
    check_sums(state);
    const auto records = state.snapshot();
    pool_state again;
    for (const auto& record : records) WARIFU_ASSERT(again.apply(record));
    check_sums(again);
    WARIFU_ASSERT(again.snapshot() == records);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    reader in(std::as_bytes(std::span(data, size)));
    const auto mode = in.take_be<std::uint8_t>();
    if (!mode) return 0;
    if (*mode == 0) check(in.take_rest());
    if (*mode != 0) check(make_ledger(in, *mode - 1U));
    return 0;
}
